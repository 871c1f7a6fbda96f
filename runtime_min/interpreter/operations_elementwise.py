"""Operations that work element by element, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from keramos.runtime_min.interpreter import activations
from keramos.runtime_min.interpreter.layer import Array
from keramos.runtime_min.interpreter.operation import converted, operation


def _unary(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return *function* with the argument name of Keras."""
    return lambda x: function(x)  # noqa: PLW0108 - NumPy's have no such argument name


def _binary(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return *function* with the argument names of Keras."""
    return lambda x1, x2: function(x1, x2)  # noqa: PLW0108 - as above


def _bitwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return *function* with the argument names of Keras' bitwise operations."""
    return lambda x, y: function(x, y)  # noqa: PLW0108 - as above


UNARY: Mapping[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Absolute": np.abs,
    "Angle": np.angle,
    "Arccos": np.arccos,
    "Arccosh": np.arccosh,
    "Arcsin": np.arcsin,
    "Arcsinh": np.arcsinh,
    "Arctan": np.arctan,
    "Arctanh": np.arctanh,
    "BitwiseInvert": np.invert,
    "BitwiseNot": np.invert,
    "Cbrt": np.cbrt,
    "Ceil": np.ceil,
    "Conj": np.conj,
    "Conjugate": np.conj,
    "Copy": np.copy,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Deg2rad": np.deg2rad,
    "Erf": activations.error_function,
    "Erfc": lambda x: 1 - activations.error_function(x),
    "Exp": np.exp,
    "Exp2": np.exp2,
    "Expm1": np.expm1,
    "Fabs": np.fabs,
    "Floor": np.floor,
    "HardSigmoid": activations.hard_sigmoid,
    "HardSilu": activations.hard_silu,
    "HardTanh": activations.hard_tanh,
    "Imag": np.imag,
    "Isfinite": np.isfinite,
    "Isinf": np.isinf,
    "Isnan": np.isnan,
    "Isneginf": np.isneginf,
    "Isposinf": np.isposinf,
    "Isreal": np.isreal,
    "Log": np.log,
    "Log10": np.log10,
    "Log1p": np.log1p,
    "Log2": np.log2,
    "LogSigmoid": activations.log_sigmoid,
    "LogicalNot": np.logical_not,
    "Negative": np.negative,
    "Rad2deg": np.rad2deg,
    "Real": np.real,
    "Relu": activations.relu,
    "Relu6": activations.relu6,
    "Selu": activations.selu,
    "Sigmoid": activations.sigmoid,
    "Sign": np.sign,
    "Signbit": np.signbit,
    "Silu": activations.silu,
    "Sin": np.sin,
    "Sinc": np.sinc,
    "Sinh": np.sinh,
    "Softplus": activations.softplus,
    "Softsign": activations.softsign,
    "SparsePlus": activations.sparse_plus,
    "SparseSigmoid": activations.sparse_sigmoid,
    "Sqrt": np.sqrt,
    "Square": np.square,
    "Tan": np.tan,
    "Tanh": np.tanh,
    "TanhShrink": activations.tanh_shrink,
    "Trunc": np.trunc,
    "Mish": activations.mish,
}

BINARY: Mapping[str, Callable[..., Any]] = {
    "Add": np.add,
    "Arctan2": np.arctan2,
    "Divide": np.true_divide,
    "Equal": np.equal,
    "FloorDivide": np.floor_divide,
    "Fmax": np.fmax,
    "Fmin": np.fmin,
    "Fmod": np.fmod,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Heaviside": np.heaviside,
    "Hypot": np.hypot,
    "Less": np.less,
    "Ldexp": lambda x, y: x * 2.0**y,
    "LessEqual": np.less_equal,
    "Logaddexp": np.logaddexp,
    "Logaddexp2": np.logaddexp2,
    "LogicalAnd": np.logical_and,
    "LogicalOr": np.logical_or,
    "LogicalXor": np.logical_xor,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Mod": np.mod,
    "Multiply": np.multiply,
    "NotEqual": np.not_equal,
    "Power": np.power,
    "Subtract": np.subtract,
    "TrueDivide": np.true_divide,
}

BITWISE: Mapping[str, Callable[..., Any]] = {
    "BitwiseAnd": np.bitwise_and,
    "BitwiseLeftShift": np.left_shift,
    "BitwiseOr": np.bitwise_or,
    "BitwiseRightShift": np.right_shift,
    "BitwiseXor": np.bitwise_xor,
    "LeftShift": np.left_shift,
    "RightShift": np.right_shift,
}

for _table, _named in ((UNARY, _unary), (BINARY, _binary), (BITWISE, _bitwise)):
    for _name, _function in _table.items():
        operation(_name)(_named(_function))

for _name, _activation in (
    ("Celu", activations.celu),
    ("Elu", activations.elu),
    ("Glu", activations.glu),
    ("HardShrink", activations.hard_shrink),
    ("LeakyRelu", activations.leaky_relu),
    ("SoftShrink", activations.soft_shrink),
    ("Sparsemax", activations.sparsemax),
    ("Squareplus", activations.squareplus),
):
    operation(_name)(_activation)

operation("ReLU")(activations.relu)
operation("Gelu")(partial(activations.gelu, approximate=True))


@operation("Softmax")
def softmax(x: Array, axis: int | list[int] = -1) -> Array:
    """exp(x) / sum(exp(x)) along one axis or several."""
    return activations.softmax(x, tuple(axis) if isinstance(axis, list) else axis)


@operation("LogSoftmax")
def log_softmax(x: Array, axis: int = -1) -> Array:
    """log(softmax(x))."""
    return activations.log_softmax(x, axis)


@operation("Threshold")
def threshold(x: Array, threshold: float, default_value: float) -> Array:
    """X where it is above the threshold, elsewhere the default."""
    return np.where(x > threshold, x, default_value)


@operation("Reciprocal")
def reciprocal(x: Array) -> Any:
    """1 / x."""
    return 1 / x


@operation("Rsqrt")
def rsqrt(x: Array) -> Any:
    """1 / sqrt(x)."""
    return 1 / np.sqrt(x)


@operation("DivideNoNan")
def divide_no_nan(x1: Array, x2: Array) -> Array:
    """x1 / x2, and 0 where x2 is 0."""
    return np.where(x2 == 0, 0, x1 / np.where(x2 == 0, 1, x2))


@operation("Round")
def round_to(x: Array, decimals: int = 0) -> Any:
    """X to so many decimals, halves to even."""
    return np.round(x, decimals)


@operation("Clip")
def clip(x: Array, x_min: float, x_max: float) -> Any:
    """x, at least x_min and at most x_max."""
    return np.clip(x, x_min, x_max)


@operation("Where")
def where(condition: Array, x1: Array, x2: Array) -> Array:
    """x1 where the condition holds, elsewhere x2."""
    return np.where(np.asarray(condition, np.bool_), x1, x2)


@operation("Isclose")
def isclose(
    x1: Array,
    x2: Array,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    *,
    equal_nan: bool = False,
) -> Any:
    """Say where two numbers are as good as equal."""
    return np.isclose(x1, x2, rtol, atol, equal_nan)


@operation("IsIn")
def is_in(
    x1: Array, x2: Any, *, assume_unique: bool = False, invert: bool = False
) -> Any:
    """Say where elements are among others."""
    del assume_unique
    return np.isin(x1, np.asarray(x2), invert=invert)


@operation("Select")
def select(condlist: Any, choicelist: Any, default: float = 0) -> Array:
    """Return the first choice whose condition holds."""
    return np.select([np.asarray(c, np.bool_) for c in condlist], choicelist, default)


@operation("Cast", "SaturateCast")
def cast(x: Array, dtype: object) -> Array:
    """X in another type."""
    return converted(x, dtype)


@operation("ConvertToTensor", "Array")
def convert_to_tensor(
    x: Array, dtype: object = None, sparse: object = None, ragged: object = None
) -> Array:
    """X as an array."""
    del sparse, ragged
    return converted(x, dtype)


@operation("StopGradient")
def stop_gradient(variable: Array) -> Array:
    """X."""
    return variable


@operation("NanToNum")
def nan_to_num(
    x: Array, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Any:
    """X without NaN and infinities."""
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


@operation("OnesLike")
def ones_like(x: Array, dtype: object = None) -> Array:
    """Ones in the shape of x."""
    return converted(np.ones_like(x), dtype)


@operation("ZerosLike", "EmptyLike")
def zeros_like(x: Array, dtype: object = None) -> Array:
    """Zeros in the shape of x."""
    return converted(np.zeros_like(x), dtype)


@operation("FullLike")
def full_like(x: Array, fill_value: float, dtype: object = None) -> Array:
    """One value in the shape of x."""
    return converted(np.full_like(x, fill_value), dtype)
