"""Keras' operations that put elements in order, count them, or leave NaN out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from keramos import ops
from keramos.errors import quoted
from keramos.graph import Value
from keramos.layers.operation import constant_array, operation, positions, value
from keramos.layers.structure import Structure

Axis = int | Sequence[int] | None


@operation("Sort")
def sort(x: Value, axis: int = -1) -> Value:
    """Return the elements in ascending order."""
    return ops.sort(x, *positions(axis, x))


@operation("Argsort")
def argsort(x: Value, axis: int = -1) -> Value:
    """Return the places of the elements in ascending order."""
    return ops.argsort(x, *positions(axis, x))


@operation("TopK")
def top_k(x: Value, k: int, *, sorted: object = True) -> list[Value]:  # noqa: A002
    """Return the largest elements of the last axis, and their places."""
    del sorted
    return list(ops.top_k(x, k, *positions(-1, x)))


@operation("InTopK")
def in_top_k(targets: Value, predictions: Value, k: int) -> Value:
    """Return whether the class of each sample is among its k largest predictions."""
    places = ops.expand_dims(ops.cast(targets, "int32"), -1)
    own = ops.take_along_axis(predictions, places)
    larger = ops.sum(ops.cast(ops.greater(predictions, own), "int32"), -1)
    return ops.less(larger, k)


@operation("TakeAlongAxis")
def take_along_axis(x: Value, indices: Structure, axis: int | None = None) -> Value:
    """Return the elements at places of the same row."""
    (at,) = positions(axis, x)
    if isinstance(indices, Value):
        return ops.take_along_axis(x, indices, at)
    places = constant_array(indices)
    if places.shape[0] != 1:
        raise ValueError("its indices have a batch axis of their own")
    return ops.take_along_axis(x, ops.constant(places[0].astype(np.int32)), at)


@operation("Quantile")
def quantile(
    x: Value,
    q: Structure,
    axis: Axis = None,
    method: str = "linear",
    *,
    keepdims: bool = False,
) -> Value:
    """Return elements of the sorted axes, or what lies between two of them."""
    if not isinstance(q, int | float):
        raise TypeError("only one quantile at a time is supported")
    axes = positions(axis, x)
    rest = [a for a in range(len(x.shape)) if a not in axes]
    size = math.prod(x.shape[a] or 0 for a in axes)
    if size == 0:
        raise ValueError(f"axis {axis} has no known length")
    row = ops.reshape(
        ops.transpose(x, (*rest, *axes)), (*(x.shape[a] for a in rest), size)
    )
    ordered = ops.sort(ops.cast(row, "float32"), -1)
    place = float(q) * (size - 1)
    low, high = math.floor(place), math.ceil(place)
    share = {
        "linear": place - low,
        "lower": 0.0,
        "higher": 1.0,
        "midpoint": 0.5,
        "nearest": float(round(place) - low),
    }.get(method)
    if share is None:
        raise ValueError(f"the method {quoted(method)} isn't supported")
    y = ordered[..., low] * (1 - share) + ordered[..., high] * share
    return ops.expand_dims(y, axes) if keepdims else y


@operation("Percentile")
def percentile(
    x: Value,
    q: Structure,
    axis: Axis = None,
    method: str = "linear",
    *,
    keepdims: bool = False,
) -> Value:
    """Return quantiles in hundredths."""
    part = q / 100 if isinstance(q, int | float) else q
    return quantile(x, part, axis, method, keepdims=keepdims)


@operation("Median")
def median(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Return the elements in the middle."""
    return quantile(x, 0.5, axis, keepdims=keepdims)


@operation("SearchSorted")
def search_sorted(
    sorted_sequence: Structure, values: Structure, side: str = "left"
) -> Value:
    """Return how many elements of a constant are below."""
    edges = ops.constant(constant_array(sorted_sequence).astype(np.float32))
    given = ops.expand_dims(value(values), -1)
    below = ops.less(edges, given) if side == "left" else ops.less_equal(edges, given)
    return ops.sum(ops.cast(below, "int32"), -1)


@operation("Digitize")
def digitize(x: Value, bins: Structure) -> Value:
    """Return how many of constant borders aren't above."""
    return search_sorted(bins, x, "right")


