"""Layers that Keras has dropped: locally connected, MaxoutDense, Highway."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from keramos import ops
from keramos.errors import CompileError
from keramos.graph import Array, Constant, Value, constant, elementwise
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
from keramos.primitives import Spec, window_length


@layer("LocallyConnected1D", "LocallyConnected2D")
class LocallyConnected(Layer):
    """A convolution with a kernel of its own at each place."""

    def __init__(self, definition: Definition) -> None:
        """Read the options of a convolution, and how its kernels lie in the file."""
        super().__init__(definition)
        self.rank = spatial_rank(definition.class_name)
        self.filters = definition.positive("filters", 1)
        self.kernel_size = definition.sizes("kernel_size", self.rank, 1)
        self.strides = definition.sizes("strides", self.rank, 1)
        self.channels_first = definition.channels_first()
        self.use_bias = definition.boolean("use_bias", default=True)
        self.activation = activation(definition)
        self.same = definition.choice("padding", ("valid", "same"), "valid") == "same"
        self.storage = definition.integer("implementation", 1)
        if self.storage not in (1, 2, 3):
            definition.note(
                f"implementation is {self.storage}, which Keras doesn't have",
                "use 1, 2 or 3",
            )

    def call(self, inputs: Value) -> Value:
        """Return the product of each place's patch with its kernel."""
        x = channels_last(inputs) if self.channels_first else inputs
        space, channels = x.shape[:-1], x.shape[-1]
        if len(x.shape) != self.rank + 1 or channels is None:
            raise self._unfit(inputs)
        known = tuple(size for size in space if size is not None)
        counts = tuple(map(self._count, known, self.kernel_size, self.strides))
        if len(known) < self.rank or min(counts) < 1:
            raise self._unfit(inputs)
        # The window's middle is at the place; Keras' other layers put it elsewhere.
        lows = [size // 2 if self.same else 0 for size in self.kernel_size]
        highs = [
            max((n - 1) * stride + size - low - length, 0)
            for n, stride, size, low, length in zip(
                counts, self.strides, self.kernel_size, lows, known, strict=True
            )
        ]
        x = ops.pad(x, [*zip(lows, highs, strict=True), (0, 0)])
        taps = []
        for tap in itertools.product(*map(range, self.kernel_size)):
            slices = tuple(
                slice(t, t + s * (n - 1) + 1, s)
                for t, s, n in zip(tap, self.strides, counts, strict=True)
            )
            taps.append(x[slices])
        features = math.prod(self.kernel_size) * channels
        rows = ops.reshape(ops.concatenate(taps, -1), (math.prod(counts), features))
        kernel = self._kernel(known, counts, lows, channels)
        y = ops.reshape(ops.einsum("pf,pfo->po", rows, kernel), (*counts, self.filters))
        y = channels_first(y) if self.channels_first else y
        if self.use_bias:
            bias = self.definition.weight("bias", (*counts, self.filters))
            # Keras reshapes it for channels in front, and doesn't transpose it.
            y = y + ops.reshape(bias, y.shape)
        return self.activation(y)

    def _count(self, size: int, window: int, stride: int) -> int:
        """Return how many places an axis has."""
        if self.same:
            return -(-size // stride)
        return window_length(size, window, stride, (0, 0)) or 0

    def _unfit(self, inputs: Value) -> CompileError:
        """Return the refusal of an input."""
        return self.definition.refusal(
            f"takes {self.rank + 2} axes of known length, the window inside, not an "
            f"input of shape {shape_text(inputs)}"
        )

    def _kernel(
        self,
        space: tuple[int, ...],
        counts: tuple[int, ...],
        lows: Sequence[int],
        channels: int,
    ) -> Value:
        """Return the kernels as (places, elements of the window, filters)."""
        axes = (*counts, *self.kernel_size, channels, self.filters)
        place, tap, (channel, kernel) = _parted(np.indices(axes), self.rank)
        at = [
            p * stride + t - low
            for p, t, stride, low in zip(place, tap, self.strides, lows, strict=True)
        ]
        inside = np.logical_and.reduce(
            [(x >= 0) & (x < size) for x, size in zip(at, space, strict=True)]
        )
        at = [np.where(inside, x, 0) for x in at]
        front = self.channels_first
        given = [channel, *at] if front else [*at, channel]
        given_shape = (channels, *space) if front else (*space, channels)
        found = [kernel, *place] if front else [*place, kernel]
        found_shape = (self.filters, *counts) if front else (*counts, self.filters)
        shape: tuple[int, ...]
        match self.storage:
            case 2:  # a matrix from all elements to all results
                shape = (*given_shape, *found_shape)
                index = np.ravel_multi_index((*given, *found), shape)
            case 3:  # its elements inside of windows, row by row
                whole = (*found_shape, *given_shape)
                order = np.ravel_multi_index((*found, *given), whole)
                used = np.sort(order[inside])
                shape = used.shape
                index = np.searchsorted(used, order)
            case _:
                window = [channel, *tap] if front else [*tap, channel]
                window_shape = (
                    (channels, *self.kernel_size)
                    if front
                    else (*self.kernel_size, channels)
                )
                elements = np.ravel_multi_index(tuple(window), window_shape)
                features = math.prod(window_shape)
                places = np.ravel_multi_index(tuple(place), counts)
                shape = (math.prod(counts), features, self.filters)
                index = np.ravel_multi_index((places, elements, kernel), shape)
        stored = self.definition.weight("kernel", shape)
        features = math.prod(self.kernel_size) * channels
        arranged = (math.prod(counts), features, self.filters)

        def load() -> Array:
            """Return the stored numbers at their places, 0 outside of the input."""
            if stored.constant is None:
                raise TypeError(stored)
            numbers = stored.constant.array().ravel()
            picked = numbers[np.where(inside, index, 0)]
            return np.where(inside, picked, np.float32(0)).reshape(arranged)

        return constant(Constant(Spec(arranged), load), name=stored.name)


def _parted(
    indices: Array, rank: int
) -> tuple[list[Array], list[Array], tuple[Array, Array]]:
    """Return the indices of places, of taps, and of channels and filters."""
    each = list(indices)
    return each[:rank], each[rank : 2 * rank], (each[-2], each[-1])


@layer("RandomFourierFeatures")
class RandomFourierFeatures(Layer):
    """``y = cos(x K / s + b)``: random waves that stand for a kernel machine."""

    def __init__(self, definition: Definition) -> None:
        """Read the number of waves; the scale is a weight."""
        super().__init__(definition)
        self.count = definition.positive("output_dim", 1)
        definition.option("scale")

    def call(self, inputs: Value) -> Value:
        """Return the waves' values."""
        weight = self.definition.weight
        # It could be trained: such weights come first.
        scale = weight("kernel_scale", (1,))
        kernel = weight("unscaled_kernel", (inputs.shape[-1], self.count))
        bias = weight("bias", (self.count,))
        return ops.cos(ops.matmul(inputs, kernel / scale) + bias)


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
