"""Convolutions: y[i, o] = sum over u, c of x[i s + u d, c] K[u, c, o], plus b[o]."""

from __future__ import annotations

from keramos import ops
from keramos.graph import Value
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


class Convolution(Layer):
    """What all convolutions have in common."""

    causal = False

    def __init__(self, definition: Definition) -> None:
        """Read window, strides, padding, layout, bias and activation."""
        super().__init__(definition)
        self.rank = spatial_rank(definition.class_name)
        self.kernel_size = definition.sizes("kernel_size", self.rank, 1)
        self.strides = definition.sizes("strides", self.rank, 1)
        self.dilation = definition.sizes("dilation_rate", self.rank, 1)
        paddings = ("valid", "same", "causal") if self.causal else ("valid", "same")
        self.padding = definition.choice("padding", paddings, "valid")
        self.channels_first = definition.channels_first()
        self.use_bias = definition.boolean("use_bias", default=True)
        self.activation = activation(definition)

    def call(self, inputs: Value) -> Value:
        """Return the convolution, biased and activated."""
        if len(inputs.shape) != self.rank + 1:
            raise self.definition.refusal(
                f"takes {self.rank + 2} axes, not an input of shape "
                f"{shape_text(inputs)}"
            )
        x = channels_last(inputs) if self.channels_first else inputs
        if x.shape[-1] is None:
            raise self.definition.refusal(
                f"its input of shape {shape_text(inputs)} has an unknown number of "
                "channels",
                "give it with --input-shape",
            )
        y = self.convolved(x, x.shape[-1])
        if self.use_bias:
            y = y + self.definition.weight("bias", (y.shape[-1],))
        if self.channels_first:
            # The activation may look at an axis (softmax).
            return self.activation(channels_first(y))
        return self.activation(y)

    def convolved(self, x: Value, channels: int) -> Value:
        """Return the convolution of a channels-last value with the weights."""
        raise NotImplementedError

    def paddings(self) -> str | list[tuple[int, int]]:
        """Return the padding as the convolution takes it."""
        if self.padding != "causal":
            return self.padding
        return [
            ((size - 1) * dilation, 0)
            for size, dilation in zip(self.kernel_size, self.dilation, strict=True)
        ]


@layer("Conv2D", "Conv3D", "Convolution2D", "Convolution3D")
class Conv(Convolution):
    """A convolution, in groups of channels or not."""

    def __init__(self, definition: Definition) -> None:
        """Read the number of filters and groups too."""
        super().__init__(definition)
        self.filters = definition.positive("filters", 1)
        self.groups = definition.positive("groups", 1)

    def convolved(self, x: Value, channels: int) -> Value:
        """Return the convolution."""
        if channels % self.groups or self.filters % self.groups:
            raise self.definition.refusal(
                f"groups is {self.groups}, which doesn't divide its {channels} input "
                f"and {self.filters} output channels"
            )
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        return ops.conv(
            x,
            self.definition.weight("kernel", shape),
            strides=self.strides,
            padding=self.paddings(),
            dilation=self.dilation,
            groups=self.groups,
        )


@layer("Conv1D", "Convolution1D")
class Conv1D(Conv):
    """A convolution over time, which may be causal."""

    causal = True


@layer("DepthwiseConv1D", "DepthwiseConv2D")
class DepthwiseConv(Convolution):
    """A convolution of each channel on its own."""

    def __init__(self, definition: Definition) -> None:
        """Read how many outputs each channel has."""
        super().__init__(definition)
        self.depth_multiplier = definition.positive("depth_multiplier", 1)
        definition.refuse("groups", (1,), "but each channel is a group of its own")

    def convolved(self, x: Value, channels: int) -> Value:
        """Return the convolution with one group per channel."""
        return depthwise(self, x, channels, self.depth_multiplier)


@layer("SeparableConv1D", "SeparableConv2D", "SeparableConvolution1D")
class SeparableConv(Convolution):
    """A depthwise convolution, then one that mixes the channels."""

    def __init__(self, definition: Definition) -> None:
        """Read the sizes of both."""
        # Keras 2 had causal ones.
        rank_is_one = "1D" in definition.class_name
        self.causal = rank_is_one and definition.generation < len("123")
        super().__init__(definition)
        self.filters = definition.positive("filters", 1)
        self.depth_multiplier = definition.positive("depth_multiplier", 1)
        definition.refuse("groups", (1,), "but each channel is a group of its own")

    def convolved(self, x: Value, channels: int) -> Value:
        """Return the two convolutions."""
        y = depthwise(self, x, channels, self.depth_multiplier)
        shape = ((1,) * self.rank) + (channels * self.depth_multiplier, self.filters)
        return ops.conv(y, self.definition.weight("pointwise_kernel", shape))


def depthwise(layer: Convolution, x: Value, channels: int, multiplier: int) -> Value:
    """Return the convolution of each channel with *multiplier* kernels of its own."""
    shape = (*layer.kernel_size, channels, multiplier)
    kernel = layer.definition.weight("depthwise_kernel", shape)
    return ops.conv(
        x,
        ops.reshape(kernel, (*layer.kernel_size, 1, channels * multiplier)),
        strides=layer.strides,
        padding=layer.paddings(),
        dilation=layer.dilation,
        groups=channels,
    )


@layer(
    "Conv1DTranspose",
    "Conv2DTranspose",
    "Conv3DTranspose",
    "Convolution2DTranspose",
    "Convolution3DTranspose",
    "Deconvolution2D",
)
class ConvTranspose(Convolution):
    """The gradient of a convolution: zeros between the inputs, the kernel flipped."""

    def __init__(self, definition: Definition) -> None:
        """Read the number of filters and the output padding too."""
        super().__init__(definition)
        self.filters = definition.positive("filters", 1)
        self.output_padding: tuple[int, ...] | None = None
        if definition.option("output_padding") is not None:
            self.output_padding = definition.sizes(
                "output_padding", self.rank, 0, low=0
            )
        definition.refuse("groups", (1,), "which Keras doesn't compute")

    def convolved(self, x: Value, channels: int) -> Value:
        """Return the transposed convolution."""
        shape = (*self.kernel_size, self.filters, channels)
        kernel = self.definition.weight("kernel", shape)
        for axis in range(self.rank):
            kernel = ops.flip(kernel, axis)
        return ops.conv(
            x,
            ops.swap_axes(kernel, self.rank, self.rank + 1),
            padding=[self._padding(axis) for axis in range(self.rank)],
            dilation=self.dilation,
            input_dilation=self.strides,
        )

    def _padding(self, axis: int) -> tuple[int, int]:
        """Return the zeros in front of and behind an axis.

        "valid" keeps all that the windows reach; "same" has ``size * stride``
        outputs. With an output padding p they become ``(size - 1) * stride + window +
        p`` and ``(size - 1) * stride + window % 2 + p``.
        """
        extent = (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
        stride = self.strides[axis]
        extra = None if self.output_padding is None else self.output_padding[axis]
        if self.padding == "valid":
            behind = max(stride - extent, 0) if extra is None else extra
            return extent - 1, extent - 1 + behind
        if extra is None:
            total = stride + extent - 2
        else:
            total = extent + extent % 2 - 2 + extra
        low = min(total // 2 + total % 2, extent - 1)
        return low, total - low
