"""The layers that keras.applications defines for its own models."""

from __future__ import annotations

from keramos.graph import Value, elementwise
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer
from keramos.layers.registry import layer
from keramos.layers.structure import Structure, leaves


@layer("LayerScale")
class LayerScale(Layer):
    """``y = x * gamma`` (ConvNeXt)."""

    def __init__(self, definition: Definition) -> None:
        """Read the number of channels."""
        super().__init__(definition)
        self.channels = definition.positive("projection_dim", 1)
        definition.option("init_values")

    def call(self, x: Value) -> Value:
        """Return the scaled input."""
        return x * self.definition.weight("gamma", (self.channels,))


@layer("CustomScaleLayer")
class CustomScaleLayer(Layer):
    """``y = a + b * scale`` (Inception-ResNet)."""

    def __init__(self, definition: Definition) -> None:
        """Read the scale."""
        super().__init__(definition)
        self.scale = definition.number("scale", 1.0)

    def call(self, inputs: Structure) -> Value:
        """Return the scaled sum."""
        a, b = leaves(inputs)
        return elementwise(lambda x, y: x + y * self.scale, a, b)
