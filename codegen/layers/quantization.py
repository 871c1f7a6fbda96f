"""Weights that Keras 3 stored in few bits, and inputs that it rounds on the way.

int8 has a scale per output; int4 packs two numbers into a byte, with a scale per output
or with scales and zeros per group of inputs; float8 rounds to e4m3. The weights become
float32 ahead of time. Inputs are rounded as the layer does: to whole multiples of their
largest element over 127, or to float8.

gptq and awq have a row of up to 8 bits per output, with scales and zeros per group of
inputs, and let inputs be; awq divides each input's weights by a number of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from keramos import ops
from keramos.errors import quoted
from keramos.expr import Expr, call
from keramos.graph import Array, Constant, Value, constant, elementwise
from keramos.layers.definition import Definition
from keramos.primitives import Spec

CALIBRATED = ("gptq", "awq")
MODES = ("int8", "int4", "float8", *CALIBRATED)
UNSUPPORTED = ("ternary",)
PACKED_BITS = 4  # two to a byte
WHOLE_LIMIT = 127.0
SMALLEST = 1e-7  # keras.config.epsilon()

# float8 e4m3fn: 3 bits of mantissa, exponents from -6, 448 the largest.
MANTISSA_BITS = 3
LEAST_EXPONENT = -6
LARGEST = 448.0

Rounding = Callable[[Value, Sequence[int]], Value]


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a layer's weights are stored; *limit* is what its inputs are rounded to."""

    mode: str
    grouped: bool
    limit: float | None
    bits: int = 4


@dataclass(frozen=True, slots=True)
class Product:
    """A kernel, what inputs become before, and what outputs are divided by after."""

    kernel: Value
    rounded: Rounding
    scale: Value | None = None


def quantization_of(definition: Definition) -> Quantization | None:
    """Return a layer's quantization; None for one that computes in float."""
    policy = definition.option("dtype")
    if isinstance(policy, Mapping):
        config = policy.get("config")
        config = config if isinstance(config, Mapping) else {}
        policy = config.get("mode") or config.get("name")
    mode, _, block = str(policy).partition("_from_")[0].partition("/")
    if mode in UNSUPPORTED:
        raise definition.refusal(
            f"its weights are quantized as {quoted(mode)}",
            f"use {' or '.join(map(repr, MODES))}, or no quantization",
        )
    if mode not in MODES:
        return None
    grouped = mode == "int4" and block.rpartition("/")[2] not in ("", "-1", "None")
    bits = block.partition("/")[0]
    return Quantization(
        mode,
        grouped,
        _input_limit(definition, mode),
        int(bits) if mode == "gptq" and bits.isdecimal() else PACKED_BITS,
    )


def _input_limit(definition: Definition, mode: str) -> float | None:
    """Return the largest number that inputs are rounded to, None for no rounding."""
    options = definition.option("quantization_config")
    if not isinstance(options, Mapping):
        return WHOLE_LIMIT if mode == "int8" else None
    config = options.get("config")
    quantizer = (
        config.get("activation_quantizer") if isinstance(config, Mapping) else None
    )
    if not isinstance(quantizer, Mapping):
        return None
    if quantizer.get("class_name") != "AbsMaxQuantizer":
        raise definition.refusal(
            f"its inputs are quantized by {quoted(quantizer.get('class_name'))}",
            "use AbsMaxQuantizer",
        )
    inner = quantizer.get("config")
    bounds = inner.get("value_range") if isinstance(inner, Mapping) else None
    return float(bounds[1]) if isinstance(bounds, list) else WHOLE_LIMIT


def product_of(
    definition: Definition,
    quantization: Quantization,
    columns: int,
    read_bias: Callable[[], Value | None],
) -> Product:
    """Return what a file holds of a product, in the order in which Keras saves it."""
    if quantization.mode in CALIBRATED:
        return _calibrated_product(definition, quantization, read_bias)
    stored = definition.stored(
        "kernel", "int32" if quantization.mode == "int4" else None
    )
    read_bias()

    def rounded(x: Value, axes: Sequence[int]) -> Value:
        """Return the inputs as the layer rounds them."""
        return _whole_multiples(x, axes, quantization.limit)

    if quantization.mode == "float8":
        return _float8_product(definition, stored)
    scale = definition.stored("kernel_scale")
    if quantization.mode == "int8":
        return Product(stored, rounded, scale)
    shape = (*stored.shape[:-1], columns)
    if not quantization.grouped:
        kernel = _derived(
            shape, lambda p, s: unpacked_int4(p, columns) / s, stored, scale
        )
        return Product(kernel, rounded)
    zero = definition.stored("kernel_zero")
    groups = definition.stored("group_index", "int32")
    kernel = _derived(
        shape,
        lambda p, s, z, g: (unpacked_int4(p, columns) - z[g]) * s[g],
        stored,
        scale,
        zero,
        groups,
    )
    return Product(kernel, rounded)


