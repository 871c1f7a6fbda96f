"""Operations that reduce axes, order elements along them, or multiply and sum."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keramos.runtime_min.interpreter.layer import Array
from keramos.runtime_min.interpreter.operation import converted, operation

Axis = int | Sequence[int] | None


def _axes(axis: Axis) -> int | tuple[int, ...] | None:
    """Return an axis option as NumPy wants it."""
    return tuple(axis) if isinstance(axis, list | tuple) else axis  # type: ignore[return-value]


def _reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return *function* with the arguments of Keras' reductions."""

    def reduced(x: Array, axis: Axis = None, *, keepdims: bool = False) -> Any:
        """Return the reduced array."""
        return function(x, axis=_axes(axis), keepdims=keepdims)

    return reduced


def _of_known(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of what isn't NaN, silent where nothing is known."""

    def silent(x: Array, **options: Any) -> Any:
        """Return the reduced array."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            return function(x, **options)

    return silent


REDUCTIONS: Mapping[str, Callable[..., Any]] = {
    "All": np.all,
    "Amax": np.max,
    "Amin": np.min,
    "Any": np.any,
    "Mean": np.mean,
    "Nanmax": _of_known(np.nanmax),
    "Nanmean": _of_known(np.nanmean),
    "Nanmin": _of_known(np.nanmin),
    "Nanmedian": _of_known(np.nanmedian),
    "Nanprod": np.nanprod,
    "Nanstd": _of_known(np.nanstd),
    "Nansum": np.nansum,
    "Nanvar": _of_known(np.nanvar),
    "Ptp": np.ptp,
    "Std": np.std,
    "Sum": np.sum,
    "Var": np.var,
}

for _name, _function in REDUCTIONS.items():
    operation(_name)(_reduction(_function))


@operation("Max")
def largest(
    x: Array, axis: Axis = None, *, keepdims: bool = False, initial: Any = None
) -> Any:
    """Return the largest elements, and not less than *initial*."""
    y = np.max(x, axis=_axes(axis), keepdims=keepdims)
    return y if initial is None else np.maximum(y, initial)


@operation("Min")
def smallest(
    x: Array, axis: Axis = None, *, keepdims: bool = False, initial: Any = None
) -> Any:
    """Return the smallest elements, and not more than *initial*."""
    y = np.min(x, axis=_axes(axis), keepdims=keepdims)
    return y if initial is None else np.minimum(y, initial)


@operation("Prod")
def product(
    x: Array, axis: Axis = None, *, keepdims: bool = False, dtype: object = None
) -> Array:
    """Return the products."""
    return converted(np.prod(x, axis=_axes(axis), keepdims=keepdims), dtype)


@operation("Argmax")
def argmax(x: Array, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """Return where the largest elements are."""
    return np.argmax(x, axis=axis, keepdims=keepdims).astype(np.int32)


@operation("Argmin")
def argmin(x: Array, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """Return where the smallest elements are."""
    return np.argmin(x, axis=axis, keepdims=keepdims).astype(np.int32)


@operation("CountNonzero")
def count_nonzero(x: Array, axis: Axis = None) -> Any:
    """Return how many elements aren't 0."""
    return np.count_nonzero(x, axis=_axes(axis))


@operation("Cumsum")
def cumsum(x: Array, axis: int | None = None, dtype: object = None) -> Array:
    """Return the sums so far."""
    return converted(np.cumsum(x, axis=axis), dtype)


@operation("Cumprod")
def cumprod(x: Array, axis: int | None = None, dtype: object = None) -> Array:
    """Return the products so far."""
    return converted(np.cumprod(x, axis=axis), dtype)


@operation("Logsumexp")
def logsumexp(x: Array, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """log(sum(exp(x)))."""
    axes = _axes(axis)
    top = np.max(x, axis=axes, keepdims=True)
    sums = np.sum(np.exp(x - top), axis=axes, keepdims=True)
    y = np.log(sums) + top
    return y if keepdims else np.squeeze(y, axes)


@operation("Norm")
def norm(
    x: Array,
    ord: Any = None,  # noqa: A002 - the option's name in Keras
    axis: Axis = None,
    *,
    keepdims: bool = False,
) -> Any:
    """Return the norms of vectors or matrices."""
    return np.linalg.norm(x, ord=ord, axis=_axes(axis), keepdims=keepdims)


@operation("Normalize")
def normalize(
    x: Array, axis: Axis = -1, order: int = 2, epsilon: float | None = None
) -> Any:
    """X / |x|, where lengths count at least epsilon."""
    smallest_length = 1e-7 if epsilon is None else epsilon
    powers = np.sum(np.abs(x) ** order, axis=_axes(axis), keepdims=True)
    return x / np.maximum(powers ** (1 / order), smallest_length)


@operation("Moments")
def moments(
    x: Array, axes: Axis, *, keepdims: bool = False, synchronized: bool = False
) -> list[Any]:
    """Return means and variances."""
    del synchronized
    return [
        np.mean(x, axis=_axes(axes), keepdims=keepdims),
        np.var(x, axis=_axes(axes), keepdims=keepdims),
    ]


@operation("Sort")
def sort(x: Array, axis: int = -1) -> Array:
    """Return the elements in ascending order."""
    return np.sort(x, axis)


@operation("Argsort")
def argsort(x: Array, axis: int = -1) -> Array:
    """Return the places of the elements in ascending order, ties in theirs."""
    return np.argsort(x, axis, kind="stable").astype(np.int32)


@operation("TopK")
def top_k(
    x: Array,
    k: int,
    *,
    sorted: bool = True,  # noqa: A002 - the option's name in Keras
) -> list[Array]:
    """Return the k largest elements of each row with their places."""
    del sorted
    places = np.argsort(-x, -1, kind="stable")[..., :k]
    return [np.take_along_axis(x, places, -1), places.astype(np.int32)]


@operation("Matmul")
def matmul(x1: Array, x2: Array) -> Any:
    """Return matrix products."""
    return np.matmul(x1, x2)


@operation("Dot")
def dot(x1: Array, x2: Array) -> Any:
    """Return NumPy's dot product."""
    return np.dot(x1, x2)


@operation("Inner")
def inner(x1: Array, x2: Array) -> Any:
    """Return the products over the last axes."""
    return np.inner(x1, x2)


@operation("Outer")
def outer(x1: Array, x2: Array) -> Array:
    """Return the products of all pairs."""
    return np.outer(x1, x2)


@operation("Tensordot")
def tensordot(x1: Array, x2: Array, axes: Any = 2) -> Any:
    """Return products over pairs of axes."""
    return np.tensordot(x1, x2, axes)


@operation("Einsum")
def einsum(*operands: Array, subscripts: str) -> Any:
    """Return Einstein's sum."""
    return np.einsum(subscripts, *operands)


@operation("Trace")
def trace(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the sums over diagonals."""
    return np.trace(x, offset, axis1, axis2)


@operation("Average")
def average(x: Array, axis: Axis = None, weights: Any = None) -> Any:
    """Return weighted means."""
    return np.average(x, _axes(axis), None if weights is None else np.asarray(weights))


@operation("InTopK")
def in_top_k(targets: Array, predictions: Array, k: int) -> Array:
    """Say whether less than k predictions are above that of the target."""
    places = np.asarray(targets).astype(np.intp)[..., None]
    own = np.take_along_axis(predictions, places, -1)
    return np.asarray((predictions > own).sum(-1) < k)


@operation("Median")
def median(x: Array, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """Return the elements in the middle."""
    return quantile(x, 0.5, axis, keepdims=keepdims)


@operation("Quantile")
def quantile(
    x: Array,
    q: Any,
    axis: Axis = None,
    method: Any = "linear",
    *,
    keepdims: bool = False,
) -> Any:
    """Return the element at a share of the way from the smallest to the largest."""
    if axis is None:
        return np.quantile(x, q, method=method, keepdims=keepdims)
    axes = sorted(a % x.ndim for a in ([axis] if isinstance(axis, int) else axis))
    # NumPy joins axes in a way that fails for an empty batch.
    rows = np.moveaxis(x, axes, range(-len(axes), 0))
    kept = rows.shape[: -len(axes)]
    rows = rows.reshape(*kept, math.prod(x.shape[a] for a in axes))
    y = np.quantile(rows, q, -1, method=method)
    return np.expand_dims(y, tuple(axes)) if keepdims else y


@operation("Percentile")
def percentile(
    x: Array,
    q: Any,
    axis: Axis = None,
    method: Any = "linear",
    *,
    keepdims: bool = False,
) -> Any:
    """Return quantiles in hundredths."""
    return quantile(x, np.asarray(q) / 100, axis, method, keepdims=keepdims)


@operation("SearchSorted")
def search_sorted(sorted_sequence: Any, values: Array, side: Any = "left") -> Any:
    """Return where values would be put."""
    return np.searchsorted(np.asarray(sorted_sequence), values, side).astype(np.int32)


@operation("Digitize")
def digitize(x: Array, bins: Any) -> Any:
    """Return the numbers of bins."""
    return np.digitize(x, np.asarray(bins)).astype(np.int32)


def _place(function: Callable[..., Any], fill: float) -> Callable[..., Any]:
    """Return where *function* finds its element, -1 where there are only NaN."""

    def found(x: Array, axis: int | None = None, *, keepdims: bool = False) -> Any:
        """Return the places."""
        numbers = np.where(np.isnan(x), fill, x)
        places = function(numbers, axis=axis, keepdims=keepdims)
        nothing = np.isnan(x).all(axis=axis, keepdims=keepdims)
        return np.where(nothing, -1, places).astype(np.int32)

    return found


operation("Nanargmax")(_place(np.argmax, -np.inf))
operation("Nanargmin")(_place(np.argmin, np.inf))


@operation("Nancumsum")
def nancumsum(x: Array, axis: int | None = None, dtype: object = None) -> Array:
    """Return the sums so far, NaN counting as 0."""
    return converted(np.nancumsum(x, axis=axis), dtype)


@operation("Nancumprod")
def nancumprod(x: Array, axis: int | None = None, dtype: object = None) -> Array:
    """Return the products so far, NaN counting as 1."""
    return converted(np.nancumprod(x, axis=axis), dtype)


@operation("Cross")
def cross(
    x1: Array,
    x2: Array,
    axisa: int = -1,
    axisb: int = -1,
    axisc: int = -1,
    axis: Any = None,
) -> Any:
    """Return cross products."""
    return np.cross(x1, x2, axisa, axisb, axisc, axis)


@operation("CDist")
def distances(x: Array, y: Array) -> Any:
    """Return the distances between rows."""
    return np.linalg.norm(x[..., :, None, :] - y[..., None, :, :], axis=-1)


@operation("RFFT")
def rfft(x: Array, fft_length: int | None = None) -> list[Array]:
    """Return the spectrum in two parts."""
    y = np.fft.rfft(x, fft_length)
    return [np.real(y), np.imag(y)]
