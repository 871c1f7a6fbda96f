"""The functions of an emitted module while they are being written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from keramos.graph import Node, Value
from keramos.plan.cpu import Names
from keramos.plan.javascript import Buffer, Source, length
from keramos.primitives import DType, Spec
from keramos.text import js_literal

Shape = tuple[int, ...]


@dataclass(slots=True)
class Module:
    """What the functions of a module need beside their text.

    *tables* are what is computed when the model is created: variables by the text that
    computes them. *uses* are the places at which each buffer is used. *placed* are the
    lengths of those tables that lie in the memory of WebAssembly.
    """

    tensors: Mapping[Value, str]
    uses: dict[Buffer, list[int]]
    names: Names
    tables: dict[str, str] = field(default_factory=dict)
    support: set[str] = field(default_factory=set)
    placed: dict[str, int] = field(default_factory=dict)

    def table(self, text: str, wanted: str) -> str:
        """Return the variable that holds what *text* computes."""
        if text not in self.tables:
            self.tables[text] = self.names.take(wanted)
        return self.tables[text]

    def tensor(self, value: Value) -> str:
        """Return the variable that holds a constant as it is stored."""
        name = self.tensors[value]
        return self.table(f"tensors[{js_literal(name)}]", local(name))

    def variable(self, source: Source) -> str:
        """Return the variable that holds the numbers of *source*."""
        return source.name if isinstance(source, Buffer) else self.tensor(source)

    def offsets(
        self, sizes: Sequence[int], strides: Sequence[int], start: int = 0
    ) -> str:
        """Return the text of a table of ``start + index * stride`` over all axes."""
        kept = [(d, s) for d, s in zip(sizes, strides, strict=True) if d != 1]
        self.support.add("offsets")
        return f"offsets({[d for d, _ in kept]}, {[s for _, s in kept]}, {start})"


def local(name: str) -> str:
    """Return a name of the weights file as a variable."""
    return name if name.isidentifier() else "tensor"


@dataclass(frozen=True, slots=True)
class Operand:
    """An array that a function reads; *stored* is the constant that it is."""

    source: Source
    shape: Shape
    dtype: DType

    @property
    def spec(self) -> Spec:
        """Return the shape and type."""
        return Spec(self.shape, self.dtype)

    @property
    def stored(self) -> Value | None:
        """Return the constant that the operand is, if it is one."""
        return None if isinstance(self.source, Buffer) else self.source

    @property
    def size(self) -> int:
        """Return the number of elements."""
        return length(self.shape)


def known(shape: Sequence[int | None]) -> Shape:
    """Return *shape* as the plan guarantees it: nothing is free."""
    return tuple(d or 0 for d in shape)


def strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return how far apart neighbours along each axis lie."""
    result = [1]
    for d in reversed(shape[1:]):
        result.append(result[-1] * d)
    return tuple(reversed(result))[-len(shape) :] if shape else ()


