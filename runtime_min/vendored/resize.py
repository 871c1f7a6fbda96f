"""Interpolation along one axis, pixel centres at halves.

Output o reads ``x[(o + 1/2) / scale - 1/2]``. Taps outside x are dropped and the rest
renormalised; a kernel that shrinks is widened where *antialias* says so.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
INDEX = NDArray[np.int64]

RADIUS = {"bilinear": 1, "bicubic": 2, "lanczos3": 3, "lanczos5": 5}


def resize(
    x: F32, axis: int, size: int, *, method: str, antialias: bool = False
) -> F32:
    """Return *x* with *size* elements along *axis*."""
    old = x.shape[axis]
    if method == "nearest":
        y: F32 = np.take(x, nearest(old, size), axis=axis)
        return y
    index, weight = taps(old, size, method=method, antialias=antialias)
    shape = (index.shape[0], *(1,) * (x.ndim - axis - 1))
    total: F32 = np.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)
    for tap in range(index.shape[1]):
        part = np.take(x, index[:, tap], axis=axis)
        np.multiply(part, weight[:, tap].reshape(shape), out=part)
        np.add(total, part, out=total)
    return total


def nearest(old: int, new: int) -> INDEX:
    """Return which element each output reads."""
    scale = new / old if old else 1.0
    index: INDEX = np.floor((np.arange(new) + 0.5) / scale).astype(np.int64)
    np.clip(index, 0, max(old - 1, 0), out=index)
    return index


@lru_cache(maxsize=64)
def taps(old: int, new: int, *, method: str, antialias: bool) -> tuple[INDEX, F32]:
    """Return which elements each output reads, and their weights: both (new, taps)."""
    scale = new / old if old else 1.0
    centre = (np.arange(new) + 0.5) / scale - 0.5
    widen = max(1 / scale, 1.0) if antialias else 1.0
    radius = RADIUS[method] * widen
    first = np.ceil(centre - radius).astype(np.int64)
    index = first[:, None] + np.arange(int(np.floor(2 * radius)) + 1)
    distance = np.abs(index - centre[:, None]) / widen
    weight = _kernel(distance, method)
    weight = np.where((index >= 0) & (index < old), weight, 0)
    weight = weight / weight.sum(axis=1, keepdims=True)
    used = (weight != 0).any(axis=0)
    index = np.clip(index, 0, max(old - 1, 0))
    return index[:, used], weight[:, used].astype(np.float32)


def _kernel(distance: F64, method: str) -> F64:
    if method == "bilinear":
        return np.maximum(1 - distance, 0)
    if method == "bicubic":  # R. G. Keys' cubic with a = -1/2
        near = ((1.5 * distance - 2.5) * distance) * distance + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        far = np.where(distance < RADIUS[method], far, 0)
        return np.where(distance < 1, near, far)
    radius = RADIUS[method]
    lanczos = np.sinc(distance) * np.sinc(distance / radius)
    return np.where(distance < radius, lanczos, 0)
