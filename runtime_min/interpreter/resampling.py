"""Resampling: every output pixel is a weighted mean of input pixels near its centre.

Pixel i of n covers (i .. i + 1) / n, and is sampled at its centre, as in
``jax.image.scale_and_translate`` and TensorFlow's resize with half-pixel centres.
Weights that fall outside of the image are left out, and the rest is scaled up to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def triangle(distance: Array) -> Array:
    """max(0, 1 - |d|)."""
    return np.asarray(np.maximum(0, 1 - distance))


def keys_cubic(distance: Array) -> Array:
    """Return the cubic of Keys 1981 with a = -0.5."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


def lanczos(radius: int) -> Callable[[Array], Array]:
    """Return radius * sin(pi d) sin(pi d / radius) / (pi d)^2 for d < radius."""

    def kernel(distance: Array) -> Array:
        """Return the window's value at a distance from the centre."""
        angle = np.pi * distance
        safe = np.where(distance > 1e-3, angle, 1)
        values = radius * np.sin(angle) * np.sin(angle / radius) / safe**2
        return np.where(distance > 1e-3, np.where(distance > radius, 0, values), 1)

    return kernel


def gaussian(distance: Array) -> Array:
    """Return the bell of deviation 1/2, cut off at 3/2."""
    return np.where(distance < 1.5, np.exp(-2 * distance * distance), 0)


def mitchell_cubic(distance: Array) -> Array:
    """Return the cubic of Mitchell and Netravali 1988 with B = C = 1/3."""
    near = (7 / 6 * distance - 2) * distance * distance + 8 / 9
    far = ((2 - 7 / 18 * distance) * distance - 10 / 3) * distance + 16 / 9
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


KERNELS: Mapping[str, Callable[[Array], Array]] = {
    "bilinear": triangle,
    "bicubic": keys_cubic,
    "lanczos3": lanczos(3),
    "lanczos5": lanczos(5),
    "gaussian": gaussian,
    "mitchellcubic": mitchell_cubic,
}
METHODS = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")
# Keras 2 takes all that TensorFlow has.
ALL_METHODS = (*METHODS, "area", "gaussian", "mitchellcubic")


def methods_of(generation: int) -> tuple[str, ...]:
    """Return the names that a generation of Keras has."""
    return METHODS if generation >= 3 else ALL_METHODS


def areas(before: int, after: int) -> Array:
    """Return the (after, before) matrix of shares: each output is a mean of an area."""
    edges = np.arange(after + 1) * before / after
    borders = np.clip(edges[:, None] - np.arange(before), 0, 1)
    return np.asarray(np.diff(borders, axis=0) * after / before)


def weights(before: int, after: int, method: str, *, antialias: bool = False) -> Array:
    """Return the (after, before) matrix that resamples one axis, in float64."""
    scale = before / after
    centres = (np.arange(after) + 0.5) * scale - 0.5
    width = max(scale, 1) if antialias else 1
    distances = np.abs(centres[:, None] - np.arange(before)) / width
    matrix = KERNELS[method](distances)
    totals = matrix.sum(1, keepdims=True)
    usable = np.abs(totals) > 1000 * np.finfo(np.float32).eps
    scaled = np.where(usable, matrix / np.where(totals == 0, 1, totals), 0)
    inside = (centres >= -0.5) & (centres <= before - 0.5)
    return np.where(inside[:, None], scaled, 0)


def resampled(
    x: Array,
    axes: Sequence[int],
    sizes: Sequence[int],
    method: str,
    *,
    antialias: bool = False,
) -> Array:
    """Return *x* with *axes* resampled to *sizes*, one axis after the other."""
    for axis, size in zip(axes, sizes, strict=True):
        before = x.shape[axis]
        if before == size:
            continue
        if method == "nearest":
            # Keras computes the position in float32: so does this.
            scale = np.float32(before) / np.float32(size)
            places = np.floor((np.arange(size, dtype=np.float32) + 0.5) * scale)
            x = np.take(x, np.minimum(places.astype(np.intp), before - 1), axis)
        else:
            matrix = (
                areas(before, size)
                if method == "area"
                else weights(before, size, method, antialias=antialias)
            )
            rows = np.moveaxis(x, axis, -1) @ matrix.T.astype(x.dtype)
            x = np.moveaxis(rows, -1, axis)
    return x
