"""Operations that reduce axes, order elements along them, or multiply and sum."""

from __future__ import annotations

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


REDUCTIONS: Mapping[str, Callable[..., Any]] = {
    "All": np.all,
    "Amax": np.max,
    "Amin": np.min,
    "Any": np.any,
    "Mean": np.mean,
    "Median": np.median,
    "Nanmax": np.nanmax,
    "Nanmean": np.nanmean,
    "Nanmin": np.nanmin,
    "Nansum": np.nansum,
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
