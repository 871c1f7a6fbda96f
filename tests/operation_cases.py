"""Bare operations of Keras, one model each: held to Keras by two tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

Array = NDArray[Any]
# Keras is untyped.
Tensor = Any

RANDOM = np.random.default_rng(3)
KERNEL = RANDOM.normal(size=(3, 2, 3, 4)).astype(np.float32)
POINTWISE = RANDOM.normal(size=(1, 1, 12, 2)).astype(np.float32)
ROW = RANDOM.normal(size=3).astype(np.float32)
POSITIVE = np.abs(ROW) + 0.5


def gap(x: Tensor) -> Tensor:
    """Return x with NaN in place of what is below 0."""
    return ops.where(x < 0, np.nan, x)


# On samples of (4, 6): some numbers.
SEQUENCES: dict[str, Callable[[Tensor], Tensor]] = {
    "angle": ops.angle,
    "arccos": lambda x: ops.arccos(ops.tanh(x)),
    "arccosh": lambda x: ops.arccosh(ops.abs(x) + 1),
    "arcsin": lambda x: ops.arcsin(ops.tanh(x)),
    "arcsinh": lambda x: ops.arcsinh(x * 10),
    "arctan2": lambda x: ops.arctan2(x, x[:, ::-1]),
    "arctanh": lambda x: ops.arctanh(ops.tanh(x) * 0.9),
    "argsort": lambda x: ops.argsort(x, axis=1),
    "array_split": lambda x: ops.array_split(x, 4, axis=2),
    "average": lambda x: ops.average(x, axis=1, weights=np.array([1.0, 2, 3, 4])),
    "cbrt": ops.cbrt,
    "cdist": lambda x: ops.cdist(x, x * 2),
    "cross": lambda x: ops.cross(x[..., :3], x[..., 3:]),
    "cumprod": lambda x: ops.cumprod(x, axis=1),
    "diagonal": lambda x: ops.diagonal(x, 1, axis1=1, axis2=2),
    "diff": lambda x: ops.diff(x, 2, axis=1),
    "digitize": lambda x: ops.digitize(x, np.array([-0.5, 0.0, 1.0])),
    "dstack": lambda x: ops.dstack([x, x]),
    "dsplit": lambda x: ops.dsplit(x, 2),
    "erfc": ops.erfc,
    "extract_sequences": lambda x: ops.extract_sequences(x, 3, 2),
    "fliplr": ops.fliplr,
    "fmax": lambda x: ops.fmax(gap(x), x[:, ::-1]),
    "fmin": lambda x: ops.fmin(gap(x), x[:, ::-1]),
    "fmod": lambda x: ops.fmod(x * 5, 1.5),
    "heaviside": lambda x: ops.heaviside(ops.round(x), x[:, ::-1]),
    "hsplit": lambda x: ops.hsplit(x, 2),
    "hypot": lambda x: ops.hypot(x, x[:, ::-1]),
    "inner": lambda x: ops.inner(x, KERNEL[0, 0, 0:2, :].repeat(2)[:6]),
    "isclose": lambda x: ops.isclose(x, ops.round(x, 1), atol=0.02),
    "isin": lambda x: ops.isin(ops.round(x), np.array([0.0, 1.0])),
    "isposinf": lambda x: ops.isposinf(1 / ops.relu(x)),
    "isneginf": lambda x: ops.isneginf(-1 / ops.relu(x)),
    "isreal": ops.isreal,
    "ldexp": lambda x: ops.ldexp(x, ops.cast(x * 2, "int32")),
    "logaddexp": lambda x: ops.logaddexp(x, x[:, ::-1]),
    "logaddexp2": lambda x: ops.logaddexp2(x * 30, x[:, ::-1]),
    "median": lambda x: ops.median(x, axis=1, keepdims=True),
    "median of all": lambda x: ops.median(x, axis=(1, 2)),
    "nanargmax": lambda x: ops.nanargmax(gap(x), axis=-1),
    "nanargmin": lambda x: ops.nanargmin(gap(x), axis=-1),
    "nancumprod": lambda x: ops.nancumprod(gap(x), axis=1),
    "nancumsum": lambda x: ops.nancumsum(gap(x), axis=1),
    "nanmax": lambda x: ops.nanmax(gap(x), axis=-1),
    "nanmean": lambda x: ops.nanmean(gap(x), axis=-1),
    "nanmin": lambda x: ops.nanmin(gap(x), axis=-1),
    "nanprod": lambda x: ops.nanprod(gap(x), axis=-1),
    "nanstd": lambda x: ops.nanstd(gap(x), axis=-1),
    "nansum": lambda x: ops.nansum(gap(x), axis=-1),
    "nanvar": lambda x: ops.nanvar(gap(x), axis=-1),
    "pad reflect": lambda x: ops.pad(x, [[0, 0], [2, 1], [0, 3]], mode="reflect"),
    "pad symmetric": lambda x: ops.pad(x, [[0, 0], [2, 1], [0, 3]], mode="symmetric"),
    "percentile": lambda x: ops.percentile(x, 30, axis=-1),
    "percentile below": lambda x: ops.percentile(x, 30, axis=1, method="lower"),
    "real": lambda x: ops.real(x) + ops.imag(x) + ops.conj(x),
    "rfft": ops.rfft,
    "rfft of fewer": lambda x: ops.rfft(x, fft_length=4),
    "rfft of more": lambda x: ops.rfft(x, fft_length=8),
    "roll": lambda x: ops.roll(x, (1, -8), axis=(1, 2)),
    "rot90": lambda x: ops.rot90(x, 1, axes=(1, 2)),
    "searchsorted": lambda x: ops.searchsorted(np.array([-1.0, 0.0, 2.0]), x),
    "select": lambda x: ops.select([x > 1, x > 0], [x * 2, x * 3], 7),
    "signbit": ops.signbit,
    "sinc": lambda x: ops.sinc(ops.round(x, 1)),
    "slice": lambda x: ops.slice(x, (0, 1, 2), (-1, 2, 3)),
    "sort": lambda x: ops.sort(ops.round(x), axis=1),
    "take_along_axis": lambda x: ops.take_along_axis(x, ops.argsort(x, -1), -1),
    "take_along_axis of constants": lambda x: ops.take_along_axis(
        x, np.array([[[0, -1]]] * 1).repeat(4, 1), -1
    ),
    "tensordot": lambda x: ops.tensordot(x, np.ones((6, 2), "float32"), axes=1),
    "top_k": lambda x: ops.top_k(ops.cast(x * 2, "int32"), 3),
    "trace": lambda x: ops.trace(x, axis1=1, axis2=2),
    "trapezoid": lambda x: ops.trapezoid(x, dx=0.5, axis=1),
    "layer_normalization": lambda x: ops.layer_normalization(x, axis=-1),
    "rms_normalization": lambda x: ops.rms_normalization(x, axis=-1),
    "multi_hot": lambda x: ops.multi_hot(ops.cast(ops.abs(x), "int32"), 5),
}
# On samples of (6, 7, 3): images of some colours.
IMAGES: dict[str, Callable[[Tensor], Tensor]] = {
    "adaptive_average_pool": lambda x: ops.adaptive_average_pool(x, (4, 3)),
    "adaptive_max_pool": lambda x: ops.adaptive_max_pool(x, (2, 5)),
    "average_pool": lambda x: ops.average_pool(x, (2, 3), 2, "same"),
    "batch_normalization": lambda x: ops.batch_normalization(
        x, ROW, POSITIVE, -1, ROW, POSITIVE
    ),
    "conv": lambda x: ops.conv(x, KERNEL, 2, "same"),
    "crop_images": lambda x: ops.image.crop_images(
        x, top_cropping=1, left_cropping=2, target_height=3, target_width=4
    ),
    "depth_to_space": lambda x: ops.depth_to_space(
        ops.concatenate([x, x, x, x], -1), 2
    ),
    "depthwise_conv": lambda x: ops.depthwise_conv(x, KERNEL, padding="same"),
    "dot_product_attention": lambda x: ops.dot_product_attention(
        x, x * 2, x + 1, is_causal=True
    ),
    "extract_patches": lambda x: ops.image.extract_patches(x, (2, 3), 2),
    "gaussian_blur": lambda x: ops.image.gaussian_blur(x, (3, 5), (0.8, 1.5)),
    "hsv_to_rgb": lambda x: ops.image.hsv_to_rgb(ops.sigmoid(x)),
    "max_pool": lambda x: ops.max_pool(x, 3, 2, "same"),
    "pad_images": lambda x: ops.image.pad_images(
        x, top_padding=1, left_padding=2, target_height=9, target_width=10
    ),
    "resize": lambda x: ops.image.resize(x, (4, 9), "bicubic", antialias=True),
    "rgb_to_grayscale": ops.image.rgb_to_grayscale,
    "rgb_to_hsv": lambda x: ops.image.rgb_to_hsv(ops.sigmoid(x)),
    "separable_conv": lambda x: ops.separable_conv(x, KERNEL, POINTWISE),
    "sobel_edges": ops.image.sobel_edges,
    "space_to_depth": lambda x: ops.space_to_depth(x[:, :, :6], 2),
    "unfold": lambda x: ops.unfold(x, 2, padding=1, stride=2),
}


def operation_model(name: str) -> tuple[Any, Array]:
    """Return the model of a case, and inputs for it."""
    shape = (4, 6) if name in SEQUENCES else (6, 7, 3)
    x = keras.Input(shape)
    model = keras.Model(x, (SEQUENCES | IMAGES)[name](x))
    numbers = np.random.default_rng(len(name)).normal(size=(3, *shape))
    return model, numbers.astype(np.float32)
