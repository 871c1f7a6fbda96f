"""Affine preprocessing: Rescaling and Normalization, which holds the data's moments."""

from __future__ import annotations

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition, plain
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer

SMALLEST_DEVIATION = 1e-7


@layer("Rescaling")
class Rescaling(Layer):
    """y = x * scale + offset."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read both numbers, or one of each per channel."""
        super().__init__(definition)
        scale, offset = (
            np.asarray(plain(definition.option(name, default)), np.float64)
            for name, default in (("scale", None), ("offset", 0.0))
        )
        self.scale = definition.computed(scale)
        self.offset = definition.computed(offset)

    def call(self, inputs: Array) -> Array:
        """Return the rescaled inputs."""
        return np.asarray(inputs * self.scale + self.offset)


@layer("Normalization")
class Normalization(Layer):
    """y = (x - mean) / sqrt(variance), or back with *invert*."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the moments from the options, or from the file's weights."""
        super().__init__(definition)
        axis = definition.option("axis", -1)
        self.kept = () if axis in (None, []) else definition.axes("axis", -1)
        self.invert = definition.boolean("invert", default=False)
        given = [plain(definition.option(name, None)) for name in ("mean", "variance")]
        if given[0] is None:
            shape = (None,) * len(self.kept)
            self.mean = definition.weight("mean", shape)
            self.variance = definition.weight("variance", shape)
            definition.stored("count")
        else:
            self.mean, self.variance = (
                definition.computed(np.asarray(item, np.float64)) for item in given
            )

    def call(self, inputs: Array) -> Array:
        """Return the normalized inputs."""
        mean = self._aligned(self.mean, inputs.ndim)
        deviation = np.maximum(
            np.sqrt(self._aligned(self.variance, inputs.ndim)), SMALLEST_DEVIATION
        )
        if self.invert:
            return np.asarray(mean + inputs * deviation)
        return np.asarray((inputs - mean) / deviation)

    def _aligned(self, moment: Array, rank: int) -> Array:
        """Return a moment whose last axis is the last one kept, and so on."""
        shape = [1] * rank
        kept = sorted(axis % rank for axis in self.kept)
        for axis, size in zip(reversed(kept), reversed(moment.shape), strict=False):
            shape[axis] = size
        return moment.reshape(shape)
