"""``model.weights.npz``: pickled variables, read without running the pickle.

Keras saves a dict of variables per layer as an array of objects, which NumPy pickles.
Unpickling calls whatever the file names. Here the opcodes are followed instead: calls
stay notes of what would be called, and only the arrays among their arguments are used.
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keramos.errors import CompileError, quoted
from keramos.source.file import Tensor

Opened = Callable[[], Path | io.RawIOBase | io.BufferedIOBase]
ROOT = "__root__"
SUFFIX = ".npy"
MAGIC = b"\x93NUMPY"
LARGEST_EXPANSION = 100
SMALLEST_BOMB = 16 << 20
# The state of a pickled array: version, shape, dtype, Fortran order, bytes.
STATE_LENGTH = 5
NUMBERS = frozenset("fiub")
MARK = object()


@dataclass(eq=False, slots=True)
class _Noted:
    """A call that the pickle asks for, and that isn't made."""

    function: object
    arguments: object
    state: object = None


@dataclass(frozen=True, slots=True)
class _Array:
    """An array as its pickle describes it."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool
    data: bytes

    def values(self) -> NDArray[Any]:
        """Return the array."""
        flat = np.frombuffer(self.data, self.dtype)
        if self.is_fortran:
            values = flat.reshape(self.shape[::-1]).transpose()
        else:
            values = flat.reshape(self.shape)
        native: NDArray[Any] = values.astype(self.dtype.newbyteorder("="))
        return native


@dataclass(frozen=True, slots=True)
class NumpyArchive:
    """The ``.npz`` inside an archive, opened anew for every use."""

    where: str
    opened: Opened

    def groups(self) -> Mapping[str, tuple[Tensor, ...]]:
        """Return the variables of each group; their values are read when needed."""
        with self._zip() as archive:
            names = [name for name in archive.namelist() if name.endswith(SUFFIX)]
        groups: dict[str, tuple[Tensor, ...]] = {"": ()}
        for name in names:
            path = name.removesuffix(SUFFIX)
            group = "" if path == ROOT else path
            groups[group] = tuple(self._tensors(name, path))
            for end in range(1, group.count("/") + 1):
                groups.setdefault("/".join(group.split("/")[:end]), ())
        return groups

    def _tensors(self, name: str, path: str) -> Iterator[Tensor]:
        """Yield the variables of one member."""
        for key, array in self._arrays(name).items():
            yield Tensor(
                name=f"{path}/vars/{key}",
                shape=array.shape,
                dtype=array.dtype.newbyteorder("=").name,
                read=partial(self._values, name, key),
            )

    def _values(self, name: str, key: str) -> NDArray[Any]:
        """Return the values of one variable."""
        return self._arrays(name)[key].values()

    def _arrays(self, name: str) -> dict[str, _Array]:
        """Return the arrays that a member holds, by their number."""
        content = self._bytes(name)
        start = content.find(b"\n") + 1
        if not content.startswith(MAGIC) or not start:
            raise self._broken(name)
        try:
            variables = _dict_in(_noted(content[start:]))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise self._broken(name) from None
        arrays = {}
        for key in sorted(variables, key=lambda key: (len(key), key)):
            array = _first_array(variables[key])
            if array is None:
                raise self._broken(name)
            arrays[key] = array
        return arrays

    def _bytes(self, name: str) -> bytes:
        """Return a member's content."""
        with self._zip() as archive:
            info = archive.getinfo(name)
            limit = max(SMALLEST_BOMB, LARGEST_EXPANSION * info.compress_size)
            if info.file_size > limit:
                raise self._broken(name)
            try:
                return archive.read(info)
            except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
                raise self._broken(name) from None

    def _zip(self) -> zipfile.ZipFile:
        """Open the ``.npz``."""
        try:
            return zipfile.ZipFile(self.opened())
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise CompileError.at(
                self.where, f"its NumPy weights aren't a complete archive: {error}"
            ) from None

    def _broken(self, name: str) -> CompileError:
        """Return the error for a member that doesn't hold plain arrays."""
        return CompileError.at(
            self.where,
            f"its NumPy weights {quoted(name)} aren't plain arrays, and pickles are"
            " never executed",
            "save the model with weights in HDF5, as model.save() does",
        )


