"""UpSampling: every element repeated, or the image resampled to a larger one."""

import numpy as np

from keramos.runtime_min.interpreter.convolution import rank_of
from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer
from keramos.runtime_min.interpreter.resampling import methods_of, resampled


@layer("UpSampling1D", "UpSampling2D", "UpSampling3D")
class UpSampling(Layer):
    """The space, *size* times as long along each axis."""

    def __init__(self, definition: Definition) -> None:
        """Read the factors; only images can be interpolated."""
        super().__init__(definition)
        rank = rank_of(definition)
        name = "length" if "length" in definition.config else "size"
        self.size = definition.sizes(name, rank, 2)
        methods = methods_of(definition.generation) if rank == 2 else ("nearest",)
        self.method = definition.choice("interpolation", methods, "nearest")
        first = 2 if definition.channels_first() else 1
        self.axes = tuple(range(first, first + rank))

    def call(self, inputs: Array) -> Array:
        """Return the larger samples."""
        if self.method == "nearest":
            for axis, factor in zip(self.axes, self.size, strict=True):
                inputs = np.repeat(inputs, factor, axis)
            return inputs
        sizes = [
            inputs.shape[axis] * factor
            for axis, factor in zip(self.axes, self.size, strict=True)
        ]
        return resampled(inputs, self.axes, sizes, self.method)
