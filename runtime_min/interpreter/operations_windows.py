"""Operations of layers and images: convolution, pooling, norms, colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from keramos.runtime_min.interpreter.activations import softmax
from keramos.runtime_min.interpreter.layer import Array
from keramos.runtime_min.interpreter.operation import operation
from keramos.runtime_min.interpreter.resampling import METHODS, resampled
from keramos.runtime_min.interpreter.windows import (
    from_channels_last,
    padded,
    taps,
    to_channels_last,
)

Sizes = int | Sequence[int]


def _each(value: Any, rank: int) -> tuple[int, ...]:
    """Return one number per axis."""
    return (value,) * rank if isinstance(value, int) else tuple(value)


def _last(
    function: Callable[[Array], Array], x: Array, data_format: str | None
) -> Array:
    """Return what *function* of channels-last images gives."""
    first = data_format == "channels_first"
    y = function(to_channels_last(x, channels_first=first))
    return from_channels_last(y, channels_first=first)


def _pooled(
    x: Array, size: Sizes, strides: Any, padding: str, *, largest: bool
) -> Array:
    """Return the largest elements of windows, or the means of those inside."""
    rank = x.ndim - 2
    window = _each(size, rank)
    steps = window if strides is None else _each(strides, rank)
    ones = (1,) * rank
    fill = -np.inf if largest else 0.0
    wide = padded(x, padding, window, steps, ones, fill=fill)
    met = [w for _, w in taps(wide, window, steps, ones)]
    if largest:
        return np.asarray(np.max(met, 0))
    inside = padded(np.ones_like(x), padding, window, steps, ones)
    counts = [w for _, w in taps(inside, window, steps, ones)]
    return np.asarray(np.sum(met, 0) / np.sum(counts, 0))


@operation("MaxPool")
def max_pool(
    inputs: Array,
    pool_size: Sizes,
    strides: Any = None,
    padding: str = "valid",
    data_format: Any = None,
) -> Array:
    """Return the largest elements of windows."""
    return _last(
        lambda x: _pooled(x, pool_size, strides, padding, largest=True),
        inputs,
        data_format,
    )


@operation("AveragePool")
def average_pool(
    inputs: Array,
    pool_size: Sizes,
    strides: Any = None,
    padding: str = "valid",
    data_format: Any = None,
) -> Array:
    """Return the means of windows."""
    return _last(
        lambda x: _pooled(x, pool_size, strides, padding, largest=False),
        inputs,
        data_format,
    )


def _adaptive(
    x: Array, output_size: Sizes, function: Callable[..., Any], data_format: Any
) -> Array:
    """Return so many windows along each axis, each as one element."""

    def pooled(y: Array) -> Array:
        for axis, count in enumerate(_each(output_size, y.ndim - 2), 1):
            size = y.shape[axis]
            parts = []
            for i in range(count):
                bounds = np.arange(i * size // count, -(-(i + 1) * size // count))
                parts.append(function(np.take(y, bounds, axis), axis, keepdims=True))
            y = np.concatenate(parts, axis)
        return y

    return _last(pooled, x, data_format)


@operation("AdaptiveMaxPool")
def adaptive_max_pool(
    inputs: Array, output_size: Sizes, data_format: Any = None
) -> Array:
    """Return the largest elements of so many windows."""
    return _adaptive(inputs, output_size, np.max, data_format)


@operation("AdaptiveAveragePool")
def adaptive_average_pool(
    inputs: Array, output_size: Sizes, data_format: Any = None
) -> Array:
    """Return the means of so many windows."""
    return _adaptive(inputs, output_size, np.mean, data_format)


@operation("GaussianBlur")
def gaussian_blur(
    images: Array,
    kernel_size: Sequence[int] = (3, 3),
    sigma: Sequence[float] = (1.0, 1.0),
    data_format: Any = None,
) -> Array:
    """Return images smoothed along rows and along columns."""

    def blurred(x: Array) -> Array:
        # The first numbers are those of the columns' axis.
        for axis, size, deviation in zip((2, 1), kernel_size, sigma, strict=True):
            distance = np.arange(size) - (size - 1) / 2
            bell = np.exp(-0.5 * (distance / deviation) ** 2)
            pads = [(0, 0)] * x.ndim
            pads[axis] = ((size - 1) // 2, size // 2)
            wide, length = np.pad(x, pads), x.shape[axis]
            x = sum(
                share * np.take(wide, np.arange(length) + i, axis)
                for i, share in enumerate(bell / bell.sum())
            )
        return x

    return _last(blurred, images, data_format)


@operation("Conv")
def conv(
    inputs: Array,
    kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Sizes = 1,
) -> Array:
    """Return a convolution; a kernel of fewer channels serves groups of them."""
    weights = np.asarray(kernel)

    def convolved(x: Array) -> Array:
        rank = x.ndim - 2
        size = weights.shape[:rank]
        steps, apart = _each(strides, rank), _each(dilation_rate, rank)
        wide = padded(x, padding, size, steps, apart)
        groups = x.shape[-1] // weights.shape[-2]
        parts = []
        for group in range(groups):
            depth, filters = weights.shape[-2], weights.shape[-1] // groups
            mine = wide[..., group * depth : (group + 1) * depth]
            own = weights[..., group * filters : (group + 1) * filters]
            parts.append(sum(w @ own[tap] for tap, w in taps(mine, size, steps, apart)))
        return np.concatenate(parts, -1)

    return _last(convolved, inputs, data_format)


@operation("DepthwiseConv")
def depthwise_conv(
    inputs: Array,
    kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Sizes = 1,
) -> Array:
    """Return a convolution of every channel by itself."""
    weights = np.asarray(kernel)

    def convolved(x: Array) -> Array:
        rank = x.ndim - 2
        size = weights.shape[:rank]
        steps, apart = _each(strides, rank), _each(dilation_rate, rank)
        wide = padded(x, padding, size, steps, apart)
        y = sum(
            w[..., None] * weights[tap] for tap, w in taps(wide, size, steps, apart)
        )
        whole = np.asarray(y)
        filters = whole.shape[-2] * whole.shape[-1]
        return whole.reshape(*whole.shape[:-2], filters)

    return _last(convolved, inputs, data_format)


@operation("SeparableConv")
def separable_conv(
    inputs: Array,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: Any = None,
    dilation_rate: Sizes = 1,
) -> Array:
    """Return a depthwise convolution, its channels mixed."""
    y = depthwise_conv(
        inputs, depthwise_kernel, strides, padding, data_format, dilation_rate
    )
    matrix = np.asarray(pointwise_kernel).reshape(np.shape(pointwise_kernel)[-2:])
    return _last(lambda x: x @ matrix, y, data_format)


def _along(numbers: Any, axis: int, rank: int) -> Array:
    """Return one number per element of an axis, ready to broadcast."""
    shape = [1] * rank
    shape[axis] = -1
    return np.asarray(numbers).reshape(shape)


@operation("BatchNorm")
def batch_norm(
    x: Array,
    mean: Any,
    variance: Any,
    offset: Any = None,
    scale: Any = None,
    axis: int = -1,
    epsilon: float = 1e-3,
) -> Array:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset."""
    rank = x.ndim
    y = x - _along(mean, axis, rank)
    y = y / np.sqrt(_along(variance, axis, rank) + epsilon)
    if scale is not None:
        y = y * _along(scale, axis, rank)
    return y if offset is None else y + _along(offset, axis, rank)


