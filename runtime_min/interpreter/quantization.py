"""Weights that Keras 3 stored in few bits, and inputs that it rounds as it goes.

Modes are int8 (one scale per output), int4 (two numbers per byte; one scale per output,
or one scale and zero per block of inputs), float8 (values rounded to e4m3), and gptq
and awq (a row of codes per output, with scales and zeros per group of inputs).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array

Axes = int | tuple[int, ...]

MODES = ("int8", "int4", "float8", "gptq", "awq")
WHOLE_LIMIT = 127.0
EPSILON = 1e-7

# float8 e4m3fn: three bits of mantissa, exponents from -6, the largest value 448.
MANTISSA_BITS = 3
LEAST_EXPONENT = -6
LARGEST = 448.0


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a layer's weights are stored; *limit* is what inputs are rounded to."""

    mode: str
    is_grouped: bool
    limit: float | None
    bits: int = 4


def quantization_of(definition: Definition) -> Quantization | None:
    """Return a layer's quantization, None for one that computes in floating point."""
    policy = definition.option("dtype", None)
    text = policy
    if isinstance(policy, Mapping):
        config = policy.get("config") or {}
        text = config.get("mode") or config.get("name") or ""
    mode, _, rest = str(text).partition("_from_")[0].partition("/")
    if mode not in (*MODES, "ternary"):
        return None
    if mode not in MODES:
        raise definition.refusal(
            f"its weights are quantized as {mode!r}",
            f"use one of {', '.join(MODES)}, or no quantization",
        )
    block = rest.split("/")[-1]
    is_grouped = mode == "int4" and block not in ("", "-1", "None")
    bits = int(rest.split("/")[0]) if mode == "gptq" and rest[:1].isdigit() else 4
    return Quantization(mode, is_grouped, _input_limit(definition, mode), bits)


def _input_limit(definition: Definition, mode: str) -> float | None:
    """Return the largest number that inputs are rounded to, None for no rounding."""
    options = definition.option("quantization_config", None)
    if not isinstance(options, Mapping):
        return WHOLE_LIMIT if mode == "int8" else None
    quantizer = (options.get("config") or {}).get("activation_quantizer")
    if not isinstance(quantizer, Mapping):
        return None
    if quantizer.get("class_name") != "AbsMaxQuantizer":
        raise definition.refusal(
            f"its inputs are quantized by {quantizer.get('class_name')!r}",
            "use AbsMaxQuantizer",
        )
    bounds = (quantizer.get("config") or {}).get("value_range") or [0, WHOLE_LIMIT]
    return float(bounds[1])


def rounded_inputs(x: Array, axes: Axes, limit: float | None) -> Array:
    """Return *x* as whole multiples of its largest element / *limit* along *axes*."""
    if limit is None or x.size == 0:
        return x
    scale = limit / (np.max(np.abs(x), axes, keepdims=True) + EPSILON)
    return np.asarray(np.clip(np.round(x * scale), -limit, limit) / scale)


def rounded_to_float8(x: Array, scale: Array) -> Array:
    """Return the nearest multiples of *scale* times a float8 number."""
    y = np.clip(x / scale, -LARGEST, LARGEST)
    exponents = np.floor(np.log2(np.maximum(np.abs(y), 2.0**LEAST_EXPONENT)))
    steps = 2.0 ** (exponents - MANTISSA_BITS)
    return np.asarray((np.round(y / steps) * steps * scale).astype(x.dtype))


def unpacked_int4(packed: Array, length: int) -> Array:
    """Return the signed halves of every byte along the last axis, the low one first."""
    codes = packed.astype(np.int16) & 0xFF
    halves = np.stack([codes & 0xF, codes >> 4], -1)
    signed = (halves ^ 8) - 8
    return signed.reshape(*packed.shape[:-1], 2 * packed.shape[-1])[..., :length]


@dataclass(frozen=True, slots=True)
class StoredProduct:
    """A product with stored weights: prepare(x) . kernel / scale + bias."""

    kernel: Array
    bias: Array | None
    scale: Array | float
    prepare: Callable[[Array, Axes], Array]


