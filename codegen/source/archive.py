"""``.keras`` archives and ``.weights.h5`` files: a group of variables per layer."""

from __future__ import annotations

import io
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from keramos.errors import CompileError, quoted
from keramos.source.file import Tensor
from keramos.source.hdf5 import Hdf5Source
from keramos.source.json_text import parse_object

Groups = Mapping[str, tuple[Tensor, ...]]
CONFIG = "config.json"
METADATA = "metadata.json"
WEIGHTS = "model.weights.h5"
NUMPY_WEIGHTS = "model.weights.npz"
ASSETS, VOCABULARY = "assets/", "vocabulary.txt"
CHUNK = 1 << 20
# DEFLATE can't do better than 1032:1, and trained weights hardly shrink at all.
LARGEST_EXPANSION = 100
SMALLEST_BOMB = 16 << 20
# What inference has no use for.
BESIDE_LAYERS = frozenset({"optimizer", "_optimizer", "metrics"})
SEEDS = frozenset({"seed_generator", "_random_generator"})
DEEPEST_GROUP = 64
LOCAL_HEADER = 30


@dataclass(frozen=True, slots=True)
class Archive:
    """A ``.keras`` file, or the same unpacked into a directory."""

    where: str
    path: Path

    def names(self) -> frozenset[str]:
        """Return the members' names."""
        if self.path.is_dir():
            known = [
                name
                for name in (CONFIG, METADATA, WEIGHTS, NUMPY_WEIGHTS)
                if (self.path / name).is_file()
            ]
            assets = self.path.glob(f"{ASSETS}**/{VOCABULARY}")
            return frozenset(
                [*known, *(each.relative_to(self.path).as_posix() for each in assets)]
            )
        with self._zip() as archive:
            names = archive.namelist()
        for name in names:
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts:
                raise CompileError.at(
                    self.where, f"has a member outside the archive: {quoted(name)}"
                )
        if len(set(names)) != len(names):
            raise CompileError.at(self.where, "has two members of the same name")
        return frozenset(names)

    def json(self, name: str) -> dict[str, Any]:
        """Return the JSON object in the member *name*."""
        return parse_object(self._bytes(name), where=self.where, what=name)

    def vocabularies(self) -> Groups:
        """Return the whole numbers that layers were adapted to, by layers' groups.

        Vocabularies of words are left out.
        """
        found = {}
        for name in sorted(self.names()):
            if name.startswith(ASSETS) and name.endswith(f"/{VOCABULARY}"):
                group = name.removeprefix(ASSETS).removesuffix(f"/{VOCABULARY}")
                numbers = _whole_numbers(self._bytes(name))
                if numbers is not None:
                    read = partial(np.asarray, numbers)
                    found[group] = (
                        Tensor(VOCABULARY, numbers.shape, numbers.dtype.name, read),
                    )
        return found

    def opened(
        self, name: str
    ) -> Callable[[], Path | io.RawIOBase | io.BufferedIOBase]:
        """Return what opens the member *name*, without holding it in memory.

        A compressed member is unpacked into a temporary file first.
        """
        if self.path.is_dir():
            return lambda: self.path / name
        with self._zip() as archive:
            info = self._checked(archive, name)
            if info.compress_type == zipfile.ZIP_STORED:
                self._verify(archive, info)
                with self.path.open("rb") as file:
                    start = _data_offset(file, info)
                return lambda: _Window(self.path, start, info.file_size)
            unpacked = _Unpacked(self._chunks(archive, info))
        return unpacked.opened

    def _bytes(self, name: str) -> bytes:
        """Return a small member's content."""
        if self.path.is_dir():
            try:
                return (self.path / name).read_bytes()
            except OSError as error:
                raise CompileError.at(
                    self.where, f"{name} can't be read: {error.strerror}"
                ) from None
        with self._zip() as archive:
            info = self._checked(archive, name)
            return b"".join(self._chunks(archive, info))

    def _zip(self) -> zipfile.ZipFile:
        """Open the zip file."""
        try:
            return zipfile.ZipFile(self.path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise CompileError.at(
                self.where, f"isn't a complete zip archive: {error}"
            ) from None

    def _checked(self, archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
        """Return a member's entry, unless it is encrypted or a bomb."""
        info = archive.getinfo(name)
        if info.flag_bits & 1:
            raise CompileError.at(self.where, f"{name} is encrypted")
        limit = max(SMALLEST_BOMB, LARGEST_EXPANSION * info.compress_size)
        if info.file_size > limit:
            raise CompileError.at(
                self.where,
                f"{name} claims {info.file_size} bytes, of which the archive stores"
                f" {info.compress_size}",
            )
        return info

    def _chunks(
        self, archive: zipfile.ZipFile, info: zipfile.ZipInfo
    ) -> Iterator[bytes]:
        """Yield a member's content; at the end its checksum has been compared."""
        try:
            with archive.open(info) as member:
                while chunk := member.read(CHUNK):
                    yield chunk
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            OSError,
            RuntimeError,
        ) as error:
            raise CompileError.at(
                self.where, f"{info.filename} is damaged: {error}"
            ) from None

    def _verify(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
        """Read a member to its end, to compare its checksum."""
        for _ in self._chunks(archive, info):
            pass


class _Unpacked:
    """A temporary file, which goes with the last one who may read it."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        """Write *chunks* to the file."""
        self._file = TemporaryFile()  # noqa: SIM115 -- closed by finalize
        weakref.finalize(self, self._file.close)
        for chunk in chunks:
            self._file.write(chunk)
        self._file.flush()

    def opened(self) -> io.RawIOBase:
        """Return the file, to be read from its beginning."""
        return _Shared(self._file)


class _Window(io.RawIOBase):
    """A part of a file, as a file of its own."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        """Open *size* bytes of *path* from *start* on."""
        super().__init__()
        self._file = path.open("rb")
        self._start = start
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to *offset* within the part."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}
        self._position = max(0, base[whence] + offset)
        return self._position

    def tell(self) -> int:
        """Return the position within the part."""
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 -- as in RawIOBase
        """Read into *buffer*, at most to the end of the part."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._position))
        self._file.seek(self._start + self._position)
        read = self._file.readinto(view[:count])
        self._position += read
        return read

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


class _Shared(io.RawIOBase):
    """An open file that outlives its readers."""

    def __init__(self, file: IO[bytes]) -> None:
        """Read *file* from its beginning."""
        super().__init__()
        self._file = file
        self._file.seek(0)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to *offset*."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 -- as in RawIOBase
        """Read into *buffer*."""
        view = memoryview(buffer).cast("B")
        data = self._file.read(len(view))
        view[: len(data)] = data
        return len(data)


def _data_offset(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Return where a stored member's bytes begin."""
    file.seek(info.header_offset)
    header = file.read(LOCAL_HEADER)
    name_length = int.from_bytes(header[26:28], "little")
    extra_length = int.from_bytes(header[28:30], "little")
    return info.header_offset + LOCAL_HEADER + name_length + extra_length


# -- variables ----------------------------------------------------------------------


def _whole_numbers(text: bytes) -> NDArray[np.int64] | None:
    """Return one whole number a line, None where there is something else."""
    try:
        return np.array([int(line) for line in text.splitlines()], np.int64)
    except (ValueError, OverflowError):
        return None


def archive_groups(source: Hdf5Source) -> Groups:
    """Return the variables in each group of a ``.weights.h5``, none of them read."""
    walk = _Walk(source)
    with source.root() as root:
        walk.group(root, "", 0)
    return walk.found


@dataclass(slots=True)
class _Walk:
    """Visits the groups of an HDF5 file, each once."""

    source: Hdf5Source
    found: dict[str, tuple[Tensor, ...]] = field(default_factory=dict)

    def group(self, group: h5py.Group, path: str, depth: int) -> None:
        """Note what *group* and the groups below it hold."""
        if depth > DEEPEST_GROUP:
            raise CompileError.at(self.source.where, "its groups are nested too deeply")
        self.found[normalised(path)] = ()
        for name in group:
            if name in SEEDS or (depth == 0 and name in BESIDE_LAYERS):
                continue
            member = self.source.member(group, name)
            if not isinstance(member, h5py.Group):
                continue
            if name == "vars":
                self.found[normalised(path)] = self.variables(member, path)
            else:
                self.group(member, f"{path}/{name}" if path else name, depth + 1)

    def variables(self, group: h5py.Group, path: str) -> tuple[Tensor, ...]:
        """Return the arrays of one ``vars`` group, in Keras' order: 0, 1, ... 10."""
        names = sorted(group, key=variable_order)
        return tuple(
            self.source.tensor(group, name, name=f"{path}/vars/{name}")
            for name in names
        )


def variable_order(name: str) -> tuple[int, str]:
    """Return a sort key that puts 2 before 10, and numbers before names."""
    return (int(name), "") if name.isdecimal() else (1 << 62, name)


def normalised(path: str) -> str:
    """Return a group's path as Keras has written it since 2.14."""
    return path.replace("_layer_checkpoint_dependencies", "layers")


def sharded_groups(path: Path, where: str) -> tuple[Groups, tuple[Hdf5Source, ...]]:
    """Return the variables listed in a ``.weights.json``, and what they are read from.

    A group that was cut at a file's end has variables in two.
    """
    text = path.read_bytes()
    weight_map = parse_object(text, where=where, what="it").get("weight_map")
    if not isinstance(weight_map, Mapping):
        raise CompileError.at(where, "has no weight_map")
    files: dict[str, None] = {}
    for names in weight_map.values():
        for name in names if isinstance(names, list) else [names]:
            if not isinstance(name, str) or not name or Path(name).name != name:
                raise CompileError.at(
                    where, f"its shard {quoted(name)} isn't a file beside it"
                )
            files[name] = None
    groups: dict[str, tuple[Tensor, ...]] = {}
    sources = []
    for name in files:
        shard = path.with_name(name)
        if not shard.is_file():
            raise CompileError.at(where, f"its shard {quoted(name)} isn't beside it")
        source = Hdf5Source(name, partial(Path, shard))
        sources.append(source)
        for group, tensors in archive_groups(source).items():
            groups[group] = (*groups.get(group, ()), *tensors)
    ordered = {
        group: tuple(
            sorted(tensors, key=lambda t: variable_order(t.name.rpartition("/")[2]))
        )
        for group, tensors in groups.items()
    }
    return ordered, tuple(sources)


def keras_version(archive: Archive) -> str:
    """Return the version in the archive's metadata, or an empty string."""
    version = archive.json(METADATA).get("keras_version")
    return version if isinstance(version, str) else ""


def is_variables(source: Hdf5Source) -> bool:
    """Return whether an HDF5 file is one of variables by group."""
    with source.root() as root:
        return any(
            name in root
            for name in ("layers", "_layer_checkpoint_dependencies", "vars")
        )
