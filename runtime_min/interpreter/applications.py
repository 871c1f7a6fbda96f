"""Layers that only keras.applications defines, for its own models."""

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer


@layer("LayerScale")
class LayerScale(Layer):
    """y = x * gamma (ConvNeXt)."""

    def __init__(self, definition: Definition) -> None:
        """Read one factor per channel."""
        super().__init__(definition)
        channels = definition.count("projection_dim")
        self.gamma = definition.weight("gamma", (channels,))

    def call(self, inputs: Array) -> Array:
        """Return the scaled inputs."""
        return np.asarray(inputs * self.gamma)


@layer("StochasticDepth")
class StochasticDepth(Layer):
    """y = x: only the training leaves whole branches out (ConvNeXt)."""

    def call(self, inputs: Array) -> Array:
        """Return the inputs."""
        return inputs


@layer("CustomScaleLayer")
class CustomScaleLayer(Layer):
    """y = a + b * scale (InceptionResNetV2)."""

    def __init__(self, definition: Definition) -> None:
        """Read the scale."""
        super().__init__(definition)
        self.scale = definition.number("scale")

    def call(self, inputs: list[Array]) -> Array:
        """Return the sum."""
        return np.asarray(inputs[0] + inputs[1] * self.scale)
