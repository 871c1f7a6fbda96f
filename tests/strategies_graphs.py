"""Hypothesis strategies for graphs of primitives, and inputs that fit them.

The graphs are small, and well-conditioned: values stay within a few units, and nothing
discontinuous is computed from anything but a graph's own inputs, so that two correct
executions differ by rounding alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from keramos.expr import Expr, call, const, operand, where
from keramos.graph import Graph, Node, Origin, Value, apply, literal
from keramos.primitives import (
    Concat,
    Contract,
    Conv,
    Gather,
    Map,
    Method,
    Pad,
    Padding,
    Primitive,
    Reduce,
    Reshape,
    Resize,
    Scan,
    Shape,
    Slice,
    Softmax,
    Spec,
    Transpose,
    Window,
    broadcast,
    product,
)

Array = NDArray[Any]
T = TypeVar("T")

# What the first free dimension of an input may be at run time; the second one is one
# longer. Graphs are valid at each of these lengths.
LENGTHS = (5, 6, 7, 9)

_MOST_ELEMENTS = 400
_LONGEST = 24
# Keras has no windows of more axes.
_MOST_SPATIAL = 3


def inputs_for(
    graph: Graph, n: int, rng: np.random.Generator, *, length: int = LENGTHS[0]
) -> tuple[Array, ...]:
    """Return a batch of *n* for each input; *length* is one of ``LENGTHS``."""
    return tuple(
        _numbers(spec, (n, *_lengths(spec.shape, length)), rng)
        for spec in graph.input_specs
    )


def _numbers(spec: Spec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    match spec.dtype:
        case "float32":
            return rng.uniform(-2, 2, shape).astype(np.float32)
        case "int32":
            return rng.integers(-1, 5, shape).astype(np.int32)
        case "bool":
            return rng.random(shape) < 0.5


def _lengths(shape: Shape, length: int) -> tuple[int, ...]:
    """Return the shape of an input where the first free dimension is *length*."""
    result = []
    for d in shape:
        result.append(length if d is None else d)
        length += d is None
    return tuple(result)


def graphs(
    *,
    free: bool = True,
    integers: bool = True,
    scan: bool = True,
    max_nodes: int = 6,
    kinds: Collection[str] = (),
) -> st.SearchStrategy[Graph]:
    """Draw graphs: DAGs of every primitive, with constants, epilogues and branches.

    *free* allows free dimensions, *integers* integer inputs and masks, *scan* Scan.
    *kinds* ("conv", "pad", ...) are the only ones drawn, with Map where they don't fit.
    """
    return _graphs(_Options(free, integers, scan, max_nodes, frozenset(kinds)))


@dataclass(frozen=True)
class _Options:
    """What :func:`graphs` was asked for."""

    free: bool
    integers: bool
    scan: bool
    max_nodes: int
    kinds: frozenset[str]


@st.composite
def _graphs(draw: st.DrawFn, options: _Options) -> Graph:
    """Draw inputs, nodes and outputs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16), label="constants"))
    builder = _Builder(draw, rng, options)
    for _ in range(draw(st.integers(1, 3))):
        shape: Shape = tuple(
            draw(st.lists(st.integers(1, 6), min_size=1, max_size=3), label="input")
        )
        if options.free and draw(st.booleans()):
            count = draw(st.integers(1, max(len(shape) - 1, 1)))
            shape = (*(None,) * count, *shape[count:])
        builder.add_input(Spec(shape))
    if options.integers and draw(st.booleans()):
        length = (
            None if options.free and draw(st.booleans()) else draw(st.integers(1, 5))
        )
        builder.add_input(Spec((length,), "int32"))
    for _ in range(options.max_nodes - draw(st.integers(0, options.max_nodes))):
        builder.grow()
    floats = [x for x in builder.values if x.dtype == "float32"][::-1]
    read = {x for y in builder.values if y.node is not None for x in y.node.inputs}
    outputs = [x for x in floats if x not in read][:2] or floats[:1]
    outputs += draw(st.lists(st.sampled_from(floats), max_size=1), label="outputs")
    names = tuple(f"y{k}" for k in range(len(outputs)))
    return Graph(tuple(builder.inputs), tuple(outputs), names)


