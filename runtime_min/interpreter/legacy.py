"""Layers that Keras has given up: MaxoutDense, Highway, the locally connected ones."""

from __future__ import annotations

from collections.abc import Sequence

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


@layer("RandomFourierFeatures")
class RandomFourierFeatures(Layer):
    """cos(x . W / scale + b) (Keras 2, experimental)."""

    def __init__(self, definition: Definition) -> None:
        """Read the weights, what can be trained in front."""
        super().__init__(definition)
        count = definition.count("output_dim")
        self.scale = definition.weight("kernel scale", (1,))
        self.kernel = definition.weight("unscaled kernel", (None, count))
        self.bias = definition.weight("bias", (count,))

    def call(self, inputs: Array) -> Array:
        """Return the waves' values."""
        return np.asarray(np.cos(inputs @ self.kernel / self.scale + self.bias))


@layer("LocallyConnected1D", "LocallyConnected2D")
class LocallyConnected(Layer):
    """A convolution with another kernel at every position (Keras 2).

    Files hold the kernels in one of three ways (``implementation``): 1, by position as
    (positions, elements of the window, filters); 2, as a whole matrix from inputs to
    outputs, of which only what lies in windows counts; 3, as the list of these
    elements alone, output by output.
    """

    def __init__(self, definition: Definition) -> None:
        """Read the window, the kernels and the bias."""
        super().__init__(definition)
        rank = rank_of(definition)
        self.kernel_size = definition.sizes("kernel_size", rank)
        self.strides = definition.sizes("strides", rank, 1)
        self.padding = definition.choice("padding", ("valid", "same"), "valid")
        self.implementation = definition.integer("implementation", 1)
        if self.implementation not in (1, 2, 3):
            raise definition.refusal(
                f"implementation is {self.implementation}, which Keras doesn't have",
                "use 1, 2 or 3",
            )
        self.channels_first = definition.channels_first()
        self.activation = definition.activation("activation")
        self.filters = definition.count("filters")
        shape = {1: 3, 2: 2 * (rank + 1), 3: 1}[self.implementation]
        self.kernel = definition.weight("kernel", (None,) * shape)
        self.bias: Array | None = None
        if definition.boolean("use_bias", default=True):
            self.bias = definition.weight("bias", (*[None] * rank, self.filters))

    def call(self, inputs: Array) -> Array:
        """Return the products at every position."""
        space = inputs.shape[2:] if self.channels_first else inputs.shape[1:-1]
        positions = [
            (
                -(-size // stride)
                if self.padding == "same"
                else (size - length) // stride + 1
            )
            for size, length, stride in zip(
                space, self.kernel_size, self.strides, strict=True
            )
        ]
        y = (
            self._by_position(inputs, positions)
            if self.implementation == 1
            else self._by_matrix(inputs, space, positions)
        )
        if self.bias is not None:
            # Keras reshapes the bias here, and doesn't transpose it.
            y = y + self.bias.reshape(1, *y.shape[1:])
        return self.activation(y)

    def _by_position(self, inputs: Array, positions: Sequence[int]) -> Array:
        """Return the products of each position's window with its own kernel."""
        x = np.moveaxis(inputs, 1, -1) if self.channels_first else inputs
        ones = (1,) * len(self.kernel_size)
        met = [w for _, w in taps(x, self.kernel_size, self.strides, ones)]
        # The window's elements lie in the order of the input's axes.
        windows = np.stack(met, -1 if self.channels_first else -2)
        rows = windows.reshape(len(x), int(np.prod(positions)), self.kernel.shape[1])
        products = np.einsum("npk,pkf->npf", rows, self.kernel)
        y = products.reshape(len(x), *positions, self.filters)
        return np.moveaxis(y, -1, 1) if self.channels_first else y

    def _by_matrix(
        self, inputs: Array, space: Sequence[int], positions: Sequence[int]
    ) -> Array:
        """Return one product of all inputs with all kernels."""
        first = self.channels_first
        channels = inputs.shape[1 if first else -1]
        outputs = (self.filters, *positions) if first else (*positions, self.filters)
        linked: Array = np.ones((1, 1))
        for size, count, length, stride in zip(
            space, positions, self.kernel_size, self.strides, strict=True
        ):
            before = length // 2 if self.padding == "same" else 0
            offset = np.arange(size)[:, None] - np.arange(count) * stride + before
            linked = np.kron(linked, (offset >= 0) & (offset < length))
        every = np.ones((channels, self.filters))
        linked = np.kron(every, linked) if first else np.kron(linked, every)
        if self.implementation == 2:
            matrix = self.kernel.reshape(linked.shape) * linked.astype(self.dtype)
        else:
            turned = np.zeros(linked.T.shape, self.dtype)
            turned[linked.T > 0] = self.kernel
            matrix = turned.T
        flat: Array = inputs.reshape(len(inputs), linked.shape[0]) @ matrix
        return flat.reshape(len(inputs), *outputs)
