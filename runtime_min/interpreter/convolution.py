"""Convolutions: y[p] = activation(sum of x[p * stride + t * dilation] . k[t] + bias).

The sum goes over the taps t. The kernel's axes are (*taps, channels in per group,
channels out); a group of output
channels sees its own group of input channels.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer
from keramos.runtime_min.interpreter.windows import (
    Sizes,
    from_channels_last,
    padded,
    taps,
    to_channels_last,
)

RANKS = {"1D": 1, "2D": 2, "3D": 3}


def rank_of(definition: Definition) -> int:
    """Return the number of spatial axes, which every class name says."""
    return next(rank for text, rank in RANKS.items() if text in definition.class_name)


class Convolving(Layer):
    """What all convolutions share: windows, layout, bias, activation."""

    def __init__(self, definition: Definition) -> None:
        """Read the options of the window."""
        super().__init__(definition)
        self.rank = rank_of(definition)
        self.kernel_size = definition.sizes("kernel_size", self.rank)
        self.strides = definition.sizes("strides", self.rank, 1)
        self.dilations = definition.sizes("dilation_rate", self.rank, 1)
        causal = ("causal",) if self.rank == 1 else ()
        self.padding = definition.choice("padding", ("valid", "same", *causal), "valid")
        self.channels_first = definition.channels_first()
        self.use_bias = definition.boolean("use_bias", default=True)
        self.activation = definition.activation("activation")
        self.bias: Array | float = 0.0

    def call(self, inputs: Array) -> Array:
        """Return the activated convolution."""
        x = to_channels_last(inputs, channels_first=self.channels_first)
        y = self.convolved(x) + self.bias
        return self.activation(
            from_channels_last(y, channels_first=self.channels_first)
        )

    def convolved(self, x: Array) -> Array:
        """Return the sums over the taps, channels last."""
        raise NotImplementedError

    def padded(self, x: Array) -> Array:
        """Return *x* with its padding."""
        return padded(x, self.padding, self.kernel_size, self.strides, self.dilations)


@layer(
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "Convolution1D",
    "Convolution2D",
    "Convolution3D",
)
class Convolution(Convolving):
    """The ordinary convolution, in groups of channels."""

    def __init__(self, definition: Definition) -> None:
        """Read the kernel and the bias."""
        super().__init__(definition)
        filters = definition.count("filters")
        self.groups = definition.count("groups", 1)
        self.kernel = definition.weight("kernel", (*self.kernel_size, None, filters))
        if self.use_bias:
            self.bias = definition.weight("bias", (filters,))

    def convolved(self, x: Array) -> Array:
        """Return every group's convolution, side by side."""
        inputs = np.split(self.padded(x), self.groups, -1)
        kernels = np.split(self.kernel, self.groups, -1)
        return np.concatenate(
            [
                convolution(group, kernel, self.strides, self.dilations)
                for group, kernel in zip(inputs, kernels, strict=True)
            ],
            -1,
        )


def convolution(x: Array, kernel: Array, strides: Sizes, dilations: Sizes) -> Array:
    """Return the convolution of a padded array, channels last."""
    size = kernel.shape[:-2]
    products = (
        window @ kernel[tap] for tap, window in taps(x, size, strides, dilations)
    )
    total: Array = sum(products, start=np.zeros((), x.dtype))
    return total


def depthwise(x: Array, kernel: Array, strides: Sizes, dilations: Sizes) -> Array:
    """Return every channel convolved with its own kernels, channel by channel.

    The kernel's axes are (*taps, channels, multiplier).
    """
    size, (channels, multiplier) = kernel.shape[:-2], kernel.shape[-2:]
    products = (
        window[..., None] * kernel[tap]
        for tap, window in taps(x, size, strides, dilations)
    )
    total: Array = sum(products, start=np.zeros((), x.dtype))
    return total.reshape(*total.shape[:-2], channels * multiplier)


@layer("DepthwiseConv1D", "DepthwiseConv2D")
class DepthwiseConvolution(Convolving):
    """A convolution that keeps the channels apart."""

    def __init__(self, definition: Definition) -> None:
        """Read the kernel and the bias."""
        super().__init__(definition)
        multiplier = definition.count("depth_multiplier", 1)
        shape = (*self.kernel_size, None, multiplier)
        self.kernel = definition.weight("depthwise kernel", shape)
        if self.use_bias:
            outputs = self.kernel.shape[-2] * multiplier
            self.bias = definition.weight("bias", (outputs,))

    def convolved(self, x: Array) -> Array:
        """Return the channels' own convolutions."""
        return depthwise(self.padded(x), self.kernel, self.strides, self.dilations)