@dataclass(frozen=True)
class _Builder:
    """A graph under construction; *concrete* are a value's shapes at each length."""

    draw: st.DrawFn
    rng: np.random.Generator
    options: _Options
    inputs: list[Value] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    concrete: dict[Value, tuple[tuple[int, ...], ...]] = field(default_factory=dict)

    def add_input(self, spec: Spec) -> None:
        x = Value(spec, name=f"x{len(self.inputs)}")
        self.inputs.append(x)
        self.values.append(x)
        self.concrete[x] = tuple(_lengths(spec.shape, length) for length in LENGTHS)

    def grow(self) -> None:
        """Add a node behind a drawn value: a Map where the drawn kind doesn't fit."""
        x = self.values[-1] if self.flip() else self.choose(self.values[::-1])
        kinds = _ANY
        if x.dtype == "float32":
            kinds += _FLOAT
            kinds += _IMAGE if len(x.shape) > 1 else ()
            kinds += (_scan,) if self.options.scan and len(x.shape) == 2 else ()
        if self.options.kinds:
            kinds = tuple(k for k in kinds if k.__name__[1:] in self.options.kinds) or (
                _map,
            )
        if not self.choose(kinds)(self, x):
            _map(self, x)

    def choose(self, options: Sequence[T]) -> T:
        return self.draw(st.sampled_from(options))

    def flip(self) -> bool:
        return self.draw(st.booleans())

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def constant(self, shape: tuple[int, ...], *, fan: int = 1) -> Value:
        """Return random numbers of a size that keeps a sum over *fan* small."""
        numbers = self.rng.uniform(-1.5, 1.5, shape) / math.sqrt(fan)
        return literal(numbers.astype(np.float32), name=f"{self.layer()}/weight")

    def layer(self) -> str:
        return f"layer_{len(self.values)}"

    def like(self, x: Value, y: Value) -> bool:
        """Return whether *y* has the shape of *x* at every length."""
        return x.shape == y.shape and self.concrete[x] == self.concrete[y]

    def fits(self, x: Value, y: Value) -> bool:
        """Return whether *y* broadcasts to the shape of *x* at every length."""
        if len(y.shape) > len(x.shape):
            return False
        skip = len(x.shape) - len(y.shape)
        return all(
            d == 1
            or (
                d == x.shape[skip + axis]
                and all(
                    a[skip + axis] == b[axis]
                    for a, b in zip(self.concrete[x], self.concrete[y], strict=True)
                )
            )
            for axis, d in enumerate(y.shape)
        )

    def add(self, primitive: Primitive, *inputs: Value) -> bool:
        """Add a node, and say whether it fits and is small at every length."""
        sizes = []
        for k in range(len(LENGTHS)):
            specs = [
                x.spec if x.constant else Spec(self.concrete[x][k], x.dtype)
                for x in inputs
            ]
            try:
                results = _settled(primitive, specs, inputs).infer(*specs)
            except ValueError:
                return False
            shapes = [y.shape for y in results]
            if not all(map(_small, shapes)):
                return False
            sizes.append(shapes)
        origin = Origin(self.layer(), type(primitive).__name__)
        results_ = apply(primitive, *inputs, origins=(origin,))
        if len(results_) == 1 and isinstance(primitive, _WITH_EPILOGUE):
            results_ = (self.epilogued(results_[0], tuple(s[0] for s in sizes)),)
        for index, y in enumerate(results_):
            self.values.append(y)
            self.concrete[y] = tuple(
                tuple(d or 0 for d in shapes[index]) for shapes in sizes
            )
        return True

    def epilogued(self, y: Value, sizes: tuple[Shape, ...]) -> Value:
        """Return *y*, at times with an epilogue on its node."""
        if y.node is None or not self.flip():
            return y
        self.concrete[y] = tuple(tuple(d or 0 for d in s) for s in sizes)
        expr, extras = _expression(self, y)
        node: Node = replace(
            y.node,
            inputs=(*y.node.inputs, *extras),
            epilogue=expr,
            arity=len(y.node.inputs),
        )
        return node.results()[0]


_WITH_EPILOGUE = (Conv, Contract, Window, Reduce, Softmax)


def _settled(
    primitive: Primitive, specs: Sequence[Spec], inputs: Sequence[Value]
) -> Primitive:
    """Return *primitive* where the free dimensions have become known."""
    if isinstance(primitive, Reshape):
        pairs = zip(inputs[0].shape, specs[0].shape, strict=True)
        sizes = iter([d for static, d in pairs if static is None])
        return Reshape(tuple(next(sizes) if d is None else d for d in primitive.shape))
    return primitive


