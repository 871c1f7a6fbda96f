"""Map, and epilogues: scalar expressions within the loops of kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from keramos.emit.javascript.expression import Program, program
from keramos.emit.javascript.function import (
    Function,
    Operand,
    Shape,
    Walk,
    known,
    nest,
    strides,
)
from keramos.expr import Expr
from keramos.passes.algebra import cost
from keramos.plan.javascript import Source, length
from keramos.primitives import Contract, Conv, DType

# An epilogue of more work has its own loop: kernels hold it once per accumulator.
_INLINE = 10


def walk(shape: Shape, target: Shape) -> Walk:
    """Return how an array of *shape* is walked when it is broadcast to *target*."""
    own = strides(shape)
    aligned = [0 if d == 1 else step for d, step in zip(shape, own, strict=True)]
    return Walk(0, (*(0,) * (len(target) - len(shape)), *aligned))


@dataclass(frozen=True, slots=True)
class Array:
    """A parameter with the shape and type in which it is read or written."""

    name: str
    shape: Shape
    dtype: DType


def write_map(f: Function, expr: Expr, operands: Sequence[Array], y: Array) -> None:
    """Write the loops of ``y = expr(operands)``."""
    compiled = program(expr, [x.dtype for x in operands], y.dtype)
    f.module.support |= compiled.support
    walks = {y.name: Walk(0, strides(y.shape))}
    labels: dict[int, str] = {}
    for number in sorted(compiled.operands):
        x = operands[number]
        walked = walk(x.shape, y.shape)
        # Two views of one array can be walked in two ways.
        labels[number] = x.name
        if walks.setdefault(x.name, walked) != walked:
            labels[number] = f"{x.name}_{number}"
            walks[labels[number]] = walked
    with nest(f, y.shape, walks) as index:
        texts = [
            f"{x.name}[{index[labels[number]]}]" if number in labels else ""
            for number, x in enumerate(operands)
        ]
        lines, text = compiled.text(texts)
        for line in lines:
            f.line(line)
        f.line(f"{y.name}[{index[y.name]}] = {text};")


def emit_map(f: Function, expr: Expr, dtype: DType, target: Source) -> None:
    """Write a Map."""
    operands = [Array(f.read(x), x.shape, x.dtype) for x in f.operands]
    shape = known(f.node.specs[0].shape)
    write_map(f, expr, operands, Array(f.write(target), shape, dtype))


@dataclass(frozen=True, slots=True)
class _Extra:
    """An operand of an epilogue: its parameter, and how it follows the result."""

    name: str
    follows: str  # "one", "channel" or "element"


@dataclass(slots=True)
class Store:
    """Where a kernel's results go, and through which expression.

    The results of the primitive are numbered in row-major order; *y* holds them. What
    can't be computed there is computed in loops of its own by :meth:`finish`.
    """

    f: Function
    y: str
    compiled: Program | None = None
    extras: tuple[_Extra, ...] = ()
    rest: Callable[[], None] | None = None
    _held: dict[str, str] = field(default_factory=dict)

    def hold(self, channels: Sequence[str]) -> None:
        """Read what depends on nothing but *channels*, ahead of inner loops."""
        self._held = {}
        for number, extra in enumerate(self.extras):
            for place, channel in enumerate(channels):
                if extra.follows == "channel":
                    name = f"e{number}_{place}" if len(channels) > 1 else f"e{number}"
                    self.f.line(f"const {name} = {extra.name}[{channel}];")
                    self._held[f"{extra.name}[{channel}]"] = name

    def put(self, index: str, channel: str, value: str) -> None:
        """Store *value* as result number *index*."""
        if self.compiled is None:
            self.f.line(f"{self.y}[{index}] = {value};")
            return
        texts = [value]
        for extra in self.extras:
            at = {"one": "0", "channel": channel, "element": index}[extra.follows]
            text = f"{extra.name}[{at}]"
            texts.append(self._held.get(text, text))
        lines, text = self.compiled.text(texts)
        if not lines:
            self.f.line(f"{self.y}[{index}] = {text};")
            return
        with self.f.block(""):
            for line in lines:
                self.f.line(line)
            self.f.line(f"{self.y}[{index}] = {text};")

    def finish(self) -> None:
        """Write what is left to do."""
        if self.rest is not None:
            self.rest()


def store(f: Function, target: Source, raw: Shape, *, channels: int = 0) -> Store:
    """Return where to put the results of the node's primitive, of shape *raw*.

    *channels* is the length of the innermost axis that the kernel follows; without it
    the epilogue has its own loop.
    """
    y = f.write(target)
    expr = f.node.epilogue
    if expr is None:
        return Store(f, y)
    extras = f.operands[f.node.arity :]
    dtypes: list[DType] = ["float32", *(x.dtype for x in extras)]
    spec = f.node.specs[0]
    shape = known(spec.shape)
    how = [follows(x, raw, channels) for x in extras]
    if channels and shape == raw and None not in how and cost(expr) <= _INLINE:
        finite = isinstance(f.node.primitive, Conv | Contract)
        compiled = program(expr, dtypes, spec.dtype, finite=finite)
        f.module.support |= compiled.support
        listed = tuple(
            _Extra(f.read(x, "extra"), each)
            for x, each in zip(extras, how, strict=True)
            if each is not None
        )
        return Store(f, y, compiled, listed)
    plain = y if length(raw) == length(shape) else f.scratch(length(raw), "plain")

    def rest() -> None:
        operands = [Array(plain, raw, dtypes[0])]
        operands += [Array(f.read(x, "extra"), x.shape, x.dtype) for x in extras]
        write_map(f, expr, operands, Array(y, shape, spec.dtype))

    return Store(f, plain, rest=rest)


def follows(x: Operand, raw: Shape, channels: int) -> str | None:
    """Return how the index into *x* follows from the number of a result."""
    if x.size == 1:
        return "one"
    if x.size == length(raw):
        return "element"
    own = list(x.shape)
    while own and own[0] == 1:
        own.pop(0)
    suffix = list(raw[len(raw) - len(own) :])
    return "channel" if own == suffix and x.size == channels else None