@dataclass(slots=True)
class Function:
    """A function that is being written for a node at *place*.

    *arguments* are the variables of the module that it is called with, by parameter.
    """

    module: Module
    name: str
    node: Node
    place: int
    operands: tuple[Operand, ...]
    arguments: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    depth: int = 1

    def line(self, text: str) -> None:
        """Append a line."""
        self.lines.append("  " * self.depth + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Write what is inside into ``head { ... }``."""
        self.line(f"{head} {{" if head else "{")
        self.depth += 1
        yield
        self.depth -= 1
        self.line("}")

    def repeat(self, head: str) -> None:
        """Begin a loop, which :meth:`close` ends."""
        self.line(f"for ({head}) {{")
        self.depth += 1

    def close(self, depth: int) -> None:
        """End the loops that are deeper than *depth*."""
        while self.depth > depth:
            self.depth -= 1
            self.line("}")

    @contextmanager
    def loop(self, variable: str, size: int) -> Iterator[str]:
        """Repeat what is inside; yields the variable, ``0`` where it is always that."""
        if size == 1:
            yield "0"
            return
        with self.block(f"for (let {variable} = 0; {variable} < {size}; {variable}++)"):
            yield variable

    def bind(self, variable: str, wanted: str) -> str:
        """Return the parameter for *variable*, of the *wanted* name where it's free."""
        for parameter, argument in self.arguments.items():
            if argument == variable:
                return parameter
        parameter, count = wanted, 1
        while parameter in self.arguments:
            count += 1
            parameter = f"{wanted}{count}"
        self.arguments[parameter] = variable
        return parameter

    def read(self, operand: Operand, wanted: str = "x") -> str:
        """Return the parameter that holds *operand*."""
        return self.bind(self.module.variable(operand.source), wanted)

    def write(self, source: Source) -> str:
        """Return the parameter for a result."""
        return self.bind(self.module.variable(source), "y")

    def table(self, text: str, wanted: str) -> str:
        """Return the parameter for what *text* computes when the model is created."""
        return self.bind(self.module.table(text, f"{self.name}_{wanted}"), wanted)

    def buffer(self, size: int, wanted: str) -> Buffer:
        """Return a place for *size* numbers that are lost behind this stage."""
        buffer = Buffer(self.module.names.take(f"{self.name}_{wanted}"), size)
        self.module.uses[buffer] = [self.place]
        return buffer

    def scratch(self, size: int, wanted: str) -> str:
        """Return the parameter for such a place."""
        return self.bind(self.buffer(size, wanted).name, wanted)

    def use(self, name: str) -> str:
        """Return *name* of the support functions, which the module then carries."""
        self.module.support.add(name)
        return name

    def call(self, name: str) -> str:
        """Return the statement that calls the function under *name*."""
        return f"{name}({', '.join(self.arguments.values())});"

    @property
    def text(self) -> str:
        """Return the parameters and the body."""
        return "\n".join([f"({', '.join(self.arguments)}) {{", *self.lines, "}"])


@dataclass(frozen=True, slots=True)
class Walk:
    """How an array is walked through: where it starts and how far each axis steps."""

    start: int
    strides: tuple[int, ...]


def collapse(
    sizes: Sequence[int], walks: Sequence[Walk]
) -> tuple[list[int], list[Walk]]:
    """Return the same walk with the fewest axes, none of them of length 1."""
    joined: list[tuple[int, list[int]]] = []
    for axis, size in enumerate(sizes):
        steps = [walk.strides[axis] for walk in walks]
        if size == 1:
            continue
        if joined and all(
            outer == step * size
            for outer, step in zip(joined[-1][1], steps, strict=True)
        ):
            joined[-1] = (joined[-1][0] * size, steps)
        else:
            joined.append((size, steps))
    result = [
        Walk(walk.start, tuple(steps[k] for _, steps in joined))
        for k, walk in enumerate(walks)
    ]
    return [size for size, _ in joined], result


@contextmanager
def nest(
    f: Function,
    sizes: Sequence[int],
    walks: Mapping[str, Walk],
    variable: str = "i",
    base: Mapping[str, str] | None = None,
) -> Iterator[dict[str, str]]:
    """Write loops over *sizes*; yields the text of the index into each array.

    *base* are texts that are added to an array's index.
    """
    names = list(walks)
    sizes, listed = collapse(sizes, list(walks.values()))
    index = {
        name: plus(walk.start, (base or {}).get(name, "0"))
        for name, walk in zip(names, listed, strict=True)
    }
    depth = f.depth
    for axis, size in enumerate(sizes):
        i = f"{variable}{axis}" if len(sizes) > 1 else variable
        f.repeat(f"let {i} = 0; {i} < {size}; {i}++")
        for name, walk in zip(names, listed, strict=True):
            text = plus(index[name], times(i, walk.strides[axis]))
            if axis < len(sizes) - 1 and walk.strides[axis]:
                f.line(f"const {name}{i} = {text};")
                text = f"{name}{i}"
            index[name] = text
    yield index
    f.close(depth)


def times(text: str, factor: int) -> str:
    """Return the product."""
    if factor == 0 or text == "0":
        return "0"
    return text if factor == 1 else f"{text} * {factor}"


def plus(*terms: str | int) -> str:
    """Return the sum, without zeros."""
    texts = [str(term) for term in terms if str(term) != "0"]
    return " + ".join(texts).replace("+ -", "- ") or "0"
