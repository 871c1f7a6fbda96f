"""Keras' operations that sum up: reductions, products of matrices, norms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from keramos import ops
from keramos.errors import quoted
from keramos.expr import call
from keramos.graph import Value, elementwise
from keramos.layers.operation import (
    beside,
    constant_array,
    operation,
    positions,
    value,
)
from keramos.layers.structure import Structure

Axis = int | Sequence[int] | None

_REDUCTIONS: Mapping[str, Callable[..., Value]] = {
    "Sum": ops.sum,
    "Mean": ops.mean,
    "Max": ops.max,
    "Min": ops.min,
    "Amax": ops.max,
    "Amin": ops.min,
    "Prod": ops.prod,
}


def _reduction(reduce: Callable[..., Value]) -> Callable[..., Value]:
    """Return an operation that reduces axes."""

    def function(
        x: Value,
        axis: Axis = None,
        keepdims: bool = False,  # noqa: FBT001, FBT002 - Keras' own name
        **options: object,
    ) -> Value:
        if options.get("initial") is not None:
            raise ValueError("an initial value isn't supported")
        if x.dtype == "bool":
            x = ops.cast(x, "int32")
        return reduce(x, positions(axis, x), keepdims=keepdims)

    return function


for _name, _reduce in _REDUCTIONS.items():
    operation(_name)(_reduction(_reduce))


@operation("Any")
def any_holds(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Return whether one element holds."""
    return ops.max(ops.cast(x, "bool"), positions(axis, x), keepdims=keepdims)


