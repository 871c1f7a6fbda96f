"""Keras' operations of layers and images: convolution, pooling, norms, colours.

Each is what a layer of its name computes, with the weights as arguments.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from keramos import ops
from keramos.errors import quoted
from keramos.expr import Expr, call, where
from keramos.graph import Array, Value, elementwise
from keramos.layers.adaptive_pooling import pooled_adaptively
from keramos.layers.layer import channels_first, channels_last
from keramos.layers.operation import constant_array, operation, position, positions
from keramos.layers.structure import Structure
from keramos.primitives import Method

Sizes = int | Sequence[int]
EPSILON = 1e-7  # keras.config.epsilon()
METHODS: Mapping[str, Method] = {
    "nearest": "nearest",
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "lanczos3": "lanczos3",
    "lanczos5": "lanczos5",
}


def _spatial(value: Sizes, rank: int) -> tuple[int, ...]:
    """Return one number per axis."""
    return (value,) * rank if isinstance(value, int) else tuple(value)


def _in_last(
    function: Callable[[Value], Value], x: Value, data_format: str | None
) -> Value:
    """Return what *function* of channels-last images gives, in the given layout."""
    if data_format != "channels_first":
        return function(x)
    return channels_first(function(channels_last(x)))


def _pooling(pool: Callable[..., Value]) -> Callable[..., Value]:
    """Return an operation that pools."""

    def function(
        inputs: Value,
        pool_size: Sizes,
        strides: Sizes | None = None,
        padding: str = "valid",
        data_format: str | None = None,
    ) -> Value:
        rank = len(inputs.shape) - 1
        size = _spatial(pool_size, rank)
        steps = size if strides is None else _spatial(strides, rank)
        return _in_last(
            lambda x: pool(x, size, strides=steps, padding=padding), inputs, data_format
        )

    return function


operation("MaxPool")(_pooling(ops.max_pool))
operation("AveragePool")(_pooling(ops.average_pool))


def _adaptive(pool: Callable[..., Value]) -> Callable[..., Value]:
    """Return an operation that pools into a number of windows."""

    def function(
        inputs: Value, output_size: Sizes, data_format: str | None = None
    ) -> Value:
        def pooled(x: Value) -> Value:
            counts = _spatial(output_size, len(inputs.shape) - 1)
            for axis, count in enumerate(counts):
                x = pooled_adaptively(x, axis, count, pool)
            return x

        return _in_last(pooled, inputs, data_format)

    return function


operation("AdaptiveMaxPool")(_adaptive(ops.max_pool))
operation("AdaptiveAveragePool")(_adaptive(ops.average_pool))


def _kernel(kernel: Structure) -> Value:
    """Return a kernel, which must be constant."""
    if isinstance(kernel, Value):
        raise TypeError("its kernel isn't a constant, and has a batch axis")
    return ops.constant(constant_array(kernel))


@operation("Conv")
def conv(  # noqa: PLR0913, PLR0917 - Keras has that many arguments
    inputs: Value,
    kernel: Structure,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Value:
    """Return the convolution with a constant kernel."""
    weights = _kernel(kernel)

    def convolved(x: Value) -> Value:
        groups = (x.shape[-1] or 0) // (weights.shape[-2] or 1)
        return ops.conv(
            x,
            weights,
            strides=strides,
            padding=padding,
            dilation=dilation_rate,
            groups=groups,
        )

    return _in_last(convolved, inputs, data_format)


@operation("DepthwiseConv")
def depthwise_conv(  # noqa: PLR0913, PLR0917 - Keras has that many arguments
    inputs: Value,
    kernel: Structure,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Value:
    """Return the convolution of each channel with constant kernels of its own."""
    array = constant_array(kernel)
    channels, multiplier = array.shape[-2:]
    turned = array.reshape(*array.shape[:-2], 1, channels * multiplier)
    return conv(inputs, turned, strides, padding, data_format, dilation_rate)


@operation("SeparableConv")
def separable_conv(  # noqa: PLR0913, PLR0917 - Keras has that many arguments
    inputs: Value,
    depthwise_kernel: Structure,
    pointwise_kernel: Structure,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Value:
    """Return the depthwise convolution, mixed by a pointwise one."""
    y = depthwise_conv(
        inputs, depthwise_kernel, strides, padding, data_format, dilation_rate
    )
    return conv(y, pointwise_kernel, data_format=data_format)


@operation("GaussianBlur")
def gaussian_blur(
    images: Value,
    kernel_size: Sequence[int] = (3, 3),
    sigma: Sequence[float] = (1.0, 1.0),
    data_format: str | None = None,
) -> Value:
    """Return images smoothed by a bell."""
    bells = []
    for size, deviation in zip(kernel_size, sigma, strict=True):
        distance = np.arange(size) - (size - 1) / 2
        bell = np.exp(-(distance**2) / (2 * deviation**2))
        bells.append(bell / bell.sum())
    # Keras gives the first numbers to the columns.
    kernel = np.outer(bells[1], bells[0]).astype(np.float32)

    def blurred(x: Value) -> Value:
        channels = x.shape[-1] or 0
        whole = np.repeat(kernel[:, :, None, None], channels, axis=2)
        return depthwise_conv(x, whole, padding="same")

    return _in_last(blurred, images, data_format)


def _aligned(numbers: Structure, axis: int, x: Value) -> Value:
    """Return one number per element of an axis, beside *x*."""
    array = constant_array(numbers).ravel()
    shape = [1] * len(x.shape)
    shape[axis] = array.size
    return ops.constant(array.reshape(shape))


@operation("BatchNorm")
def batch_norm(  # noqa: PLR0913, PLR0917 - Keras has that many arguments
    x: Value,
    mean: Structure,
    variance: Structure,
    offset: Structure = None,
    scale: Structure = None,
    axis: int = -1,
    epsilon: float = 1e-3,
) -> Value:
    """Return x normalised by constants."""
    at = position(axis, len(x.shape) + 1)
    factor = ops.rsqrt(_aligned(variance, at, x) + epsilon)
    if scale is not None:
        factor = factor * _aligned(scale, at, x)
    y = (x - _aligned(mean, at, x)) * factor
    return y if offset is None else y + _aligned(offset, at, x)


def _beside(numbers: Structure, axes: Sequence[int], x: Value) -> Value:
    """Return constants over the normalised axes."""
    shape = [d if a in axes else 1 for a, d in enumerate(x.shape)]
    array = constant_array(numbers).astype(np.float32)
    return ops.constant(array.reshape([d or 1 for d in shape]))


@operation("RMSNorm")
def rms_norm(
    x: Value,
    scale: Structure = None,
    axis: int | Sequence[int] = -1,
    epsilon: float | None = None,
) -> Value:
    """Return x over its root mean square."""
    axes = positions(axis, x)
    least = EPSILON if epsilon is None else epsilon
    y = x * ops.rsqrt(ops.mean(ops.square(x), axes, keepdims=True) + least)
    return y if scale is None else y * _beside(scale, axes, x)


@operation("LayerNorm")
def layer_norm(  # noqa: PLR0913 - Keras has that many arguments
    x: Value,
    gamma: Structure = None,
    beta: Structure = None,
    axis: int | Sequence[int] = -1,
    epsilon: float | None = None,
    *,
    rms_scaling: bool = False,
) -> Value:
    """Return x less its mean over its deviation."""
    axes = positions(axis, x)
    least = EPSILON if epsilon is None else epsilon
    if rms_scaling:
        raise ValueError("rms_scaling isn't supported")
    mean, variance = ops.moments(x, axes, keepdims=True)
    y = (x - mean) * ops.rsqrt(variance + least)
    y = y if gamma is None else y * _beside(gamma, axes, x)
    return y if beta is None else y + _beside(beta, axes, x)


@operation("MultiHot")
def multi_hot(
    inputs: Value,
    num_classes: int,
    axis: int = -1,
    dtype: object = None,
    sparse: object = None,
    **options: object,
) -> Value:
    """Return 1 for each number that stands in a row."""
    del dtype, sparse, options
    if axis != -1:
        raise ValueError(f"the axis {axis} isn't -1")
    # Keras looks along axis 1, however many there are.
    return ops.max(ops.one_hot(ops.cast(inputs, "int32"), num_classes), 0)


@operation("DotProductAttention")
def dot_product_attention(  # noqa: PLR0913, PLR0917 - Keras has that many arguments
    query: Value,
    key: Value,
    value: Value,
    bias: Structure = None,
    mask: Structure = None,
    scale: float | None = None,
    is_causal: bool = False,  # noqa: FBT001, FBT002 - Keras' own name
    flash_attention: object = None,
    attn_logits_soft_cap: float | None = None,
) -> Value:
    """Return the values, weighted by how well their keys fit: (steps, heads, size)."""
    del flash_attention
    if bias is not None or attn_logits_soft_cap is not None:
        raise ValueError("bias and attn_logits_soft_cap aren't supported")
    factor = (query.shape[-1] or 1) ** -0.5 if scale is None else scale
    scores = ops.einsum("tnh,snh->nts", query, key) * factor
    kept: Value | None = None
    if mask is not None:
        if not isinstance(mask, Value):
            raise TypeError("its mask isn't a tensor")
        kept = ops.cast(mask, "bool")
    if is_causal:
        steps, others = scores.shape[-2:]
        if steps is None or others is None:
            raise ValueError("its steps have no known number")
        triangle = ops.constant(np.tri(steps, others, dtype=np.bool_))
        kept = triangle if kept is None else ops.logical_and(kept, triangle)
    if kept is not None:
        scores = ops.where(kept, scores, -0.7 * 3.4028234663852886e38)
    return ops.einsum("nts,snh->tnh", ops.softmax(scores), value)


@operation("Unfold")
def unfold(
    x: Value,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Value:
    """Return patches of channels-first images as columns."""
    size, step = _spatial(kernel_size, 2), _spatial(stride, 2)
    apart, border = _spatial(dilation, 2), _spatial(padding, 2)
    x = ops.pad(x, [(0, 0), *((b, b) for b in border)])
    taps = list(_taps(x[None], size, step, apart, first=2))
    channels, height, width = taps[0].shape[1:]
    if channels is None or height is None or width is None:
        raise ValueError("its images have no known size")
    y = ops.transpose(ops.concatenate(taps, 0), (1, 0, 2, 3))
    return ops.reshape(y, (channels * math.prod(size), height * width))


def _taps(
    x: Value,
    size: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    *,
    first: int,
) -> list[Value]:
    """Return what each place of a window meets, the spatial axes from *first* on."""
    result = []
    for tap in itertools.product(*map(range, size)):
        slices = []
        for axis, (t, k, s, d) in enumerate(
            zip(tap, size, strides, dilation, strict=True)
        ):
            length = x.shape[first + axis]
            if length is None:
                raise ValueError("its images have no known size")
            count = (length - (k - 1) * d - 1) // s + 1
            slices.append(slice(t * d, t * d + s * (count - 1) + 1, s))
        result.append(x[(*(slice(None),) * first, *slices)])
    return result


@operation("ExtractPatches")
def extract_patches(  # noqa: PLR0913, PLR0917 - Keras has that many arguments
    images: Value,
    size: Sizes,
    strides: Sizes | None = None,
    dilation_rate: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
) -> Value:
    """Return each window's elements as the channels of one pixel."""
    rank = len(images.shape) - 1
    window = _spatial(size, rank)
    steps = window if strides is None else _spatial(strides, rank)

    def patches(x: Value) -> Value:
        channels = x.shape[-1] or 0
        count = math.prod(window) * channels
        kernel = np.eye(count, dtype=np.float32).reshape(*window, channels, count)
        return conv(x, kernel, steps, padding, None, dilation_rate)

    return _in_last(patches, images, data_format)