@operation("Cumprod")
def cumprod(x: Value, axis: int | None = None, dtype: object = None) -> Value:
    """Return the products of what stands before."""
    del dtype
    (at,) = positions(axis, x)
    size, last = x.shape[at], len(x.shape) - 1
    if size is None:
        raise ValueError(f"axis {axis} has no known length")
    row = ops.expand_dims(ops.swap_axes(x, at, last), -2)
    counted = ops.constant(np.tri(size, dtype=np.bool_))
    return ops.swap_axes(ops.prod(ops.where(counted, row, 1), -1), at, last)


def _without_nan(x: Value, replacement: float) -> Value:
    """Return x with a number for each NaN."""
    return ops.where(ops.isnan(x), replacement, x)


def _count(x: Value, axes: tuple[int, ...], *, keepdims: bool) -> Value:
    """Return how many elements aren't NaN."""
    known = ops.cast(ops.logical_not(ops.isnan(x)), "float32")
    return ops.sum(known, axes, keepdims=keepdims)


def _extreme(reduce: Callable[..., Value], fill: float) -> Callable[..., Value]:
    """Return an operation that looks for the largest or the smallest number."""

    def function(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
        axes = positions(axis, x)
        found = reduce(_without_nan(x, fill), axes, keepdims=keepdims)
        count = _count(x, axes, keepdims=keepdims)
        return ops.where(ops.equal(count, 0.0), math.nan, found)

    return function


operation("Nanmax")(_extreme(ops.max, -math.inf))
operation("Nanmin")(_extreme(ops.min, math.inf))


@operation("Nansum")
def nansum(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Return the sum of what isn't NaN."""
    return ops.sum(_without_nan(x, 0), positions(axis, x), keepdims=keepdims)


@operation("Nanprod")
def nanprod(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Return the product of what isn't NaN."""
    return ops.prod(_without_nan(x, 1), positions(axis, x), keepdims=keepdims)


@operation("Nanmean")
def nanmean(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Return the mean of what isn't NaN."""
    axes = positions(axis, x)
    total = ops.sum(_without_nan(x, 0), axes, keepdims=keepdims)
    return total / _count(x, axes, keepdims=keepdims)


@operation("Nanvar")
def nanvar(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Return the mean squared distance from the mean, of what isn't NaN."""
    return nanmean(
        ops.square(x - nanmean(x, axis, keepdims=True)), axis, keepdims=keepdims
    )


@operation("Nanstd")
def nanstd(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Return the square root of the variance."""
    return ops.sqrt(nanvar(x, axis, keepdims=keepdims))


@operation("Nancumsum")
def nancumsum(x: Value, axis: int | None = None, dtype: object = None) -> Value:
    """Return the sums of what stands before and isn't NaN."""
    del dtype
    (at,) = positions(axis, x)
    size, last = x.shape[at], len(x.shape) - 1
    if size is None:
        raise ValueError(f"axis {axis} has no known length")
    ones = ops.constant(np.triu(np.ones((size, size), np.float32)))
    row = ops.swap_axes(_without_nan(x, 0), at, last)
    return ops.swap_axes(ops.matmul(row, ones), at, last)


@operation("Nancumprod")
def nancumprod(x: Value, axis: int | None = None, dtype: object = None) -> Value:
    """Return the products of what stands before and isn't NaN."""
    return cumprod(_without_nan(x, 1), axis, dtype)


def _place(fill: float, sign: float) -> Callable[..., Value]:
    """Return an operation that finds the place of the first extreme number."""

    def function(x: Value, axis: int | None = None, *, keepdims: bool = False) -> Value:
        (at,) = positions(axis, x)
        y = ops.argmax(_without_nan(x, fill) * sign, at)
        unknown = ops.equal(_count(x, (at,), keepdims=False), 0.0)
        y = ops.where(unknown, -1, y)
        return ops.expand_dims(y, at) if keepdims else y

    return function


PLACES: Mapping[str, Callable[..., Value]] = {
    "Nanargmax": _place(-math.inf, 1.0),
    "Nanargmin": _place(math.inf, -1.0),
}
for _name, _function in PLACES.items():
    operation(_name)(_function)
