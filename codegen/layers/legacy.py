"""Layers that Keras has dropped: locally connected, MaxoutDense, Highway."""

from __future__ import annotations

import itertools

from keramos import ops
from keramos.graph import Value, elementwise
from keramos.layers.activation import activation
from keramos.layers.definition import Definition
from keramos.layers.layer import (
    Layer,
    channels_first,
    channels_last,
    shape_text,
    spatial_rank,
)
from keramos.layers.registry import layer
from keramos.primitives import window_length


@layer("LocallyConnected1D", "LocallyConnected2D")
class LocallyConnected(Layer):
    """A convolution with a kernel of its own at each place."""

    def __init__(self, definition: Definition) -> None:
        """Read the options of a convolution."""
        super().__init__(definition)
        self.rank = spatial_rank(definition.class_name)
        self.filters = definition.positive("filters", 1)
        self.kernel_size = definition.sizes("kernel_size", self.rank, 1)
        self.strides = definition.sizes("strides", self.rank, 1)
        self.channels_first = definition.channels_first()
        self.use_bias = definition.boolean("use_bias", default=True)
        self.activation = activation(definition)
        definition.choice("padding", ("valid",), "valid")
        if definition.option("implementation", 1) != 1:
            definition.note(
                "implementation is 2 or 3, whose weights lie differently",
                "save the layer with implementation=1",
            )

    def call(self, inputs: Value) -> Value:
        """Return the product of each place's patch with its kernel."""
        x = channels_last(inputs) if self.channels_first else inputs
        if len(x.shape) != self.rank + 1 or None in x.shape:
            raise self.definition.refusal(
                f"takes {self.rank + 2} axes of known length, not an input of shape "
                f"{shape_text(inputs)}"
            )
        counts = [
            window_length(x.shape[a], self.kernel_size[a], self.strides[a], (0, 0)) or 0
            for a in range(self.rank)
        ]
        taps = []
        for tap in itertools.product(*map(range, self.kernel_size)):
            slices = tuple(
                slice(t, t + s * (n - 1) + 1, s)
                for t, s, n in zip(tap, self.strides, counts, strict=True)
            )
            taps.append(x[slices])
        patches = ops.concatenate(taps, -1)
        places, features = 1, patches.shape[-1] or 0
        for n in counts:
            places *= n
        rows = ops.reshape(patches, (places, features))
        kernel = self.definition.weight("kernel", (places, features, self.filters))
        y = ops.reshape(ops.einsum("pf,pfo->po", rows, kernel), (*counts, self.filters))
        if self.use_bias:
            y = y + self.definition.weight("bias", (*counts, self.filters))
        return self.activation(channels_first(y) if self.channels_first else y)


@layer("MaxoutDense")
class MaxoutDense(Layer):
    """The largest of several linear functions."""

    def __init__(self, definition: Definition) -> None:
        """Read the sizes, under the names of Keras 1."""
        super().__init__(definition)
        self.size = definition.positive("output_dim", 1)
        self.count = definition.positive("nb_feature", 4)
        self.use_bias = definition.boolean("bias", default=True)

    def call(self, inputs: Value) -> Value:
        """Return the largest."""
        shape = (self.count, inputs.shape[-1], self.size)
        y = ops.einsum("i,kio->ko", inputs, self.definition.weight("W", shape))
        if self.use_bias:
            y = y + self.definition.weight("b", (self.count, self.size))
        return ops.max(y, 0)


@layer("Highway")
class Highway(Layer):
    """A gate between the input and a dense layer of it."""

    def __init__(self, definition: Definition) -> None:
        """Read the activation, under the names of Keras 1."""
        super().__init__(definition)
        self.activation = activation(definition)
        self.use_bias = definition.boolean("bias", default=True)
        definition.option("transform_bias")

    def call(self, inputs: Value) -> Value:
        """Return ``t f(x W + b) + (1 - t) x`` with ``t = sigmoid(x W' + b')``."""
        size = inputs.shape[-1]
        weight = self.definition.weight
        kernel, carry = weight("W", (size, size)), weight("W_carry", (size, size))
        y, gate = ops.matmul(inputs, kernel), ops.matmul(inputs, carry)
        if self.use_bias:
            y, gate = y + weight("b", (size,)), gate + weight("b_carry", (size,))
        return elementwise(
            lambda t, new, x: t * new + (1.0 - t) * x,
            ops.sigmoid(gate),
            self.activation(y),
            inputs,
        )
