"""Views of the windows that a convolution reads."""

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