def _scaled(numbers: Any, x: Array, axes: tuple[int, ...]) -> Array:
    """Return parameters of the normalized axes, ready to broadcast."""
    places = [axis % x.ndim for axis in axes]
    shape = [size if axis in places else 1 for axis, size in enumerate(x.shape)]
    return np.asarray(numbers).reshape(shape)


@operation("RMSNorm")
def rms_norm(x: Array, scale: Any = None, axis: Any = -1, epsilon: Any = None) -> Array:
    """X / sqrt(mean(x^2) + epsilon)."""
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    least = 1e-7 if epsilon is None else epsilon
    y = x / np.sqrt(np.mean(x * x, axes, keepdims=True) + least)
    return np.asarray(y if scale is None else y * _scaled(scale, x, axes))


@operation("LayerNorm")
def layer_norm(
    x: Array,
    gamma: Any = None,
    beta: Any = None,
    axis: Any = -1,
    epsilon: Any = None,
    *,
    rms_scaling: bool = False,
) -> Array:
    """(x - mean) / sqrt(variance + epsilon)."""
    if rms_scaling:
        raise ValueError("rms_scaling isn't supported")
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    least = 1e-7 if epsilon is None else epsilon
    y = x - np.mean(x, axes, keepdims=True)
    y = y / np.sqrt(np.var(x, axes, keepdims=True) + least)
    y = y if gamma is None else y * _scaled(gamma, x, axes)
    return np.asarray(y if beta is None else y + _scaled(beta, x, axes))


