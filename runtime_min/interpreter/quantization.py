"""Weights that Keras 3 stored in few bits, and inputs that it rounds as it goes.

Modes are int8 (one scale per output), int4 (two numbers per byte; one scale per output,
or one scale and zero per block of inputs), and float8 (values rounded to e4m3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array

Axes = int | tuple[int, ...]

MODES = ("int8", "int4", "float8")
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


def quantization_of(definition: Definition) -> Quantization | None:
    """Return a layer's quantization, None for one that computes in floating point."""
    policy = definition.option("dtype", None)
    text = policy
    if isinstance(policy, Mapping):
        config = policy.get("config") or {}
        text = config.get("mode") or config.get("name") or ""
    mode, _, rest = str(text).partition("_from_")[0].partition("/")
    if mode not in (*MODES, "gptq", "awq", "ternary"):
        return None
    if mode not in MODES:
        raise definition.refusal(
            f"its weights are quantized as {mode!r}",
            f"use one of {', '.join(MODES)}, or no quantization",
        )
    block = rest.split("/")[-1]
    is_grouped = mode == "int4" and block not in ("", "-1", "None")
    return Quantization(mode, is_grouped, _input_limit(definition, mode))


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
