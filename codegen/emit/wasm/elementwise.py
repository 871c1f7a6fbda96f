"""Map, and epilogues: scalar expressions on the vectors of kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from keramos.emit.javascript.elementwise import Array, follows, write_map
from keramos.emit.javascript.expression import Program, program
from keramos.emit.javascript.function import Function, Operand, Shape, known
from keramos.emit.wasm.assembler import Instruction, get, i32, load, plus, spread, store
from keramos.emit.wasm.expression import supported, vector
from keramos.emit.wasm.kernel import BYTES, LANES, Kernel, UnsupportedError
from keramos.expr import Expr
from keramos.plan.javascript import Source, length
from keramos.primitives import DType

# Vectors of one turn of an elementwise loop.
_UNROLLED = 4


@dataclass(frozen=True, slots=True)
class Extra:
    """An operand beside the results: its parameter, and how it follows them."""

    name: str
    follows: str  # "one", "channel" or "element"


@dataclass(slots=True)
class Results:
    """Where a kernel's results go, and through which expression.

    *rest* writes what is computed in a loop of its own, behind the kernel's.
    """

    kernel: Kernel
    y: str
    program: Program | None = None
    extras: tuple[Extra, ...] = ()
    rest: Callable[[], None] = lambda: None
    _held: dict[tuple[int, int], Instruction] = field(default_factory=dict)

    def hold(self, channel: Instruction, vectors: int) -> None:
        """Read what depends on nothing but channels, *channel* bytes from the first."""
        for number, extra in enumerate(self.extras):
            if extra.follows == "element":
                continue
            for q in range(vectors if extra.follows == "channel" else 1):
                address = get(extra.name)
                if extra.follows == "one":
                    value = spread(address)
                else:
                    value = load(plus(address, *_terms(channel)), q * LANES * BYTES)
                name = f"e{number}_{q}"
                self._held[number, q] = self.kernel.set(name, value, "v128")

    def put(
        self, value: Instruction, place: tuple[Instruction, int], q: int, lanes: int
    ) -> None:
        """Store the first *lanes* results; *place* is where, in bytes, and an offset.

        *q* says which of the vectors that are held belongs to them.
        """
        index, offset = place
        if self.program is not None:
            values = [value]
            for number, extra in enumerate(self.extras):
                if extra.follows == "element":
                    address = plus(get(extra.name), index)
                    values.append(load(address, offset))
                else:
                    held = q if extra.follows == "channel" else 0
                    values.append(self._held[number, held])
            value = vector(self.kernel, self.program, values)
        if lanes < LANES:
            value = self.kernel.set("part", value, "v128")
        address = plus(get(self.y), *_terms(index))
        self.kernel.add(*store(address, value, offset, lanes))


def _terms(address: Instruction) -> list[Instruction]:
    return [] if address == i32(0) else [address]


def results(
    kernel: Kernel, target: Source, raw: Shape, *, channels: int = 0
) -> Results:
    """Return where to put the results of the node's primitive, of shape *raw*.

    *channels* is the length of the innermost axis that the kernel follows; without it
    the epilogue has its own loop.
    """
    f = kernel.f
    y = kernel.write(target)
    expr = f.node.epilogue
    if expr is None:
        return Results(kernel, y)
    extras = f.operands[f.node.arity :]
    dtypes: list[DType] = ["float32", *(x.dtype for x in extras)]
    spec = f.node.specs[0]
    shape = known(spec.shape)
    compiled = program(expr, dtypes, spec.dtype)
    how = [follows(x, raw, channels) for x in extras]
    if channels and shape == raw and None not in how and supported(compiled):
        listed = tuple(
            Extra(kernel.read(x, "extra"), each)
            for x, each in zip(extras, how, strict=True)
            if each is not None
        )
        return Results(kernel, y, compiled, listed)
    plain = target
    if length(raw) != length(shape):
        plain = f.buffer(length(raw), "plain")
    first = Operand(plain, raw, "float32")

    def rest() -> None:
        write_epilogue(kernel, expr, (first, *extras), target)

    return Results(kernel, f.bind(f.module.variable(plain), "plain"), rest=rest)


def write_epilogue(
    kernel: Kernel, expr: Expr, operands: Sequence[Operand], target: Source
) -> None:
    """Write a Map behind a kernel: there if it can be, else in JavaScript."""
    spec = kernel.f.node.specs[0]
    shape = known(spec.shape)
    try:
        write_vectors(kernel, expr, operands, target)
    except UnsupportedError:
        name = kernel.f.module.names.take(f"{kernel.f.name}_rest")
        f = Function(kernel.f.module, name, kernel.f.node, kernel.f.place, ())
        arrays = [Array(f.read(x), x.shape, x.dtype) for x in operands]
        write_map(f, expr, arrays, Array(f.write(target), shape, spec.dtype))
        kernel.further.append(f)


def write_vectors(
    kernel: Kernel, expr: Expr, operands: Sequence[Operand], target: Source
) -> None:
    """Write the loops of ``y = expr(operands)``; raise UnsupportedError."""
    spec = kernel.f.node.specs[0]
    shape = known(spec.shape)
    compiled = program(expr, [x.dtype for x in operands], spec.dtype)
    size = length(shape)
    channels = shape[-1] if shape else 1
    how = [
        "element" if x.size == size else follows(x, shape, channels) for x in operands
    ]
    if None in how or not supported(compiled) or size == 0:
        raise UnsupportedError
    run = channels if "channel" in how else size
    y = kernel.write(target)
    listed = [
        Extra(kernel.read(x, "extra"), each)
        for x, each in zip(operands, how, strict=True)
        if each is not None
    ]
    for number, extra in enumerate(listed):
        if extra.follows == "one":
            kernel.set(f"o{number}", spread(get(extra.name)), "v128")
    line = _Line(kernel, compiled, tuple(listed), y)
    kernel.set("i", i32(0))
    with kernel.repeat("i", size // run, {"i": run * BYTES}):
        line.write(run)


@dataclass(frozen=True, slots=True)
class _Line:
    """An elementwise loop over neighbours, from *i* bytes into y on."""

    kernel: Kernel
    program: Program
    operands: tuple[Extra, ...]
    y: str

    def write(self, run: int) -> None:
        """Write the loop over *run* elements."""
        step = LANES * BYTES
        whole, rest = divmod(run, LANES)
        turns = whole // _UNROLLED
        if turns:
            begin = self.kernel.set("k", i32(0)) if turns > 1 else i32(0)
            with self.kernel.repeat("k", turns, {"k": _UNROLLED * step}):
                for k in range(_UNROLLED):
                    self._vector(begin, k * step, LANES)
        for k in range(turns * _UNROLLED, whole):
            self._vector(i32(0), k * step, LANES)
        if rest:
            self._vector(i32(0), whole * step, rest)

    def _vector(self, begin: Instruction, offset: int, lanes: int) -> None:
        """Write the first *lanes* of a vector, *begin* and *offset* into the line."""
        values = []
        for number, extra in enumerate(self.operands):
            address = plus(get(extra.name), *_terms(begin))
            if extra.follows == "one":
                values.append(get(f"o{number}"))
            elif extra.follows == "channel":
                values.append(load(address, offset))
            else:
                values.append(load(plus(address, get("i")), offset))
        value = vector(self.kernel, self.program, values)
        if lanes < LANES:
            value = self.kernel.set("part", value, "v128")
        address = plus(get(self.y), get("i"), *_terms(begin))
        self.kernel.add(*store(address, value, offset, lanes))