def _small(shape: Shape) -> bool:
    count = product(shape)
    return (
        count is not None
        and 0 < count <= _MOST_ELEMENTS
        and all(d is not None and d <= _LONGEST for d in shape)
    )


_UNARY: tuple[Callable[[Expr], Expr], ...] = (
    lambda x: call("max", x, 0),
    lambda x: call("tanh", x),
    lambda x: call("sigmoid", x),
    lambda x: x * call("sigmoid", x),
    lambda x: where(x < 0, x * 0.25, x),
    lambda x: where(x >= 0, x, call("expm1", x)),
    lambda x: where(call("and", x > -1, call("not", x > 1)), x, call("sign", x)),
    lambda x: call("min", call("max", x, -1), 0.5),
    lambda x: call("max", x, 0) + call("log1p", call("exp", -call("abs", x))),
    lambda x: 0.5 * x * (1 + call("erf", x * 0.5)),
    lambda x: x / (1 + call("abs", x)),
    lambda x: call("rsqrt", x * x + 1),
    lambda x: call("sqrt", call("abs", x) + 0.5),
    lambda x: call("pow", call("abs", x) + 0.5, 0.75),
    lambda x: call("log", call("abs", x) + 1),
    lambda x: call("exp", call("min", x, 1)),
    lambda x: call("sin", x),
    lambda x: call("cos", x),
    lambda x: call("atan", x),
    lambda x: -x,
    lambda x: call("abs", x),
    lambda x: 2 - x,
    lambda x: 0.5 * x + 1,
    lambda x: (x - 0.25) / 2,
    lambda x: x,
)

# Exact on a graph's own inputs, which are the same everywhere.
_STEPS: tuple[Callable[[Expr], Expr], ...] = (
    lambda x: call("ceil", x),
    lambda x: call("floor", x),
    lambda x: call("round", x),
    lambda x: call("sign", x),
    lambda x: call("trunc", x),
    lambda x: call("mod", x, 2),
    lambda x: where(x > 0, 1, -0.5),
    lambda x: where(call("or", call("le", x, -1), call("eq", x, 0)), 1, x),
)

_BINARY: tuple[Callable[[Expr, Expr], Expr], ...] = (
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: x * call("tanh", y),
    lambda x, y: call("sigmoid", x) * y,
    lambda x, y: call("max", x, y),
    lambda x, y: call("min", x, y),
    lambda x, y: x / (1 + call("abs", y)),
    lambda x, y: where(x < y, y, x),
)


def _expression(b: _Builder, x: Value) -> tuple[Expr, tuple[Value, ...]]:
    """Draw an expression of *x*, operand 0, and of values that broadcast to it."""
    extras: list[Value] = []
    expr = operand(0)
    for _ in range(b.integer(1, 3)):
        kind = b.choose(("unary", "constant", "affine", "binary"))
        others = [y for y in b.values if b.fits(x, y) and y.dtype != "int32"]
        if kind == "constant":
            extras.append(_broadcasting(b, x))
            expr = b.choose(_BINARY)(expr, operand(len(extras)))
        elif kind == "affine":
            extras += [_broadcasting(b, x), _broadcasting(b, x)]
            expr = expr * operand(len(extras) - 1) + operand(len(extras))
        elif kind == "binary" and others:
            y = b.choose(others)
            extras.append(y)
            other = operand(len(extras))
            if y.dtype == "bool":
                expr = where(other, expr, b.choose((const(0), expr * 0.5)))
            else:
                expr = b.choose(_BINARY)(expr, other)
        else:
            expr = b.choose(_UNARY)(expr)
    return expr, tuple(extras)


def _broadcasting(b: _Builder, x: Value) -> Value:
    """Draw a constant for *x*: a scalar, one number per channel, or another shape."""
    shape = [1 if d is None else d for d in x.shape]
    kind = b.choose(("channels", "scalar", "any"))
    if kind == "channels":
        return b.constant(tuple(shape[-1:]))
    if kind == "scalar":
        return b.constant(())
    ones = b.draw(
        st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)), label="ones"
    )
    return b.constant(tuple(1 if o else d for d, o in zip(shape, ones, strict=True)))