# -- pickles ------------------------------------------------------------------------

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
IGNORED = frozenset({"PROTO", "FRAME"})
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _noted(pickle: bytes) -> object:
    """Return what a pickle describes, with every call left as a note."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(pickle):
        name = opcode.name
        if name == "STOP":
            return stack.pop()
        if name in IGNORED:
            continue
        if name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in {"BINPUT", "LONG_BINPUT"}:
            memo[_number(argument)] = stack[-1]
        elif name in {"BINGET", "LONG_BINGET"}:
            stack.append(memo[_number(argument)])
        else:
            _apply(name, argument, stack)
    raise ValueError("unfinished")


def _number(argument: object) -> int:
    """Return an opcode's argument as a number."""
    if not isinstance(argument, int):
        raise TypeError(argument)
    return argument


def _apply(name: str, argument: object, stack: list[Any]) -> None:
    """Apply one opcode to the stack."""
    if name in CONSTANTS:
        stack.append(CONSTANTS[name])
    elif name in TUPLES:
        count = TUPLES[name]
        stack[-count:] = [tuple(stack[-count:])]
    elif name in {"EMPTY_LIST", "EMPTY_DICT", "MARK"}:
        stack.append({"EMPTY_LIST": [], "EMPTY_DICT": {}, "MARK": MARK}[name])
    elif name in {"TUPLE", "APPENDS", "SETITEMS"}:
        _collect(name, stack)
    elif name in {"APPEND", "SETITEM"}:
        stack.insert(-1 if name == "APPEND" else -2, MARK)
        _collect(f"{name}S", stack)
    elif name in {"STACK_GLOBAL", "REDUCE", "NEWOBJ"}:
        second, first = stack.pop(), stack.pop()
        stack.append(_Noted(first, second))
    elif name == "GLOBAL":
        stack.append(_Noted(*str(argument).split(" ", 1)))
    elif name == "BUILD":
        state = stack.pop()
        stack[-1].state = state
    elif argument is not None:  # numbers, strings and bytes
        stack.append(argument)
    else:
        raise ValueError(name)


def _collect(name: str, stack: list[Any]) -> None:
    """Gather everything above the last mark."""
    items: list[Any] = []
    while (item := stack.pop()) is not MARK:
        items.append(item)
    items.reverse()
    if name == "TUPLE":
        stack.append(tuple(items))
    elif name == "APPENDS":
        stack[-1].extend(items)
    else:
        stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _dict_in(noted: object) -> dict[str, object]:
    """Return the dict of variables that an array of one object holds."""
    if isinstance(noted, _Noted) and isinstance(noted.state, tuple):
        content = noted.state[-1]
        if isinstance(content, list) and len(content) == 1:
            (variables,) = content
            if isinstance(variables, dict) and all(
                isinstance(key, str) for key in variables
            ):
                return variables
    raise ValueError("not a dict of variables")


def _first_array(value: object) -> _Array | None:
    """Return the first array in what a variable's pickle describes."""
    pending = [value]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        array = _as_array(each)
        if array is not None:
            return array
        match each:
            case _Noted():
                pending += [each.arguments, each.state]
            case dict():
                # A variable's own value comes before its initializer's.
                pending += [v for k, v in each.items() if k != "_value"]
                pending += [v for k, v in each.items() if k == "_value"]
            case list() | tuple():
                pending += reversed(each)
    return None


def _as_array(value: object) -> _Array | None:
    """Return the array whose pickled state *value* is, if it is one."""
    if not isinstance(value, tuple) or len(value) != STATE_LENGTH:
        return None
    _, shape, dtype, is_fortran, data = value
    code = _type_code(dtype)
    if code is None or not isinstance(data, bytes) or not isinstance(shape, tuple):
        return None
    kind = np.dtype(code)
    if kind.kind not in NUMBERS or math.prod(shape) * kind.itemsize != len(data):
        return None
    return _Array(shape, kind, bool(is_fortran), data)


def _type_code(dtype: object) -> str | None:
    """Return the code of a pickled dtype of numbers: ``<f4``."""
    if not isinstance(dtype, _Noted) or not isinstance(dtype.arguments, tuple):
        return None
    code = dtype.arguments[0] if dtype.arguments else None
    order = dtype.state[1] if isinstance(dtype.state, tuple) else "<"
    if not isinstance(code, str) or code[:1] not in NUMBERS or order not in set("<>|="):
        return None
    return f"{order}{code}" if code[1:].isdecimal() else None
