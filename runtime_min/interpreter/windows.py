"""Windows that slide over the spatial axes: padding, positions, taps.

All of it works channels-last, ``(batch, *space, channels)``, in any number of spatial
axes; :func:`to_channels_last` and :func:`from_channels_last` turn the other layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Sizes = Sequence[int]


def to_channels_last(x: Array, *, channels_first: bool) -> Array:
    """Return *x* with the channels behind the spatial axes."""
    return np.moveaxis(x, 1, -1) if channels_first else x


def from_channels_last(x: Array, *, channels_first: bool) -> Array:
    """Return *x* with the channels back where the layer has them."""
    return np.moveaxis(x, -1, 1) if channels_first else x


def padded(
    x: Array,
    padding: str,
    kernel: Sizes,
    strides: Sizes,
    dilations: Sizes,
    *,
    fill: float = 0.0,
) -> Array:
    """Return *x* with what ``valid``, ``same`` or ``causal`` padding adds."""
    pads = [
        _pad(padding, size, taps, stride, dilation)
        for size, taps, stride, dilation in zip(
            x.shape[1:-1], kernel, strides, dilations, strict=True
        )
    ]
    return np.pad(x, [(0, 0), *pads, (0, 0)], constant_values=fill)


def _pad(
    padding: str, size: int, taps: int, stride: int, dilation: int
) -> tuple[int, int]:
    """Return how many elements go before and behind one axis."""
    reach = (taps - 1) * dilation
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return reach, 0
    count = -(-size // stride)
    total = max((count - 1) * stride + reach + 1 - size, 0)
    # Keras pads the extra row at the bottom.
    return total // 2, total - total // 2


def taps(
    x: Array, kernel: Sizes, strides: Sizes, dilations: Sizes
) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Yield every tap of the window with the elements that it meets, all positions."""
    counts = [
        (size - (length - 1) * dilation - 1) // stride + 1
        for size, length, stride, dilation in zip(
            x.shape[1:-1], kernel, strides, dilations, strict=True
        )
    ]
    if min(counts) < 1:
        raise ValueError(
            f"a window of {tuple(kernel)} doesn't fit into an input of {x.shape}"
        )
    for tap in product(*map(range, kernel)):
        starts = [
            offset * dilation for offset, dilation in zip(tap, dilations, strict=True)
        ]
        window = tuple(
            slice(start, start + (count - 1) * stride + 1, stride)
            for start, count, stride in zip(starts, counts, strides, strict=True)
        )
        yield tap, x[(slice(None), *window)]
