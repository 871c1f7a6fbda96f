"""Fully connected layers: y = activation(x K + b) over the last axis."""

from __future__ import annotations

from keramos import ops
from keramos.graph import Value
from keramos.layers.activation import activation
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, shape_text
from keramos.layers.quantization import (
    Product,
    Quantization,
    product_of,
    quantization_of,
)
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
        self.quantization = quantization_of(definition)
        self.product: Product | None = None

    def call(self, inputs: Value) -> Value:
        """Return the product with the kernel, biased and activated."""
        if not inputs.shape or inputs.shape[-1] is None:
            raise self.definition.refusal(
                f"its input of shape {shape_text(inputs)} needs a last axis of known"
                " length",
                "give it with --input-shape",
            )
        if self.quantization is None:
            kernel = self.definition.weight("kernel", (inputs.shape[-1], self.units))
            y = ops.matmul(inputs, kernel)
        else:
            y = self._quantized(inputs, self.quantization)
        bias = self._bias()
        return self.activation(y if bias is None else y + bias)

    def _bias(self) -> Value | None:
        """Return the bias, where there is one."""
        return self.definition.weight("bias", (self.units,)) if self.use_bias else None

    def _quantized(self, inputs: Value, quantization: Quantization) -> Value:
        """Return the product with a kernel of few bits."""
        if self.product is None:
            self.product = product_of(
                self.definition, quantization, self.units, self._bias
            )
        y = ops.matmul(self.product.rounded(inputs, (-1,)), self.product.kernel)
        return y if self.product.scale is None else y / self.product.scale


@layer("TernaryDense")
class TernaryDense(Dense):
    """A dense layer whose weights count as -1, 0 or 1, times their mean magnitude."""

    def __init__(self, definition: Definition) -> None:
        """Read from what magnitude a weight counts."""
        super().__init__(definition)
        self.threshold = definition.optional_number("threshold")

    def call(self, inputs: Value) -> Value:
        """Return the product with the rounded kernel, biased and activated."""
        kernel = self.definition.weight("kernel", (inputs.shape[-1], self.units))
        size = ops.abs(kernel)
        if self.threshold is None:
            mean = ops.mean(size)
            signs = ops.where(size > mean * 0.5, ops.sign(kernel) * mean, 0.0)
        else:
            signs = ops.where(size > self.threshold, ops.sign(kernel), 0.0)
        y = ops.matmul(inputs, signs)
        bias = self._bias()
        return self.activation(y if bias is None else y + bias)