def _map(b: _Builder, x: Value) -> bool:
    choices: tuple[Map, ...]
    if x.dtype == "int32":
        choices = (
            Map(operand(0) * 0.25),
            Map(operand(0)),
            Map(call("ne", operand(0), 0), "bool"),
            Map(call("max", operand(0), 1), "int32"),
        )
        return b.add(b.choose(choices), x)
    if x.dtype == "bool":
        choices = (
            Map(where(operand(0), 1, -0.5)),
            Map(operand(0)),
            Map(call("not", operand(0)), "bool"),
        )
        return b.add(b.choose(choices), x)
    if x in b.inputs and b.integer(0, 3) == 0:
        step = b.choose(_STEPS)(operand(0))
        choices = (
            Map(step),
            Map(call("trunc", operand(0)), "int32"),
            Map(operand(0) > 0, "bool"),
        )
        return b.add(b.choose(choices), x)
    expr, extras = _expression(b, x)
    return b.add(Map(expr), x, *extras)


def _outer(b: _Builder, x: Value) -> bool:
    """Add a Map whose result is larger than each operand."""
    if not x.shape:
        return False
    length = b.integer(2, 3)
    if x.shape[0] == 1 and x.dtype == "float32":
        rest = [1 if d is None else d for d in x.shape[1:]]
        other = b.constant((length, *rest))
        return b.add(Map(b.choose(_BINARY)(operand(0), operand(1))), x, other)
    others = [
        y for y in b.values if y.dtype == "float32" and b.fits(x, y) and y is not x
    ]
    if x.dtype != "float32" or not others:
        return False
    broadcast([x.shape, others[0].shape])
    expr = b.choose(_BINARY)(operand(0), operand(1))
    return b.add(Map(expr), b.choose(others), x)


