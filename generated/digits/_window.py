"""Views of the windows that convolutions read, and what lies in them."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Sizes = tuple[int, ...]


def windows(x: F32, count: Sizes, size: Sizes, strides: Sizes, dilation: Sizes) -> F32:
    """Return the windows of ``(n, *spatial, c)`` as ``(n, *count, *size, c)``.

    A view: window i starts at ``i * strides``, its elements lie *dilation* apart.
    """
    axes = x.strides[1:-1]
    steps = tuple(axis * step for axis, step in zip(axes, strides, strict=True))
    taps = tuple(axis * step for axis, step in zip(axes, dilation, strict=True))
    return as_strided(
        x,
        (x.shape[0], *count, *size, x.shape[-1]),
        (x.strides[0], *steps, *taps, x.strides[-1]),
        writeable=False,
    )


def wide_windows(x: F32, count: Sizes, size: Sizes, dilation: Sizes, wide: int) -> F32:
    """Return *wide* windows, neighbours along the last spatial axis, as one.

    ``(n, *count, *size, wide * c)``, where the last of *count* counts groups of
    windows; neighbours are one element apart. NumPy's loops are fast where the
    innermost axis is long.
    """
    whole = np.ascontiguousarray(x)
    axes = whole.strides[1:-1]
    steps = (*axes[:-1], axes[-1] * wide)
    taps = tuple(axis * step for axis, step in zip(axes, dilation, strict=True))
    return as_strided(
        whole,
        (x.shape[0], *count, *size, wide * x.shape[-1]),
        (whole.strides[0], *steps, *taps, whole.strides[-1]),
        writeable=False,
    )


def inside(count: int, length: int, size: int, stride: int, before: int) -> F32:
    """Return how many elements of each of *count* windows aren't padding.

    The windows have *size* elements and start *before* elements in front of an axis of
    the given *length*.
    """
    start = np.arange(count) * stride - before
    elements = np.minimum(start + size, length) - np.maximum(start, 0)
    result: F32 = np.maximum(elements, 0).astype(np.float32)
    return result
