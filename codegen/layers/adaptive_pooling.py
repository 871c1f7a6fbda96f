"""Adaptive pooling: as many windows as asked for, spread over the input.

Window i reaches from floor(i n / m) to ceil((i + 1) n / m): two lengths occur at most.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keramos import ops
from keramos.graph import Value
from keramos.layers.definition import Definition
from keramos.layers.layer import (
    Layer,
    channels_first,
    channels_last,
    shape_text,
    spatial_rank,
)
from keramos.layers.registry import layer


@layer(
    "AdaptiveAveragePooling1D",
    "AdaptiveAveragePooling2D",
    "AdaptiveAveragePooling3D",
    "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D",
    "AdaptiveMaxPooling3D",
)
class AdaptivePooling(Layer):
    """The mean or the largest element of each window."""

    def __init__(self, definition: Definition) -> None:
        """Read the number of windows along each axis, and the layout."""
        super().__init__(definition)
        self.rank = spatial_rank(definition.class_name)
        self.size = definition.sizes("output_size", self.rank, 1)
        self.channels_first = definition.channels_first()
        is_max = "Max" in definition.class_name
        self.pool = ops.max_pool if is_max else ops.average_pool

    def call(self, inputs: Value) -> Value:
        """Return the pooled windows, axis by axis."""
        if len(inputs.shape) != self.rank + 1:
            raise self.definition.refusal(
                f"takes {self.rank + 2} axes, not an input of shape "
                f"{shape_text(inputs)}"
            )
        x = channels_last(inputs) if self.channels_first else inputs
        if None in x.shape[:-1]:
            raise self.definition.refusal(
                f"its input of shape {shape_text(x)} needs a known length at each axis",
                "give it with --input-shape",
            )
        for axis, count in enumerate(self.size):
            x = pooled_adaptively(x, axis, count, self.pool)
        return channels_first(x) if self.channels_first else x


def pooled_adaptively(
    x: Value, axis: int, count: int, pool: Callable[..., Value]
) -> Value:
    """Return *count* windows along one axis of known length."""
    n = x.shape[axis]
    if n is None:
        raise ValueError(f"axis {axis} of {x.spec} can't be free here")
    first = np.arange(count) * n // count
    lengths = -(-(np.arange(count) + 1) * n // count) - first
    steps = np.diff(first)
    if len({*lengths.tolist()}) == 1 and len({*steps.tolist()}) <= 1:
        step = int(steps[0]) if steps.size and steps[0] else 1
        if not steps.size or steps[0]:
            end = int(first[-1] + lengths[-1])
            before = (slice(None),) * axis
            part = x[(*before, slice(0, end))]
            return _along(part, axis, int(lengths[0]), step, pool)
    small = int(lengths.min())
    parts = [_along(x, axis, small, 1, pool)]
    if lengths.max() > small:
        parts.append(_along(x, axis, small + 1, 1, pool))
    places = first + (lengths > small) * (n - small + 1)
    return ops.take(ops.concatenate(parts, axis), ops.constant(places), axis)


def _along(
    x: Value, axis: int, length: int, step: int, pool: Callable[..., Value]
) -> Value:
    """Return the pooled windows of a length along one axis."""
    rank = len(x.shape) - 1
    size = [length if a == axis else 1 for a in range(rank)]
    strides = [step if a == axis else 1 for a in range(rank)]
    return pool(x, size, strides=strides)