def _calibrated_product(
    definition: Definition,
    quantization: Quantization,
    read_bias: Callable[[], Value | None],
) -> Product:
    """Return a product whose weights were chosen by example: gptq and awq."""
    names = ["kernel", "kernel_scale", "kernel_zero", "group_index"]
    if quantization.mode == "awq":
        names.insert(-1, "input_scale")
    biases = 0 if read_bias() is None else 1
    if len(definition.session.file.weights(definition.path)) == biases + len(names) - 1:
        raise definition.refusal(
            f"its weights are quantized as {quoted(quantization.mode)}, and the file "
            "lacks their zeros, which Keras 3.15 doesn't write to .keras files",
            "save the model as .h5",
        )
    whole = ("kernel", "kernel_zero", "group_index")
    stored = [
        definition.stored(name, "int32" if name in whole else None) for name in names
    ]
    columns = stored[1].shape[0] or 0
    packed = quantization.bits == PACKED_BITS

    def kernel(codes: Array, scale: Array, zero: Array, *rest: Array) -> Array:
        """Return the weights as a matrix from inputs to outputs."""
        if packed:
            halves = np.stack([codes & 15, (codes >> 4) & 15], 1)
            codes = halves.reshape(-1, codes.shape[1])[:columns]
        *inputs, groups = rest
        weights: Array = ((codes - zero[:, groups]) * scale[:, groups]).T
        return weights / inputs[0][:, None] if inputs else weights

    matrix = _derived((stored[0].shape[1], columns), kernel, *stored)
    return Product(matrix, lambda x, _: x)


def table_of(definition: Definition, quantization: Quantization, width: int) -> Value:
    """Return a quantized table of embeddings as float32."""
    packed = quantization.mode == "int4"
    stored = definition.stored("embeddings", "int32" if packed else None)
    scale = definition.stored("embeddings_scale")
    if not packed:
        return _derived(stored.shape, lambda t, s: t / s[:, None], stored, scale)
    shape = (*stored.shape[:-1], width)
    if not quantization.grouped:
        return _derived(
            shape, lambda p, s: unpacked_int4(p, width) / s[:, None], stored, scale
        )
    zero = definition.stored("embeddings_zero")
    groups = definition.stored("group_index", "int32")
    return _derived(
        shape,
        lambda p, s, z, g: (unpacked_int4(p, width) - z[:, g]) * s[:, g],
        stored,
        scale,
        zero,
        groups,
    )


def _float8_product(definition: Definition, stored: Value) -> Product:
    """Return a product of numbers rounded to float8; histories are for training."""
    inputs_scale = definition.stored("inputs_scale")
    definition.stored("inputs_amax_history")
    kernel_scale = definition.stored("kernel_scale")
    for name in ("kernel_amax_history", "outputs_scale", "outputs_amax_history"):
        definition.stored(name)
    kernel = _derived(stored.shape, _float8_array, stored, kernel_scale)

    def rounded(x: Value, axes: Sequence[int]) -> Value:
        """Return the inputs as the layer rounds them."""
        del axes
        return elementwise(_float8, x, inputs_scale)

    return Product(kernel, rounded)


def _derived(
    shape: Sequence[int | None], function: Callable[..., Array], *sources: Value
) -> Value:
    """Return a float32 constant that is computed from others when it is loaded."""
    constants = [x.constant for x in sources if x.constant is not None]

    def load() -> Array:
        """Compute in float32."""
        array: Array = function(*(each.array() for each in constants))
        return array.astype(np.float32)

    return constant(Constant(Spec(tuple(shape)), load), name=sources[0].name)


def _whole_multiples(x: Value, axes: Sequence[int], limit: float | None) -> Value:
    """Return x as whole multiples of its largest element over *limit*."""
    if limit is None:
        return x
    bound = limit

    def formula(v: Expr, largest: Expr) -> Expr:
        scale = bound / (largest + SMALLEST)
        whole = call("min", call("max", call("round", v * scale), -bound), bound)
        return whole / scale

    return elementwise(formula, x, ops.max(ops.abs(x), axes, keepdims=True))


def _float8(v: Expr, scale: Expr) -> Expr:
    """Return the nearest multiple of *scale* times a float8 number."""
    y = call("min", call("max", v / scale, -LARGEST), LARGEST)
    size = call("max", call("abs", y), 2.0**LEAST_EXPONENT)
    exponent = call("floor", call("log", size) * (1 / np.log(2)))
    step = call("pow", 2.0, exponent - MANTISSA_BITS)
    return call("round", y / step) * step * scale


def _float8_array(x: Array, scale: Array) -> Array:
    """Return the nearest multiples of *scale* times float8 numbers."""
    y = np.clip(x / scale, -LARGEST, LARGEST)
    _, exponents = np.frexp(np.maximum(np.abs(y), 2.0**LEAST_EXPONENT))
    steps = np.ldexp(1.0, exponents - 1 - MANTISSA_BITS)
    rounded: Array = np.rint(y / steps) * steps * scale
    return rounded


def unpacked_int4(packed: Array, length: int) -> Array:
    """Return the signed halves of each byte along the last axis, the low one first."""
    halves = np.stack([packed & 15, (packed >> 4) & 15], -1)
    signed: Array = ((halves ^ 8) - 8).reshape(*packed.shape[:-1], -1)
    return signed[..., :length].astype(np.float32)