def _conv(b: _Builder, x: Value) -> bool:
    rank = len(x.shape) - 1
    channels = x.shape[-1]
    if channels is None or rank > _MOST_SPATIAL:
        return False
    groups = b.choose([g for g in range(1, channels + 1) if channels % g == 0])
    filters = groups * b.integer(1, 3)
    window = [b.integer(1, 3) for _ in range(rank)]
    dilation = tuple(b.integer(1, 2) for _ in range(rank))
    input_dilation = tuple(b.choose((1, 1, 2)) for _ in range(rank))
    strides, padding = _steps(b, x, rank, inside=3)
    fan = math.prod(window) * channels // groups
    kernel = b.constant((*window, channels // groups, filters), fan=fan)
    primitive = Conv(strides, padding, dilation, input_dilation, groups)
    if b.integer(0, 3) == 0:  # what Keras' own 'same' gives: an output of x's size
        padding = tuple(
            ((w - 1) * d // 2, (w - 1) * d - (w - 1) * d // 2)
            for w, d in zip(window, dilation, strict=True)
        )
        primitive = Conv((1,) * rank, padding, dilation, (1,) * rank, groups)
    return b.add(primitive, x, kernel)


def _steps(
    b: _Builder, x: Value, rank: int, *, inside: int
) -> tuple[tuple[int, ...], tuple[Padding, ...]]:
    """Draw strides and zeros, fewer than *inside* at each end."""
    strides = tuple(b.choose((1, 1, 2, 3)) for _ in range(rank))
    padding: list[Padding] = []
    for axis in range(rank):
        if x.shape[axis] is None and strides[axis] > 1 and b.flip():
            padding.append("same")
        else:
            padding.append((b.integer(0, inside - 1), b.integer(0, inside - 1)))
    return strides, tuple(padding)


def _window(b: _Builder, x: Value) -> bool:
    rank = len(x.shape) - 1
    if rank > _MOST_SPATIAL:
        return False
    size = tuple(b.integer(1, 3) for _ in range(rank))
    strides, padding = _steps(b, x, rank, inside=min(size))
    return b.add(
        Window(b.choose(("max", "mean", "sum")), size, strides, padding),
        x,
    )


def _contract(b: _Builder, x: Value) -> bool:
    """Add a contraction with constants, most often over the last axis."""
    known = [axis for axis, d in enumerate(x.shape) if d is not None]
    if not known:
        return False
    axes = tuple(
        b.draw(
            st.one_of(
                st.just([known[-1]]),
                st.lists(st.sampled_from(known), max_size=2, unique=True),
            ),
            label="contracted",
        )
    )
    sizes = [x.shape[axis] or 0 for axis in axes]
    others = [b.integer(1, 4) for _ in range(b.integer(0, 2))]
    front = b.integer(0, len(others))
    shape = (*others[:front], *sizes, *others[front:])
    weights = b.constant(shape, fan=math.prod(sizes))
    mine = tuple(range(front, front + len(axes)))
    if b.integer(0, 4) == 0:
        return b.add(Contract(mine, axes), weights, x)
    return b.add(Contract(axes, mine), x, weights)


def _dot(b: _Builder, x: Value) -> bool:
    """Add a contraction of two values, as in attention."""
    y = b.choose([v for v in b.values[::-1] if v.dtype == "float32"])
    pairs = [
        (i, j)
        for i in range(len(x.shape))
        for j in range(len(y.shape))
        if x.shape[i] == y.shape[j]
        and all(p[i] == q[j] for p, q in zip(b.concrete[x], b.concrete[y], strict=True))
    ]
    contract: list[tuple[int, int]] = []
    batch: list[tuple[int, int]] = []
    for chosen in (contract, batch):
        used = contract + batch
        left = [
            (i, j)
            for i, j in pairs
            if i not in {p for p, _ in used} and j not in {q for _, q in used}
        ]
        if left and b.flip():
            chosen.append(b.choose(left))
    primitive = Contract(
        tuple(i for i, _ in contract),
        tuple(j for _, j in contract),
        tuple(i for i, _ in batch),
        tuple(j for _, j in batch),
    )
    return b.add(primitive, x, y)


def _reduce(b: _Builder, x: Value) -> bool:
    axes = b.draw(
        st.lists(st.sampled_from(range(len(x.shape) or 1)), max_size=3, unique=True),
        label="reduced",
    )
    if not x.shape:
        return False
    kinds: tuple[Literal["mean", "sum", "max", "min", "prod"], ...]
    kinds = ("mean", "sum", "max", "min")
    count = product([x.shape[axis] for axis in axes])
    if count is not None and count <= 8:
        kinds += ("prod",)
    return b.add(Reduce(b.choose(kinds), tuple(sorted(axes)), b.flip()), x)


def _softmax(b: _Builder, x: Value) -> bool:
    if not x.shape:
        return False
    return b.add(Softmax(b.integer(0, len(x.shape) - 1), b.flip()), x)


def _gather(b: _Builder, x: Value) -> bool:
    """Add a look-up in *x*, or, where it holds integers, in a table."""
    if x.dtype == "int32":
        table = b.constant(tuple(b.integer(1, 4) for _ in range(b.integer(1, 2))))
        return b.add(Gather(0), table, x)
    integers = [v for v in b.values if v.dtype == "int32"]
    if not x.shape:
        return False
    axis = b.integer(0, len(x.shape) - 1)
    if integers and b.flip():
        return b.add(Gather(axis), x, b.choose(integers))
    count = b.integer(1, 3)
    indices = b.rng.integers(0, min(s[axis] for s in b.concrete[x]), count)
    return b.add(Gather(axis), x, literal(indices.astype(np.int32)))


def _reshape(b: _Builder, x: Value) -> bool:
    """Add a Reshape that keeps, splits, merges or inserts axes."""
    kind = b.choose(("flatten", "insert", "split", "merge", "squeeze"))
    shape = list(x.shape)
    if kind == "insert" or not shape:
        shape.insert(b.integer(0, len(shape)), 1)
    elif kind == "flatten":
        shape = [-1]
    elif kind == "squeeze":
        shape = [d for d in shape if d != 1]
    elif kind == "merge" and len(shape) > 1:
        axis = b.integer(0, len(shape) - 2)
        p, q = shape[axis : axis + 2]
        if None in shape and (p is None or q is None) and shape.count(None) > 1:
            return False
        joint = product((p, q))
        shape[axis : axis + 2] = [-1 if joint is None else joint]
    elif kind == "split":
        axis = b.integer(0, len(shape) - 1)
        size = shape[axis]
        if size is None:
            return False
        factor = b.choose([f for f in range(1, size + 1) if size % f == 0])
        shape[axis : axis + 1] = [factor, size // factor]
    return b.add(Reshape(tuple(shape)), x)


def _transpose(b: _Builder, x: Value) -> bool:
    order = b.draw(st.permutations(range(len(x.shape))), label="permutation")
    return b.add(Transpose(tuple(order)), x)


def _slice(b: _Builder, x: Value) -> bool:
    slices: list[tuple[int | None, int | None, int]] = []
    for axis in range(len(x.shape)):
        least = min(s[axis] for s in b.concrete[x])
        start = b.integer(0, min(2, least - 1))
        stop = -b.integer(1, 2) if least - start > 2 and b.flip() else None
        forward = (start or None, stop, b.choose((1, 1, 2)))
        step = b.choose((-1, -1, -2))
        slices.append(b.choose((forward, (None, None, 1), (None, None, step))))
    return b.add(Slice(tuple(slices)), x)


def _pad(b: _Builder, x: Value) -> bool:
    widths = tuple(
        b.choose(((0, 0), (b.integer(0, 2), b.integer(0, 2)))) for _ in x.shape
    )
    value = b.choose((0.0, 0.0, 0.5)) if x.dtype == "float32" else 0.0
    return b.add(Pad(widths, value), x)


def _concat(b: _Builder, x: Value) -> bool:
    """Add a Concat of *x* with values of its shape, itself, or constants."""
    if not x.shape:
        return False
    axis = b.integer(0, len(x.shape) - 1)
    same = [y for y in b.values if y.dtype == x.dtype and b.like(x, y)]
    parts = [x, b.choose(same)]
    if x.dtype == "float32" and None not in x.shape and b.flip():
        shape = [d or 0 for d in x.shape]
        shape[axis] = b.integer(1, 3)
        parts[1] = b.constant(tuple(shape))
    if b.flip():
        parts.reverse()
    if b.flip():
        parts.append(x)
    return b.add(Concat(axis), *parts)


def _resize(b: _Builder, x: Value) -> bool:
    if not x.shape:
        return False
    axes = tuple(
        sorted(
            b.draw(
                st.lists(
                    st.sampled_from(range(len(x.shape))),
                    min_size=1,
                    max_size=2,
                    unique=True,
                ),
                label="resized",
            )
        )
    )
    factor = tuple(b.integer(1, 3) for _ in axes)
    size = tuple(
        None if x.shape[axis] is None or b.flip() else b.integer(1, 7) for axis in axes
    )
    methods: tuple[Method, ...] = (
        "nearest",
        "bilinear",
        "bicubic",
        "lanczos3",
        "lanczos5",
    )
    return b.add(Resize(axes, size, factor, b.choose(methods), b.flip()), x)


def _scan(b: _Builder, x: Value) -> bool:
    """Add a recurrent layer: an RNN cell whose mask, if any, holds its state."""
    if x.shape[1] is None:
        return False
    units = b.integer(1, 3)
    masks = [
        y
        for y in b.values
        if y.dtype == "bool"
        and y.shape == x.shape[:1]
        and all(p[:1] == q for p, q in zip(b.concrete[x], b.concrete[y], strict=True))
    ]
    masked = bool(masks) and b.flip()
    step = Value(Spec(x.shape[1:]), name="step")
    mask = Value(Spec((), "bool"), name="mask")
    state = Value(Spec((units,)), name="state")
    kernel = Value(Spec((x.shape[1], units)), name="kernel")
    recurrent = Value(Spec((units, units)), name="recurrent")
    origin = (Origin(b.layer(), "SimpleRNN"),)
    (a,) = apply(Contract((0,), (0,)), step, kernel, origins=origin)
    (h,) = apply(Contract((0,), (0,)), state, recurrent, origins=origin)
    activated = Map(b.choose(_UNARY[:4])(operand(0) + operand(1)))
    (new,) = apply(activated, a, h, origins=origin)
    if masked:
        (mask_,) = apply(Reshape((1,)), mask, origins=origin)
        choice = Map(where(operand(0), operand(1), operand(2)))
        (new,) = apply(choice, mask_, new, state, origins=origin)
    sequences = (step, mask) if masked else (step,)
    outputs = ("state", "sequence")[: b.integer(1, 2)]
    body = Graph((*sequences, state, kernel, recurrent), (new,) * len(outputs), outputs)
    given = (x, b.choose(masks)) if masked else (x,)
    return b.add(
        Scan(body, len(given), 1, b.flip()),
        *given,
        b.constant((units,)),
        b.constant((x.shape[1], units), fan=x.shape[1]),
        b.constant((units, units), fan=units),
    )


_Grow = Callable[[_Builder, Value], bool]
_ANY: tuple[_Grow, ...] = (
    _map,
    _reshape,
    _transpose,
    _slice,
    _pad,
    _concat,
    _gather,
)
_FLOAT: tuple[_Grow, ...] = (
    _map,
    _outer,
    _contract,
    _contract,
    _dot,
    _reduce,
    _softmax,
    _resize,
)
_IMAGE: tuple[_Grow, ...] = (*(_conv,) * 6, *(_window,) * 3)
