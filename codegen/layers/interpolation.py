"""Interpolation of images; what only Keras 2 has is a product with constant weights.

y[o] = sum over i of x[i] k(|i - c(o)|), c(o) = (o + 1/2) old / new - 1/2, where the
weights of an output are scaled to a sum of 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keramos import ops
from keramos.graph import Array, Value
from keramos.layers.definition import Definition
from keramos.layers.layer import shape_text
from keramos.primitives import Method

METHODS: tuple[Method, ...] = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")
# TensorFlow's resizing has more than that of Keras 3.
ONLY_KERAS_2 = ("area", "gaussian", "mitchellcubic")

GAUSSIAN_RADIUS, GAUSSIAN_DEVIATION = 1.5, 0.5
MITCHELL_RADIUS = 2.0


def method_of(definition: Definition, default: str) -> str:
    """Return the method that the option *interpolation* names."""
    old = definition.generation < len("123")
    return definition.choice(
        "interpolation", (*METHODS, *(ONLY_KERAS_2 if old else ())), default
    )


def interpolated(  # noqa: PLR0913 - so many things decide about a resizing
    x: Value,
    axes: Sequence[int],
    sizes: Sequence[int],
    *,
    method: str,
    antialias: bool,
    definition: Definition,
) -> Value:
    """Return x with *axes* of the lengths *sizes*."""
    for known in METHODS:
        if method == known:
            smooth = antialias and method != "nearest"
            return ops.resize(x, axes, sizes=sizes, method=known, antialias=smooth)
    last = len(x.shape) - 1
    for axis, size in zip(axes, sizes, strict=True):
        old = x.shape[axis]
        if old is None:
            raise definition.refusal(
                f"its input of shape {shape_text(x)} needs a known size to be "
                f"interpolated by {method!r}",
                "give it with --input-shape",
            )
        matrix = ops.constant(_weights(old, size, method, antialias=antialias))
        x = ops.swap_axes(ops.matmul(ops.swap_axes(x, axis, last), matrix), axis, last)
    return x


def _weights(old: int, new: int, method: str, *, antialias: bool) -> Array:
    """Return the weight of each element for each output: (old, new)."""
    step = old / new
    index = np.arange(old)[:, None]
    if method == "area":
        low, high = np.arange(new) * step, (np.arange(new) + 1) * step
        inside = np.minimum(index + 1, high) - np.maximum(index, low)
        weights = np.maximum(inside, 0)
    else:
        widen = max(step, 1.0) if antialias else 1.0
        centre = (np.arange(new) + 0.5) * step - 0.5
        weights = _kernel(np.abs(index - centre) / widen, method)
    return np.asarray(weights / weights.sum(axis=0), np.float32)


def _kernel(distance: Array, method: str) -> Array:
    """Return the weight of what is that far away."""
    d = distance
    if method == "gaussian":
        bell = np.exp(-(d**2) / (2 * GAUSSIAN_DEVIATION**2))
        return np.where(d < GAUSSIAN_RADIUS, bell, 0)
    # D. P. Mitchell and A. N. Netravali's cubic with B = C = 1/3
    near = (21 * d**3 - 36 * d**2 + 16) / 18
    far = (-7 * d**3 + 36 * d**2 - 60 * d + 32) / 18
    return np.where(d < 1, near, np.where(d < MITCHELL_RADIUS, far, 0))
