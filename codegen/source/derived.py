"""Arrays computed from stored ones, when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keramos.source.file import Tensor

Array = NDArray[Any]


def derived(
    sources: Sequence[Tensor],
    shape: tuple[int, ...],
    function: Callable[..., Array],
) -> Tensor:
    """Return ``function(*sources)``, an array of *shape* with the first one's name."""
    first = sources[0]

    def read() -> Array:
        values = function(*(source.array() for source in sources))
        return np.ascontiguousarray(values.reshape(shape))

    return Tensor(name=first.name, shape=shape, dtype=first.dtype, read=read)


def transposed(source: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the array with its axes in another order."""
    shape = tuple(source.shape[axis] for axis in axes)
    return derived([source], shape, lambda values: values.transpose(axes))


def joined(sources: Sequence[Tensor]) -> Tensor:
    """Return the arrays concatenated along their last axis."""
    length = sum(source.shape[-1] for source in sources)
    shape = (*sources[0].shape[:-1], length)
    return derived(sources, shape, lambda *values: np.concatenate(values, axis=-1))


def flipped(kernel: Tensor) -> Tensor:
    """Return a convolution kernel with its spatial axes reversed.

    Theano convolves where everybody else correlates.
    """
    axes = tuple(range(len(kernel.shape) - 2))
    return derived([kernel], kernel.shape, lambda values: np.flip(values, axes))
