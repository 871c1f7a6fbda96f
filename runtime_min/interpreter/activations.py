"""The activation functions of Keras, by the names that files use.

Formulas as in ``keras.activations``; each keeps the type of its input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def linear(x: Array) -> Array:
    """X."""
    return x


def relu(
    x: Array,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
) -> Array:
    """X where x > threshold (at most max_value), elsewhere slope * (x - threshold)."""
    positive = np.maximum(x, 0) if threshold == 0 else np.where(x > threshold, x, 0)
    if max_value is not None:
        positive = np.minimum(np.maximum(positive, 0), max_value)
    if negative_slope == 0:
        return np.asarray(positive)
    return np.asarray(positive - negative_slope * np.maximum(threshold - x, 0))


def relu6(x: Array) -> Array:
    """min(max(x, 0), 6)."""
    return np.minimum(np.maximum(x, 0), 6)


def leaky_relu(x: Array, negative_slope: float = 0.2) -> Array:
    """X for positive x, slope * x otherwise."""
    return np.where(x >= 0, x, negative_slope * x)


def elu(x: Array, alpha: float = 1.0) -> Array:
    """X for positive x, alpha * (exp(x) - 1) otherwise."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def selu(x: Array) -> Array:
    """Scale * elu(x, alpha), with the constants of Klambauer et al. 2017."""
    return 1.05070098735548049342 * elu(x, 1.67326324235437728481)


def celu(x: Array, alpha: float = 1.0) -> Array:
    """max(x, 0) + alpha * (exp(min(x, 0) / alpha) - 1)."""
    return np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow for large negative x."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def hard_sigmoid(x: Array) -> Array:
    """relu6(x + 3) / 6: Keras 3."""
    return relu6(x + 3) / 6


def legacy_hard_sigmoid(x: Array) -> Array:
    """clip(0.2 x + 0.5, 0, 1): Keras 1 and 2."""
    return np.minimum(np.maximum(0.2 * x + 0.5, 0), 1)


def log_sigmoid(x: Array) -> Array:
    """log(sigmoid(x))."""
    return -softplus(-x)


def sparse_sigmoid(x: Array) -> Array:
    """(x + 1) / 2, clipped to 0 .. 1."""
    return np.minimum(np.maximum((x + 1) / 2, 0), 1)


def silu(x: Array) -> Array:
    """X * sigmoid(x)."""
    return x * sigmoid(x)


def hard_silu(x: Array) -> Array:
    """X * hard_sigmoid(x); the hard sigmoid of Keras 3 in every generation."""
    return x * hard_sigmoid(x)


def tanh(x: Array) -> Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x))."""
    return np.asarray(np.tanh(x))


def hard_tanh(x: Array) -> Array:
    """x, clipped to -1 .. 1."""
    return np.minimum(np.maximum(x, -1), 1)


def tanh_shrink(x: Array) -> Array:
    """X - tanh(x)."""
    return np.asarray(x - np.tanh(x))


def softplus(x: Array) -> Array:
    """log(1 + exp(x))."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softsign(x: Array) -> Array:
    """X / (1 + |x|)."""
    return np.asarray(x / (1 + np.abs(x)))


def soft_shrink(x: Array, threshold: float = 0.5) -> Array:
    """X moved towards 0 by the threshold."""
    return np.asarray(np.sign(x) * np.maximum(np.abs(x) - threshold, 0))


def hard_shrink(x: Array, threshold: float = 0.5) -> Array:
    """X where |x| > threshold, elsewhere 0."""
    return np.where(np.abs(x) > threshold, x, 0)


def sparse_plus(x: Array) -> Array:
    """0 up to -1, x from 1 on, (x + 1)^2 / 4 between."""
    return np.where(x <= -1, 0, np.where(x < 1, (x + 1) ** 2 / 4, x))


def squareplus(x: Array, b: float = 4) -> Array:
    """(x + sqrt(x^2 + b)) / 2."""
    return np.asarray((x + np.sqrt(x * x + b)) / 2)


def exponential(x: Array) -> Array:
    """exp(x)."""
    return np.asarray(np.exp(x))


def mish(x: Array) -> Array:
    """X * tanh(softplus(x))."""
    return np.asarray(x * np.tanh(softplus(x)))


def error_function(x: Array) -> Array:
    """erf(x), element by element in double precision."""
    values = np.fromiter(
        (math.erf(item) for item in x.reshape(-1).tolist()), np.float64, x.size
    )
    return values.reshape(x.shape).astype(x.dtype)


def gelu(x: Array, *, approximate: bool = False) -> Array:
    """X times the normal distribution's Phi(x), or its tanh approximation."""
    if approximate:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        return np.asarray(x * 0.5 * (1 + np.tanh(inner)))
    return np.asarray(x * 0.5 * (1 + error_function(x * math.sqrt(0.5))))


def glu(x: Array, axis: int = -1) -> Array:
    """First half times the sigmoid of the second half."""
    value, gate = np.split(x, 2, axis)
    return value * sigmoid(gate)


def softmax(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    """exp(x) / sum(exp(x)) along *axis*."""
    if x.size == 0:
        return x
    exponentials = np.exp(x - np.max(x, axis, keepdims=True))
    return np.asarray(exponentials / np.sum(exponentials, axis, keepdims=True))


def log_softmax(x: Array, axis: int = -1) -> Array:
    """log(softmax(x))."""
    if x.size == 0:
        return x
    shifted = x - np.max(x, axis, keepdims=True)
    return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis, keepdims=True)))


def sparsemax(x: Array, axis: int = -1) -> Array:
    """Return the point of the simplex near x (Martins and Astudillo 2016)."""
    rows = np.moveaxis(x, axis, -1)
    descending = -np.sort(-rows, -1)
    sums = np.cumsum(descending, -1, dtype=x.dtype)
    counts = np.arange(1, rows.shape[-1] + 1, dtype=x.dtype)
    support = descending - (sums - 1) / counts > 0
    size = np.sum(support, -1, keepdims=True).astype(x.dtype)
    # Keras adds up the sums over the support, where the paper takes the last of them.
    supported = np.sum(np.where(support, sums, 0), -1, keepdims=True, dtype=x.dtype)
    return np.moveaxis(np.maximum(rows - (supported - 1) / size, 0), -1, axis)


# "threshold" isn't here: it needs two parameters, which a name can't give.
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "celu": celu,
    "elu": elu,
    "exponential": exponential,
    "gelu": gelu,
    "glu": glu,
    "hard_shrink": hard_shrink,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
    "hard_tanh": hard_tanh,
    "leaky_relu": leaky_relu,
    "linear": linear,
    "log_sigmoid": log_sigmoid,
    "log_softmax": log_softmax,
    "mish": mish,
    "relu": relu,
    "relu6": relu6,
    "selu": selu,
    "sigmoid": sigmoid,
    "silu": silu,
    "soft_shrink": soft_shrink,
    "softmax": softmax,
    "softplus": softplus,
    "softsign": softsign,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
    "sparsemax": sparsemax,
    "squareplus": squareplus,
    "swish": silu,
    "tanh": tanh,
    "tanh_shrink": tanh_shrink,
}
