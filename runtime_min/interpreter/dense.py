"""y = activation(x . kernel + bias), over the last axis."""

from __future__ import annotations

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.quantization import (
    StoredProduct,
    quantization_of,
    stored_product,
)
from keramos.runtime_min.interpreter.registry import layer


@layer("Dense")
class Dense(Layer):
    """A matrix product over the last axis, for inputs of any rank."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the kernel and the bias."""
        super().__init__(definition)
        self.units = definition.count("units")
        self.activation = definition.activation("activation")
        self.product = self._product()

    def _product(self) -> StoredProduct:
        """Return the kernel and the bias as the file has them."""
        quantization = quantization_of(self.definition)
        if quantization is not None:
            return stored_product(self.definition, quantization, self.units, self._bias)
        kernel = self.definition.weight("kernel", (None, self.units))
        return StoredProduct(kernel, self._bias(), 1.0, lambda x, _: x)

    def _bias(self) -> Array | None:
        """Return the bias, if the layer has one."""
        if not self.definition.boolean("use_bias", default=True):
            return None
        return self.definition.weight("bias", (self.units,))

    def call(self, inputs: Array) -> Array:
        """Return the activated products."""
        y = self.product.prepare(inputs, -1) @ self.product.kernel / self.product.scale
        return self.activation(
            y if self.product.bias is None else y + self.product.bias
        )


@layer("TernaryDense")
class TernaryDense(Layer):
    """A product whose weights count as -1, 0 or 1, times their mean magnitude."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the kernel, and round it."""
        super().__init__(definition)
        quantization_of(definition)
        units = definition.count("units")
        self.activation = definition.activation("activation")
        kernel = definition.weight("kernel", (None, units))
        magnitudes = np.abs(kernel)
        mean = np.mean(magnitudes)
        limit = definition.optional_number("threshold")
        if limit is None:
            self.kernel = np.sign(kernel) * (magnitudes > 0.5 * mean) * mean
        else:
            self.kernel = np.sign(kernel) * (magnitudes > limit)
        self.bias: Array | float = 0.0
        if definition.boolean("use_bias", default=True):
            self.bias = definition.weight("bias", (units,))

    def call(self, inputs: Array) -> Array:
        """Return the activated products."""
        return self.activation(np.asarray(inputs @ self.kernel + self.bias))