@operation("All")
def all_hold(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Return whether all elements hold."""
    return ops.min(ops.cast(x, "bool"), positions(axis, x), keepdims=keepdims)


@operation("CountNonzero")
def count_nonzero(x: Value, axis: Axis = None) -> Value:
    """Return how many elements aren't 0."""
    return ops.sum(ops.cast(ops.not_equal(x, 0), "int32"), positions(axis, x))


@operation("Var")
def variance(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Return the mean squared distance from the mean."""
    return ops.moments(x, positions(axis, x), keepdims=keepdims)[1]


@operation("Std")
def deviation(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Return the square root of the variance."""
    return ops.sqrt(ops.moments(x, positions(axis, x), keepdims=keepdims)[1])


@operation("Moments")
def moments(
    x: Value,
    axes: Axis,
    *,
    keepdims: bool = False,
    synchronized: bool = False,
) -> list[Value]:
    """Return the mean and the variance."""
    del synchronized
    return list(ops.moments(x, positions(axes, x), keepdims=keepdims))


@operation("Average")
def average(x: Value, axis: Axis = None, weights: Structure = None) -> Value:
    """Return the weighted mean."""
    axes = positions(axis, x)
    if weights is None:
        return ops.mean(x, axes)
    factor = constant_array(weights)
    if factor.ndim == 1:
        shape = [1] * len(x.shape)
        shape[axes[0]] = factor.size
        factor = factor.reshape(shape)
    return ops.sum(x * (factor / factor.sum()).astype(np.float32), axes)


@operation("Argmax")
def argmax(x: Value, axis: int | None = None, *, keepdims: bool = False) -> Value:
    """Return where the largest element stands."""
    (at,) = positions(axis, x)
    y = ops.argmax(x, at)
    return ops.expand_dims(y, at) if keepdims else y


@operation("Argmin")
def argmin(x: Value, axis: int | None = None, *, keepdims: bool = False) -> Value:
    """Return where the smallest element stands."""
    return argmax(ops.negative(x), axis, keepdims=keepdims)


@operation("Ptp")
def spread(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Return the largest less the smallest element."""
    axes = positions(axis, x)
    return ops.max(x, axes, keepdims=keepdims) - ops.min(x, axes, keepdims=keepdims)


@operation("Logsumexp")
def logsumexp(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Return the logarithm of the sum of exponentials, the largest taken out first."""
    axes = positions(axis, x)
    top = ops.max(x, axes, keepdims=True)
    total = ops.sum(ops.exp(x - top), axes, keepdims=keepdims)
    return ops.log(total) + (top if keepdims else ops.max(x, axes))


@operation("Norm")
def norm(
    x: Value,
    ord: object = None,  # noqa: A002 - Keras' own name
    axis: Axis = None,
    *,
    keepdims: bool = False,
) -> Value:
    """Return the length of vectors."""
    axes = positions(axis, x)
    match ord:
        case None | "euclidean" | 2:
            return ops.sqrt(ops.sum(ops.square(x), axes, keepdims=keepdims))
        case 1:
            return ops.sum(ops.abs(x), axes, keepdims=keepdims)
        case _:
            raise ValueError(f"the norm {quoted(ord)} isn't 1 or 2")


@operation("Normalize")
def normalize(
    x: Value, axis: Axis = -1, order: int = 2, epsilon: float | None = None
) -> Value:
    """Return x over its length along an axis."""
    if order != len("L2"):
        raise ValueError(f"the order {quoted(order)} isn't 2")
    total = ops.sum(ops.square(x), positions(axis, x), keepdims=True)
    least = (1e-7 if epsilon is None else epsilon) ** 2
    return elementwise(lambda v, s: v * call("rsqrt", call("max", s, least)), x, total)


@operation("Cumsum")
def cumsum(x: Value, axis: int | None = None, dtype: object = None) -> Value:
    """Return the sums of what stands before, as a product with a triangle of ones."""
    del dtype
    (at,) = positions(axis, x)
    size = x.shape[at]
    if size is None:
        raise ValueError(f"axis {axis} has no known length")
    last = len(x.shape) - 1
    ones = ops.constant(np.triu(np.ones((size, size), np.float32)))
    y = ops.matmul(ops.swap_axes(x, at, last), ones)
    return ops.swap_axes(y, at, last)


@operation("Matmul")
def matmul(x1: Structure, x2: Structure) -> Value:
    """Return the matrix product; both have a batch, or one is a constant matrix."""
    a, b = beside(x1, None), beside(x2, None)
    if not isinstance(a, Value) or not isinstance(b, Value):
        raise TypeError("one of its inputs is a number")
    if isinstance(x1, Value) and isinstance(x2, Value):
        if len(a.shape) == 1 or len(b.shape) == 1:
            raise ValueError(
                "it mixes the samples of a batch, which Keramos keeps apart"
            )
        return ops.matmul(a, b)
    return ops.matmul(a, b)


@operation("Dot")
def dot(x1: Structure, x2: Structure) -> Value:
    """Return the product with a constant matrix."""
    if isinstance(x2, Value):
        raise TypeError("its second input has a batch axis")
    return ops.matmul(value(x1), ops.constant(constant_array(x2)))


@operation("Einsum")
def einsum(*operands: Structure, subscripts: str) -> Value:
    """Return a sum of products in which the first axis of tensors is the batch."""
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or len(terms) != len(operands):
        raise ValueError(f"the equation {quoted(subscripts)} doesn't fit its inputs")
    batch = {
        term[0]
        for term, x in zip(terms, operands, strict=True)
        if isinstance(x, Value) and not term.startswith(".")
    }
    if len(batch) > 1 or any(result[:1] != letter for letter in batch):
        raise ValueError(
            f"the equation {quoted(subscripts)} mixes the samples of a batch"
        )
    short = [
        term[1:] if isinstance(x, Value) and batch else term
        for term, x in zip(terms, operands, strict=True)
    ]
    values = [
        x if isinstance(x, Value) else ops.constant(constant_array(x)) for x in operands
    ]
    rest = result[1:] if batch else result
    return ops.einsum(f"{','.join(short)}->{rest}", *values)


@operation("Tensordot")
def tensordot(x1: Structure, x2: Structure, axes: Structure = 2) -> Value:
    """Return products with a constant, summed over pairs of axes."""
    a, b = value(x1), constant_array(x2)
    rank = len(a.shape) + 1
    if isinstance(axes, int):
        left, right = list(range(rank - axes, rank)), list(range(axes))
    else:
        left, right = ([each] if isinstance(each, int) else list(each) for each in axes)
    summed = positions(left, a)
    names = [chr(ord("a") + i) for i in range(rank - 1 + b.ndim)]
    mine, others = names[: rank - 1], names[rank - 1 :]
    for at, other in zip(summed, right, strict=True):
        others[other % b.ndim] = mine[at]
    kept = [c for i, c in enumerate(mine) if i not in summed]
    kept += [c for c in others if c not in mine]
    equation = f"{''.join(mine)},{''.join(others)}->{''.join(kept)}"
    return ops.einsum(equation, a, ops.constant(b.astype(np.float32)))


@operation("Inner")
def inner(x1: Structure, x2: Structure) -> Value:
    """Return the products with a constant over the last axes."""
    if isinstance(x2, Value):
        raise TypeError("its second input has a batch axis")
    return tensordot(x1, x2, [[-1], [-1]])


@operation("Cross")
def cross(  # noqa: PLR0913, PLR0917 - Keras has that many arguments
    x1: Structure,
    x2: Structure,
    axisa: int = -1,
    axisb: int = -1,
    axisc: int = -1,
    axis: int | None = None,
) -> Value:
    """Return the vector that stands on two others."""
    if {axisa, axisb, axisc, axis} - {-1, None}:
        raise ValueError("only vectors along the last axis are supported")
    a, b = beside(x1, x2), beside(x2, x1)
    if not isinstance(a, Value) or not isinstance(b, Value):
        raise TypeError("one of its inputs is a number")
    after, before = [1, 2, 0], [2, 0, 1]
    if a.shape[-1] != len(after) or b.shape[-1] != len(after):
        raise ValueError("only vectors of three numbers are supported")

    def turned(x: Value, order: list[int]) -> Value:
        return ops.take(x, ops.constant(np.array(order, np.int32)), -1)

    return turned(a, after) * turned(b, before) - turned(a, before) * turned(b, after)


@operation("CDist")
def distances(x: Value, y: Value) -> Value:
    """Return the distance of each row of x from each row of y."""
    apart = ops.expand_dims(x, -2) - ops.expand_dims(y, -3)
    return ops.sqrt(ops.sum(ops.square(apart), -1))


@operation("RFFT")
def rfft(x: Value, fft_length: int | None = None) -> list[Value]:
    """Return the real and imaginary parts of the spectrum of the last axis."""
    size = x.shape[-1]
    if size is None:
        raise ValueError("its last axis has no known length")
    length = size if fft_length is None else fft_length
    x = x[..., :length]
    phase = np.outer(np.arange(min(size, length)), np.arange(length // 2 + 1))
    angle = 2 * np.pi * (phase % length) / length
    return [
        ops.matmul(x, ops.constant(wave.astype(np.float32)))
        for wave in (np.cos(angle), -np.sin(angle))
    ]
