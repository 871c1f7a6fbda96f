"""Fully connected layers: y = activation(x K + b) over the last axis."""

from __future__ import annotations

from keramos import ops
from keramos.graph import Value
from keramos.layers.activation import activation
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, shape_text
from keramos.layers.registry import layer


@layer("Dense")
class Dense(Layer):
    """``y = activation(x K + b)``; axes before the last are kept."""

    supports_masking = True
    lowers_leading_axes = True

    def __init__(self, definition: Definition) -> None:
        """Read the size and the activation."""
        super().__init__(definition)
        self.units = definition.positive("units", 1)
        self.use_bias = definition.boolean("use_bias", default=True)
        self.activation = activation(definition)

    def call(self, inputs: Value) -> Value:
        """Return the product with the kernel, biased and activated."""
        if not inputs.shape or inputs.shape[-1] is None:
            raise self.definition.refusal(
                f"its input of shape {shape_text(inputs)} needs a last axis of known"
                " length",
                "give it with --input-shape",
            )
        kernel = self.definition.weight("kernel", (inputs.shape[-1], self.units))
        y = ops.matmul(inputs, kernel)
        if self.use_bias:
            y = y + self.definition.weight("bias", (self.units,))
        return self.activation(y)