@layer("SeparableConv1D", "SeparableConv2D", "SeparableConvolution1D")
class SeparableConvolution(Convolving):
    """A depthwise convolution, then one over the channels of each position."""

    def __init__(self, definition: Definition) -> None:
        """Read both kernels and the bias."""
        super().__init__(definition)
        filters = definition.count("filters")
        multiplier = definition.count("depth_multiplier", 1)
        shape = (*self.kernel_size, None, multiplier)
        self.depthwise_kernel = definition.weight("depthwise kernel", shape)
        between = self.depthwise_kernel.shape[-2] * multiplier
        shape = (*[1] * self.rank, between, filters)
        self.pointwise_kernel = definition.weight("pointwise kernel", shape)
        if self.use_bias:
            self.bias = definition.weight("bias", (filters,))

    def convolved(self, x: Array) -> Array:
        """Return the depthwise result, mixed across channels."""
        between = depthwise(
            self.padded(x), self.depthwise_kernel, self.strides, self.dilations
        )
        ones = (1,) * self.rank
        return convolution(between, self.pointwise_kernel, ones, ones)


@layer(
    "Conv1DTranspose",
    "Conv2DTranspose",
    "Conv3DTranspose",
    "Convolution2DTranspose",
    "Convolution3DTranspose",
    "Deconvolution2D",
)
class TransposedConvolution(Convolving):
    """The transpose of a convolution: every input element paints its kernel.

    The kernel's axes are (*taps, channels out, channels in).
    """

    def __init__(self, definition: Definition) -> None:
        """Read the kernel, the bias and the output's padding."""
        super().__init__(definition)
        filters = definition.count("filters")
        given = definition.option("output_padding", None) is not None
        self.output_padding: tuple[int | None, ...] = (None,) * self.rank
        if given:
            self.output_padding = definition.sizes("output_padding", self.rank, least=0)
        self.kernel = definition.weight("kernel", (*self.kernel_size, filters, None))
        if self.use_bias:
            self.bias = definition.weight("bias", (filters,))

    def convolved(self, x: Array) -> Array:
        """Return the painted canvas, cut to the size that the padding asks for."""
        reaches = [
            (length - 1) * dilation + 1
            for length, dilation in zip(self.kernel_size, self.dilations, strict=True)
        ]
        sizes = [
            (size - 1) * stride + reach
            for size, stride, reach in zip(
                x.shape[1:-1], self.strides, reaches, strict=True
            )
        ]
        canvas = np.zeros((len(x), *sizes, self.kernel.shape[-2]), x.dtype)
        for tap in product(*map(range, self.kernel_size)):
            window = tuple(
                slice(
                    start := offset * dilation, start + (size - 1) * stride + 1, stride
                )
                for offset, dilation, size, stride in zip(
                    tap, self.dilations, x.shape[1:-1], self.strides, strict=True
                )
            )
            canvas[(slice(None), *window)] += x @ self.kernel[tap].T
        for axis, reach in enumerate(reaches):
            before, behind = self._margins(axis, reach)
            canvas = _cut(canvas, axis + 1, before, behind)
        return canvas

    def _margins(self, axis: int, reach: int) -> tuple[int, int]:
        """Return how much of the canvas to cut before and behind one axis.

        A negative number asks for more rows. As ``keras.src.backend.common`` computes
        it, which is TensorFlow's rule: for ``same``, the margins of the convolution
        that this one transposes.
        """
        stride, extra = self.strides[axis], self.output_padding[axis]
        if self.padding == "valid":
            return 0, -(max(stride - reach, 0) if extra is None else extra)
        beyond = stride if extra is None else reach % 2 + extra
        total = reach + beyond - 2
        left = min(total // 2 + total % 2, reach - 1)
        return reach - 1 - left, reach - 1 - (total - left)


def _cut(x: Array, axis: int, before: int, behind: int) -> Array:
    """Return *x* without its margins along *axis*, zeros for negative ones."""
    size = x.shape[axis]
    window = slice(max(before, 0), size - max(behind, 0))
    kept = x[(slice(None),) * axis + (window,)]
    pads = [(0, 0)] * x.ndim
    pads[axis] = (max(-before, 0), max(-behind, 0))
    return np.pad(kept, pads)
