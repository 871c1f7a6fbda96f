"""HDF5 files that may be hostile: nothing outside the file, nothing absurd in size."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from keramos.errors import CompileError, quoted
from keramos.source.file import Tensor

# Zeros may be stored as nothing at all, and compressed data may be small, but a tensor
# this much larger than what the file stores for it is there to exhaust the memory.
LARGEST_UNSTORED = 64 << 20
LARGEST_EXPANSION = 1000
NUMBERS = frozenset("fiub")
# What h5py raises when a file's structures make no sense.
H5PY_ERRORS = (KeyError, OSError, RuntimeError, TypeError, ValueError, MemoryError)
BFLOAT16 = np.dtype("V2")


@dataclass(slots=True)
class _Kept:
    """A file that stays open for *users*, and the arrays that were found in it.

    Arrays are where they lie, not their numbers.
    """

    users: int = 0
    file: h5py.File | None = None
    found: dict[str, h5py.Dataset] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hdf5Source:
    """Where HDF5 data lies: opened for every use and closed after it, or kept open.

    *opened* returns a path or a readable, seekable binary file.
    """

    where: str
    opened: Callable[[], Path | io.RawIOBase | io.BufferedIOBase]
    _kept: _Kept = field(default_factory=_Kept, repr=False, compare=False)

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Leave the file open from its first use until the end of the block."""
        kept = self._kept
        kept.users += 1
        try:
            yield
        finally:
            kept.users -= 1
            if not kept.users and kept.file is not None:
                kept.found.clear()
                kept.file.close()
                kept.file = None

    @contextmanager
    def root(self) -> Iterator[h5py.File]:
        """Give the open file; whatever HDF5 objects to becomes a CompileError."""
        kept = self._kept
        file = self._opened() if kept.file is None else kept.file
        if kept.users:
            kept.file = file
        try:
            yield file
        except H5PY_ERRORS as error:
            raise CompileError.at(
                self.where, f"is a damaged HDF5 file: {_reason(error)}"
            ) from None
        finally:
            if file is not kept.file:
                file.close()

    def _opened(self) -> h5py.File:
        """Open the file."""
        try:
            source = self.opened()
            if isinstance(source, Path):
                return h5py.File(source, "r", locking=False)
            return h5py.File(source, "r")
        except (OSError, RuntimeError, ValueError) as error:
            raise CompileError.at(
                self.where, f"isn't a complete HDF5 file: {_reason(error)}"
            ) from None

    def tensor(self, group: h5py.Group, path: str, *, name: str) -> Tensor:
        """Return the dataset at *path* below *group*, to be read when needed."""
        dataset = self.member(group, path)
        if not isinstance(dataset, h5py.Dataset):
            raise CompileError.at(self.where, f"{quoted(path)} isn't an array")
        self._check(dataset)
        absolute = dataset.name
        kind = dataset.dtype
        if kind == BFLOAT16:  # NumPy has no such type, but float32 holds its values.
            kind = np.dtype("float32")

        def read() -> NDArray[Any]:
            with self.root() as root:
                return _values(self._array(root, absolute.lstrip("/")))

        return Tensor(
            name=name, shape=dataset.shape, dtype=kind.newbyteorder("=").name, read=read
        )

    def member(self, group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset:
        """Return the group or array at *path*, without following a link."""
        current: Any = group
        for part in path.split("/"):
            is_group = isinstance(current, h5py.Group)
            link = current.get(part, getlink=True) if part and is_group else None
            if link is None:
                raise CompileError.at(
                    self.where, f"holds no {quoted(path)} (looked for in the weights)"
                )
            if not isinstance(link, h5py.HardLink):
                raise CompileError.at(
                    self.where,
                    f"{quoted(path)} is a link to another place, which isn't followed",
                )
            current = current[part]
        return current

    def group(self, group: h5py.Group, path: str) -> h5py.Group:
        """Return the group at *path*."""
        found = self.member(group, path)
        if not isinstance(found, h5py.Group):
            raise CompileError.at(self.where, f"{quoted(path)} isn't a group")
        return found

    def text(self, group: h5py.Group, name: str) -> str | None:
        """Return the string attribute *name*, or None where there is none."""
        value = group.attrs.get(name)
        return None if value is None else self._decoded(value, name)

    def texts(self, group: h5py.Group, name: str) -> list[str] | None:
        """Return the list of strings *name*, also where it is split into chunks.

        Keras splits lists of over 64 KiB into the attributes name0, name1, ...
        """
        value = group.attrs.get(name)
        if value is not None:
            return self._texts(value, name)
        if f"{name}0" not in group.attrs:
            return None
        texts: list[str] = []
        number = 0
        while (value := group.attrs.get(f"{name}{number}")) is not None:
            texts += self._texts(value, name)
            number += 1
        return texts

    def _texts(self, value: object, name: str) -> list[str]:
        """Return an array of strings as a list; an empty one may be of any type."""
        if not isinstance(value, (np.ndarray, list)):
            raise CompileError.at(self.where, f"its attribute {name!r} isn't a list")
        return [self._decoded(item, name) for item in np.asarray(value).ravel()]

    def _decoded(self, value: object, name: str) -> str:
        """Return bytes or str as str."""
        try:
            if isinstance(value, bytes):
                return value.decode()
            if isinstance(value, str):  # h5py smuggles in bytes that aren't UTF-8
                return value.encode().decode()
        except UnicodeError:
            pass
        raise CompileError.at(self.where, f"its attribute {name!r} isn't text")

    def _check(self, dataset: h5py.Dataset) -> None:
        """Refuse arrays that aren't plain numbers within this file."""
        name = quoted(dataset.name)
        if dataset.shape is None:
            raise CompileError.at(self.where, f"{name} is an array without a shape")
        if dataset.external or dataset.is_virtual:
            raise CompileError.at(
                self.where, f"{name} keeps its values in other files, which aren't read"
            )
        kind = dataset.dtype
        if kind.kind not in NUMBERS and kind != BFLOAT16:
            raise CompileError.at(
                self.where, f"{name} holds {kind.name} values, not numbers"
            )
        declared = math.prod(dataset.shape) * kind.itemsize
        stored = dataset.id.get_storage_size()
        if declared > LARGEST_UNSTORED + LARGEST_EXPANSION * stored:
            raise CompileError.at(
                self.where,
                f"{name} claims {declared} bytes, but the file stores {stored} for it",
            )

    def _array(self, root: h5py.File, path: str) -> h5py.Dataset:
        """Return the array at *path*, which a file that stays open checks once."""
        kept = self._kept
        if path in kept.found:
            return kept.found[path]
        dataset = self.member(root, path)
        self._check(dataset)
        # An open array of chunks keeps some of them in memory.
        if root is kept.file and dataset.chunks is None:
            kept.found[path] = dataset
        return dataset


def _values(dataset: h5py.Dataset) -> NDArray[Any]:
    """Return a dataset's values in the machine's byte order."""
    values: NDArray[Any] = np.asarray(dataset[()])
    if values.dtype == BFLOAT16:
        return widened_bfloat16(values.view("<u2"))
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def widened_bfloat16(bits: NDArray[Any]) -> NDArray[np.float32]:
    """Return the values of bfloat16 numbers, given as their 16 bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def is_hdf5(path: Path) -> bool:
    """Return whether *path* begins like HDF5, which may follow a block of the user."""
    try:
        return bool(h5py.is_hdf5(path))
    except OSError:
        return False


def _reason(error: BaseException) -> str:
    """Return an exception's first line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