@operation("ExtractSequences")
def extract_sequences(x: Value, sequence_length: int, sequence_stride: int) -> Value:
    """Return overlapping parts of the last axis."""
    size = x.shape[-1]
    if size is None:
        raise ValueError("its last axis has no known length")
    starts = np.arange(0, size - sequence_length + 1, sequence_stride)
    index = starts[:, None] + np.arange(sequence_length)
    return ops.take(x, ops.constant(index.astype(np.int32)), len(x.shape) - 1)


@operation("DepthToSpace")
def depth_to_space(
    x: Value, block_size: int, data_format: str | None = "channels_last"
) -> Value:
    """Return channels as blocks of pixels."""

    def spread(image: Value) -> Value:
        height, width, channels = image.shape
        if height is None or width is None or channels is None:
            raise ValueError("its images have no known size")
        b, rest = block_size, channels // block_size**2
        y = ops.reshape(image, (height, width, b, b, rest))
        y = ops.transpose(y, (0, 2, 1, 3, 4))
        return ops.reshape(y, (height * b, width * b, rest))

    return _in_last(spread, x, data_format)


@operation("SpaceToDepth")
def space_to_depth(
    x: Value, block_size: int, data_format: str | None = "channels_last"
) -> Value:
    """Return blocks of pixels as channels."""

    def gathered(image: Value) -> Value:
        height, width, channels = image.shape
        if height is None or width is None or channels is None:
            raise ValueError("its images have no known size")
        b = block_size
        y = ops.reshape(image, (height // b, b, width // b, b, channels))
        y = ops.transpose(y, (0, 2, 1, 3, 4))
        return ops.reshape(y, (height // b, width // b, channels * b * b))

    return _in_last(gathered, x, data_format)


@operation("Resize")
def resize(  # noqa: PLR0913, PLR0917 - Keras has that many arguments
    images: Value,
    size: Sequence[int],
    interpolation: str = "bilinear",
    antialias: bool = False,  # noqa: FBT001, FBT002 - Keras' own name
    crop_to_aspect_ratio: object = False,  # noqa: FBT002 - Keras' own name
    pad_to_aspect_ratio: object = False,  # noqa: FBT002 - Keras' own name
    fill_mode: object = None,
    fill_value: object = None,
    data_format: str | None = None,
) -> Value:
    """Return interpolated images."""
    del fill_mode, fill_value
    if crop_to_aspect_ratio or pad_to_aspect_ratio or interpolation not in METHODS:
        raise ValueError(
            f"the interpolation {quoted(interpolation)}, or keeping the aspect ratio, "
            "isn't supported: use the layer Resizing"
        )
    method = METHODS[interpolation]
    smooth = antialias and method != "nearest"
    return _in_last(
        lambda x: ops.resize(x, (0, 1), sizes=size, method=method, antialias=smooth),
        images,
        data_format,
    )


@operation("RGBToGrayscale")
def rgb_to_grayscale(images: Value, data_format: str | None = None) -> Value:
    """Return the lightness of colours."""
    shares = ops.constant(np.array([[0.2989], [0.5870], [0.1140]], np.float32))
    return _in_last(lambda x: ops.matmul(x, shares), images, data_format)


@operation("RGBToHSV")
def rgb_to_hsv(images: Value, data_format: str | None = None) -> Value:
    """Return hue, saturation and value of colours."""

    def hue(r: Expr, g: Expr, b: Expr) -> Expr:
        top, low = call("max", call("max", r, g), b), call("min", call("min", r, g), b)
        norm = 1.0 / ((top - low) * 6.0)
        angle = where(
            call("eq", top, r),
            norm * (g - b),
            where(call("eq", top, g), norm * (b - r) + 2 / 6, norm * (r - g) + 4 / 6),
        )
        angle = where(top - low > 0.0, angle, 0.0)
        return where(angle < 0.0, angle + 1.0, angle)

    def saturation(r: Expr, g: Expr, b: Expr) -> Expr:
        top, low = call("max", call("max", r, g), b), call("min", call("min", r, g), b)
        return where(top > 0.0, (top - low) / top, 0.0)

    def converted(x: Value) -> Value:
        channels = [x[..., i] for i in range(3)]
        top = ops.max(x, -1)
        parts = [elementwise(hue, *channels), elementwise(saturation, *channels), top]
        return ops.stack(parts, -1)

    return _in_last(converted, images, data_format)


@operation("HSVToRGB")
def hsv_to_rgb(images: Value, data_format: str | None = None) -> Value:
    """Return colours of a hue, a saturation and a value."""

    def shade(shift: float, turn: float) -> Callable[[Expr, Expr, Expr], Expr]:
        def formula(h: Expr, s: Expr, v: Expr) -> Expr:
            ramp = call("abs", h * 6.0 - shift) * turn + (-1.0 if turn > 0 else 2.0)
            ramp = call("min", call("max", ramp, 0.0), 1.0)
            return ((ramp - 1.0) * s + 1.0) * v

        return formula

    def converted(x: Value) -> Value:
        channels = [x[..., i] for i in range(3)]
        shades = (shade(3.0, 1.0), shade(2.0, -1.0), shade(4.0, -1.0))
        return ops.stack([elementwise(each, *channels) for each in shades], -1)

    return _in_last(converted, images, data_format)


@operation("SobelEdges")
def sobel_edges(images: Value, data_format: str | None = None) -> Value:
    """Return the slopes down and to the right, along a new last axis."""
    down = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], np.float32)

    def slope(kernel: Array) -> Value:
        def edges(x: Value) -> Value:
            whole = np.repeat(kernel[:, :, None, None], x.shape[-1] or 0, axis=2)
            return depthwise_conv(x, whole, padding="same")

        return _in_last(edges, images, data_format)

    return ops.stack([slope(down), slope(down.T)], -1)


def _margins(
    size: int | None, before: int | None, after: int | None, target: int | None
) -> tuple[int, int]:
    """Return two margins of which one may follow from the size that results."""
    if before is not None and after is not None:
        return before, after
    if size is None or target is None:
        raise ValueError("its margins aren't known")
    spare = abs(target - size)
    if before is not None:
        return before, spare - before
    return (spare - (after or 0), after or 0)


@operation("PadImages")
def pad_images(  # noqa: PLR0913, PLR0917 - Keras has that many arguments
    images: Value,
    top_padding: int | None = None,
    left_padding: int | None = None,
    bottom_padding: int | None = None,
    right_padding: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> Value:
    """Return images with margins of 0."""

    def padded(x: Value) -> Value:
        rows = _margins(x.shape[0], top_padding, bottom_padding, target_height)
        columns = _margins(x.shape[1], left_padding, right_padding, target_width)
        return ops.pad(x, [rows, columns, (0, 0)])

    return _in_last(padded, images, data_format)


@operation("CropImages")
def crop_images(  # noqa: PLR0913, PLR0917 - Keras has that many arguments
    images: Value,
    top_cropping: int | None = None,
    left_cropping: int | None = None,
    bottom_cropping: int | None = None,
    right_cropping: int | None = None,
    target_height: int | None = None,
    target_width: int | None = None,
    data_format: str | None = None,
) -> Value:
    """Return images without margins."""

    def cut(x: Value) -> Value:
        top, bottom = _margins(x.shape[0], top_cropping, bottom_cropping, target_height)
        left, right = _margins(x.shape[1], left_cropping, right_cropping, target_width)
        return x[top : -bottom or None, left : -right or None]

    return _in_last(cut, images, data_format)
