"""The lines of one emitted function, and the operands that they read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from keramos.graph import Value
from keramos.primitives import DType, Shape

# A length that is known, or the text that computes it.
Dim = int | str

NUMPY_TYPES: Mapping[DType, str] = {
    "float32": "np.float32",
    "int32": "np.int32",
    "bool": "np.bool_",
}
ARRAY_TYPES: Mapping[DType, str] = {"float32": "F32", "int32": "I32", "bool": "BOOL"}


@dataclass(frozen=True, slots=True)
class Operand:
    """An array in an emitted function; constants have no batch axis.

    *stored* is the constant among the weights that it is, if it is one.
    """

    text: str
    shape: Shape
    dtype: DType = "float32"
    batched: bool = True
    stored: Value | None = None

    @property
    def rank(self) -> int:
        """Return the number of axes without the batch."""
        return len(self.shape)

    def dim(self, axis: int) -> Dim:
        """Return the length of *axis*, the batch not counted."""
        size = self.shape[axis]
        return f"{self.text}.shape[{axis + self.batched}]" if size is None else size

    def dims(self) -> list[Dim]:
        """Return the lengths of all axes but the batch."""
        return [self.dim(axis) for axis in range(self.rank)]


@dataclass(frozen=True, slots=True)
class Field:
    """A constant as the kernels want it: a field of the emitted weights."""

    name: str
    value: Value
    layout: str
    shape: tuple[int, ...]


class Fields:
    """The constants of a module, each in every layout that a stage asks for."""

    def __init__(self, names: Mapping[Value, str]) -> None:
        """Begin with none; *names* are those of the weights file."""
        self._names = names
        self._taken = set(names.values())
        self._fields: dict[tuple[Value, str], Field] = {}

    def take(self, value: Value, layout: str, shape: tuple[int, ...]) -> Field:
        """Return the field for *value* with *layout*, a method chain, applied."""
        known = self._fields.get((value, layout))
        if known is not None:
            return known
        base = name = self._names[value]
        count = 1
        while any(name == f.name for f in self._fields.values()) or (
            count > 1 and name in self._taken
        ):
            count += 1
            name = f"{base}_{count}"
        result = Field(name, value, layout, shape)
        self._fields[value, layout] = result
        return result

    def all(self) -> tuple[Field, ...]:
        """Return the fields in the order of the weights file."""
        order = {value: place for place, value in enumerate(self._names)}
        return tuple(sorted(self._fields.values(), key=lambda f: order[f.value]))


@dataclass(slots=True)
class Function:
    """A function that is being written.

    *operands* are those of the stage at hand, *batch* is its number of samples.
    *imports* collects what it needs from vendored modules, *reads_weights* whether it
    has to be given the weights.
    """

    fields: Fields
    operands: tuple[Operand, ...] = ()
    batch: str = "n"
    lines: list[str] = field(default_factory=list)
    imports: set[tuple[str, str]] = field(default_factory=set)
    reads_weights: bool = False
    _names: set[str] = field(default_factory=set)

    def line(self, text: str) -> None:
        """Append a line."""
        self.lines.append(text)

    def name(self, wanted: str) -> str:
        """Return *wanted*, with a number behind from the second time on."""
        candidate, count = wanted, 1
        while candidate in self._names:
            count += 1
            candidate = f"{wanted}{count}"
        self._names.add(candidate)
        return candidate

    def let(self, wanted: str, value: str, dtype: DType | None = None) -> str:
        """Assign *value* to a fresh variable and return its name."""
        name = self.name(wanted)
        kind = f": {ARRAY_TYPES[dtype]}" if dtype else ""
        self.line(f"{name}{kind} = {value}")
        return name

    def prune(self) -> None:
        """Drop assignments to variables that no later line reads."""
        kept: list[str] = []
        for line in reversed(self.lines):
            assigned = re.match(r"(\w+)(: \w+)? = ", line)
            if assigned:
                read = re.compile(rf"\b{assigned[1]}\b")
                if not any(map(read.search, kept)):
                    continue
            kept.append(line)
        self.lines = kept[::-1]

    def use(self, module: str, name: str) -> str:
        """Import *name* of the vendored *module* and return it."""
        self.imports.add((module, name))
        return name

    def read(self, operand: Operand) -> str:
        """Return the text of *operand* as it is."""
        if operand.stored is None:
            return operand.text
        return self.laid_out(operand, "", _known(operand.shape))

    def laid_out(self, operand: Operand, layout: str, shape: tuple[int, ...]) -> str:
        """Return *operand* with *layout* applied: once, when loaded, if it's stored."""
        if operand.stored is None:
            return f"{operand.text}{layout}"
        self.reads_weights = True
        return f"w.{self.fields.take(operand.stored, layout, shape).name}"

    def plain(self, operand: Operand) -> Operand:
        """Return *operand* with its text readable as it is."""
        return replace(operand, text=self.read(operand), stored=None)

    def floating(self, operand: Operand) -> Operand:
        """Return *operand* as float32."""
        operand = operand if operand.dtype == "float32" else self.plain(operand)
        if operand.dtype == "float32":
            return operand
        text = self.let("numbers", f"{operand.text}.astype(np.float32)")
        return replace(operand, text=text, dtype="float32")


def _known(shape: Shape) -> tuple[int, ...]:
    return tuple(d for d in shape if d is not None)


def listing(dims: Sequence[Dim]) -> str:
    """Return a tuple display."""
    inner = ", ".join(map(str, dims))
    return f"({inner},)" if len(dims) == 1 else f"({inner})"


def plus(a: Dim, b: int) -> Dim:
    """Return the sum."""
    if isinstance(a, int):
        return a + b
    return a if b == 0 else f"{a} + {b}" if b > 0 else f"{a} - {-b}"


def times(dims: Sequence[Dim]) -> Dim:
    """Return the product."""
    known = math.prod(d for d in dims if isinstance(d, int))
    texts = [d if _is_atom(d) else f"({d})" for d in dims if isinstance(d, str)]
    if not texts or known == 0:
        return known
    return " * ".join([*([str(known)] if known != 1 else []), *texts])


def _is_atom(text: str) -> bool:
    return " " not in text