def stored_product(
    definition: Definition,
    quantization: Quantization,
    columns: int,
    read_bias: Callable[[], Array | None],
) -> StoredProduct:
    """Return what a file holds of a product, in the order in which Keras saves it."""
    if quantization.mode in ("gptq", "awq"):
        return _calibrated_product(definition, quantization, read_bias())
    stored = definition.stored("kernel")
    bias = read_bias()
    limit = quantization.limit

    def rounded(x: Array, axes: Axes) -> Array:
        """Return the inputs as the layer rounds them."""
        return rounded_inputs(x, axes, limit)

    if quantization.mode == "float8":
        return _float8_product(definition, stored, bias)
    scale = definition.computed(definition.stored("kernel scale"))
    if quantization.mode == "int8":
        return StoredProduct(definition.computed(stored), bias, scale, rounded)
    values = unpacked_int4(stored, columns).astype(definition.dtype)
    if quantization.is_grouped:
        zero = definition.stored("kernel zero").astype(definition.dtype)
        groups = definition.stored("group index").astype(np.intp)
        kernel = (values - zero[groups]) * scale[groups]
        return StoredProduct(definition.computed(kernel), bias, 1.0, rounded)
    return StoredProduct(definition.computed(values / scale), bias, 1.0, rounded)


def _calibrated_product(
    definition: Definition, quantization: Quantization, bias: Array | None
) -> StoredProduct:
    """Return a product whose weights were chosen by example; inputs stay as they are.

    Weight (i, o) is ``(code - zero) * scale`` of output o and the group of input i;
    awq divides it by what it had multiplied input i's weights with.
    """
    codes = definition.stored("kernel").astype(np.int64)
    scale = definition.stored("kernel scale").astype(definition.dtype)
    zero = definition.stored("kernel zero").astype(np.int64)
    if zero.shape != scale.shape:
        raise definition.refusal(
            "the file lacks the zeros of its weights, which Keras 3.15 doesn't write "
            "to .keras files",
            "save the model as .h5",
        )
    outputs, inputs = len(scale), codes.shape[1]
    if quantization.bits == 4:
        rows = np.empty((2 * len(codes), inputs), np.int64)
        rows[0::2], rows[1::2] = codes % 16, codes // 16
        codes = rows[:outputs]
    factors = np.ones(inputs)
    if quantization.mode == "awq":
        factors = definition.stored("input scale").astype(definition.dtype)
    groups = definition.stored("group index").astype(np.intp)
    kernel = np.empty((inputs, outputs), definition.dtype)
    for i, group in enumerate(groups):
        kernel[i] = (codes[:, i] - zero[:, group]) * scale[:, group] / factors[i]
    return StoredProduct(definition.computed(kernel), bias, 1.0, lambda x, _: x)


def _float8_product(
    definition: Definition, stored: Array, bias: Array | None
) -> StoredProduct:
    """Return a product of values rounded to float8; histories steer the training."""
    inputs_scale = definition.computed(definition.stored("inputs scale"))
    definition.stored("inputs history")
    kernel_scale = definition.computed(definition.stored("kernel scale"))
    for name in ("kernel history", "gradient scale", "gradient history"):
        definition.stored(name)
    kernel = rounded_to_float8(definition.computed(stored), kernel_scale)

    def prepare(x: Array, axes: Axes) -> Array:
        """Return the inputs as the layer rounds them."""
        del axes
        return rounded_to_float8(x, inputs_scale)

    return StoredProduct(kernel, bias, 1.0, prepare)


def stored_table(definition: Definition, quantization: Quantization, width: int) -> Any:
    """Return a quantized table of embeddings in floating point."""
    stored = definition.stored("embeddings")
    scale = definition.stored("embeddings scale").astype(definition.dtype)
    if quantization.mode == "int8":
        return definition.computed(stored / scale[:, None])
    values = unpacked_int4(stored, width).astype(definition.dtype)
    if not quantization.is_grouped:
        return definition.computed(values / scale[:, None])
    zero = definition.stored("embeddings zero").astype(definition.dtype)
    groups = definition.stored("group index").astype(np.intp)
    return definition.computed((values - zero[:, groups]) * scale[:, groups])