@operation("MultiHot")
def multi_hot(
    inputs: Array,
    num_classes: int,
    axis: int = -1,
    dtype: object = None,
    sparse: object = None,
    **options: object,
) -> Array:
    """1 for every class that a row names."""
    del dtype, sparse, options
    if axis != -1:
        raise ValueError(f"the axis {axis} isn't -1")
    hits: Array = np.asarray(inputs)[..., None] == np.arange(num_classes)
    # Keras looks along axis 1, however many there are.
    return np.asarray(hits.any(1), np.float64)


@operation("DotProductAttention")
def dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    bias: Any = None,
    mask: Any = None,
    scale: Any = None,
    *,
    is_causal: bool = False,
    flash_attention: Any = None,
    attn_logits_soft_cap: Any = None,
) -> Any:
    """softmax(q . k / sqrt(size)) . v; axes are batch, steps, heads, size."""
    del flash_attention
    if bias is not None or attn_logits_soft_cap is not None:
        raise ValueError("bias and attn_logits_soft_cap aren't supported")
    factor = 1 / np.sqrt(query.shape[-1]) if scale is None else scale
    scores = np.einsum("btnh,bsnh->bnts", query, key) * factor
    kept = np.ones(scores.shape, np.bool_)
    if mask is not None:
        kept &= np.asarray(mask, np.bool_)
    if is_causal:
        kept &= np.tri(*scores.shape[-2:], dtype=np.bool_)
    lowest = -0.7 * float(np.finfo(np.float32).max)
    shares = softmax(np.where(kept, scores, lowest), -1)
    return np.einsum("bnts,bsnh->btnh", shares, value)


