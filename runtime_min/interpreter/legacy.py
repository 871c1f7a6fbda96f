"""Layers that Keras has given up: MaxoutDense, Highway, the locally connected ones."""

from __future__ import annotations

import numpy as np

from keramos.runtime_min.interpreter.activations import sigmoid
from keramos.runtime_min.interpreter.convolution import rank_of
from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer
from keramos.runtime_min.interpreter.windows import taps


@layer("MaxoutDense")
class MaxoutDense(Layer):
    """The largest of several products (Keras 1, keras.legacy.layers)."""

    def __init__(self, definition: Definition) -> None:
        """Read the kernels, (candidates, inputs, outputs)."""
        super().__init__(definition)
        outputs = definition.count("output_dim")
        candidates = definition.count("nb_feature", 4)
        self.kernel = definition.weight("W", (candidates, None, outputs))
        self.bias: Array | float = 0.0
        if definition.boolean("bias", default=True):
            self.bias = definition.weight("b", (candidates, outputs))

    def call(self, inputs: Array) -> Array:
        """Return the largest candidates."""
        products = np.tensordot(inputs, self.kernel, ((1,), (1,))) + self.bias
        return np.asarray(np.max(products, 1))


@layer("Highway")
class Highway(Layer):
    """t * activation(x . W + b) + (1 - t) * x, t = sigmoid(x . W_carry + b_carry)."""

    def __init__(self, definition: Definition) -> None:
        """Read both kernels and both biases (Keras 1, keras.legacy.layers)."""
        super().__init__(definition)
        self.activation = definition.activation("activation")
        self.kernel = definition.weight("W", (None, None))
        self.carry = definition.weight("W_carry", self.kernel.shape)
        self.bias: Array | float = 0.0
        self.carry_bias: Array | float = 0.0
        if definition.boolean("bias", default=True):
            self.bias = definition.weight("b", self.kernel.shape[1:])
            self.carry_bias = definition.weight("b_carry", self.kernel.shape[1:])

    def call(self, inputs: Array) -> Array:
        """Return the mixture."""
        share = sigmoid(inputs @ self.carry + self.carry_bias)
        return np.asarray(
            share * self.activation(inputs @ self.kernel + self.bias)
            + (1 - share) * inputs
        )


@layer("LocallyConnected1D", "LocallyConnected2D")
class LocallyConnected(Layer):
    """A convolution with another kernel at every position (Keras 2).

    The kernel's axes are (positions, elements of the window, filters).
    """

    def __init__(self, definition: Definition) -> None:
        """Read the window, the kernels and the bias."""
        super().__init__(definition)
        rank = rank_of(definition)
        self.kernel_size = definition.sizes("kernel_size", rank)
        self.strides = definition.sizes("strides", rank, 1)
        definition.choice("padding", ("valid",), "valid")
        if definition.integer("implementation", 1) != 1:
            raise definition.refusal(
                "implementation isn't 1", "rebuild the layer with implementation=1"
            )
        self.channels_first = definition.channels_first()
        self.activation = definition.activation("activation")
        filters = definition.count("filters")
        self.kernel = definition.weight("kernel", (None, None, filters))
        self.bias: Array | None = None
        if definition.boolean("use_bias", default=True):
            self.bias = definition.weight("bias", (*[None] * rank, filters))

    def call(self, inputs: Array) -> Array:
        """Return the products at every position."""
        x = np.moveaxis(inputs, 1, -1) if self.channels_first else inputs
        ones = (1,) * len(self.kernel_size)
        met = [w for _, w in taps(x, self.kernel_size, self.strides, ones)]
        # The window's elements lie in the order of the input's axes.
        windows = np.stack(met, -1 if self.channels_first else -2)
        space = windows.shape[1:-2]
        rows = windows.reshape(len(x), int(np.prod(space)), self.kernel.shape[1])
        products = np.einsum("npk,pkf->npf", rows, self.kernel)
        y = products.reshape(len(x), *space, self.kernel.shape[2])
        if not self.channels_first:
            return self.activation(y if self.bias is None else y + self.bias)
        y = np.moveaxis(y, -1, 1)
        if self.bias is not None:
            # Keras reshapes the bias here, and doesn't transpose it.
            y = y + self.bias.reshape(1, self.bias.shape[-1], *self.bias.shape[:-1])
        return self.activation(y)