@operation("Unfold")
def unfold(
    x: Array,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Array:
    """Return patches of channels-first images as columns."""
    size, border = _each(kernel_size, 2), _each(padding, 2)
    wide = np.pad(x, [(0, 0), (0, 0), *((b, b) for b in border)])
    image = np.moveaxis(wide, 1, -1)
    met = [w for _, w in taps(image, size, _each(stride, 2), _each(dilation, 2))]
    stacked = np.stack([np.moveaxis(w, -1, 1) for w in met], 2)
    batch, channels, count, height, width = stacked.shape
    return stacked.reshape(batch, channels * count, height * width)


@operation("ExtractPatches")
def extract_patches(
    images: Array,
    size: Sizes,
    strides: Any = None,
    dilation_rate: Sizes = 1,
    padding: str = "valid",
    data_format: Any = None,
) -> Array:
    """Return windows as the channels of pixels."""

    def patches(x: Array) -> Array:
        rank = x.ndim - 2
        window = _each(size, rank)
        steps = window if strides is None else _each(strides, rank)
        apart = _each(dilation_rate, rank)
        wide = padded(x, padding, window, steps, apart)
        return np.concatenate([w for _, w in taps(wide, window, steps, apart)], -1)

    return _last(patches, images, data_format)


@operation("ExtractSequences")
def extract_sequences(x: Array, sequence_length: int, sequence_stride: int) -> Array:
    """Return overlapping parts of the last axis."""
    starts = range(0, x.shape[-1] - sequence_length + 1, sequence_stride)
    return np.stack([x[..., i : i + sequence_length] for i in starts], -2)


@operation("Resize")
def resize(
    images: Array,
    size: Sequence[int],
    interpolation: str = "bilinear",
    *,
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_mode: Any = None,
    fill_value: Any = None,
    data_format: Any = None,
) -> Array:
    """Return the images, resampled to another size."""
    del fill_mode, fill_value
    if crop_to_aspect_ratio or pad_to_aspect_ratio or interpolation not in METHODS:
        raise ValueError("this way to resize isn't supported: use the layer Resizing")
    return _last(
        lambda x: resampled(x, (1, 2), size, interpolation, antialias=antialias),
        images,
        data_format,
    )


@operation("RGBToGrayscale")
def rgb_to_grayscale(images: Array, data_format: Any = None) -> Array:
    """Return 0.2989 R + 0.587 G + 0.114 B."""
    shares = np.array([0.2989, 0.587, 0.114])
    return _last(lambda x: (x @ shares)[..., None], images, data_format)


@operation("RGBToHSV")
def rgb_to_hsv(images: Array, data_format: Any = None) -> Array:
    """Return hue, saturation and value."""

    def converted(x: Array) -> Array:
        red, green, blue = np.moveaxis(x, -1, 0)
        top, spread = x.max(-1), np.ptp(x, -1)
        safe = np.where(spread > 0, spread, 1)
        turns = np.select(
            [top == red, top == green],
            [(green - blue) / safe, (blue - red) / safe + 2],
            (red - green) / safe + 4,
        )
        hue = np.where(spread > 0, turns / 6 % 1, 0)
        saturation = np.where(top > 0, spread / np.where(top > 0, top, 1), 0)
        return np.stack([hue, saturation, top], -1)

    return _last(converted, images, data_format)


@operation("HSVToRGB")
def hsv_to_rgb(images: Array, data_format: Any = None) -> Array:
    """Return red, green and blue."""

    def converted(x: Array) -> Array:
        hue, saturation, top = np.moveaxis(x, -1, 0)
        ramps = [
            np.abs(hue * 6 - 3) - 1,
            2 - np.abs(hue * 6 - 2),
            2 - np.abs(hue * 6 - 4),
        ]
        shades = [(np.clip(ramp, 0, 1) - 1) * saturation + 1 for ramp in ramps]
        return np.stack([shade * top for shade in shades], -1)

    return _last(converted, images, data_format)


@operation("SobelEdges")
def sobel_edges(images: Array, data_format: Any = None) -> Array:
    """Return the slopes down and to the right, zeros being outside."""

    def slope(image: Array, weights: Array) -> Array:
        height, width = image.shape[1:3]
        x = np.pad(image, [(0, 0), (1, 1), (1, 1), (0, 0)])
        total = np.zeros_like(image)
        for i, j in product(range(3), range(3)):
            total += weights[i, j] * x[:, i : i + height, j : j + width]
        return total

    smooth, rising = np.array([1, 2, 1]), np.array([-1, 0, 1])
    slopes = [
        _last(partial(slope, weights=weights), images, data_format)
        for weights in (np.outer(rising, smooth), np.outer(smooth, rising))
    ]
    return np.stack(slopes, -1)


def _margins(size: int, before: Any, after: Any, target: Any) -> tuple[int, int]:
    """Return two margins, of which one may follow from the size that results."""
    if before is None:
        before = abs(target - size) - (after or 0)
    if after is None:
        after = abs(target - size) - before
    return int(before), int(after)


@operation("PadImages")
def pad_images(
    images: Array,
    top_padding: Any = None,
    left_padding: Any = None,
    bottom_padding: Any = None,
    right_padding: Any = None,
    target_height: Any = None,
    target_width: Any = None,
    data_format: Any = None,
) -> Array:
    """Return images with margins of 0."""

    def wide(x: Array) -> Array:
        rows = _margins(x.shape[1], top_padding, bottom_padding, target_height)
        columns = _margins(x.shape[2], left_padding, right_padding, target_width)
        return np.pad(x, [(0, 0), rows, columns, (0, 0)])

    return _last(wide, images, data_format)


@operation("CropImages")
def crop_images(
    images: Array,
    top_cropping: Any = None,
    left_cropping: Any = None,
    bottom_cropping: Any = None,
    right_cropping: Any = None,
    target_height: Any = None,
    target_width: Any = None,
    data_format: Any = None,
) -> Array:
    """Return images without margins."""

    def cut(x: Array) -> Array:
        height, width = x.shape[1:3]
        top, bottom = _margins(height, top_cropping, bottom_cropping, target_height)
        left, right = _margins(width, left_cropping, right_cropping, target_width)
        return x[:, top : height - bottom, left : width - right]

    return _last(cut, images, data_format)
