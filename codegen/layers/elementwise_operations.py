"""Keras' elementwise operations: arithmetic, comparisons, activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from keramos import ops
from keramos.errors import quoted
from keramos.expr import Expr, call, where
from keramos.graph import Operand, Value, elementwise
from keramos.layers.operation import beside, operation, positions, value
from keramos.layers.structure import Structure
from keramos.primitives import DType

LARGEST = 3.4028234663852886e38  # of the finite float32 numbers


def _scaled(operator: str, factor: float) -> Callable[[Value], Value]:
    """Return a function times a constant."""
    return lambda x: elementwise(lambda v: call(operator, v) * factor, x)


_UNARY: Mapping[str, Callable[..., Value]] = {
    "Abs": ops.abs,
    "Absolute": ops.abs,
    "Fabs": ops.abs,
    "Negative": ops.negative,
    "Sqrt": ops.sqrt,
    "Rsqrt": ops.rsqrt,
    "Square": ops.square,
    "Reciprocal": ops.reciprocal,
    "Exp": ops.exp,
    "Exp2": lambda x: elementwise(lambda v: call("exp", v * math.log(2)), x),
    "Expm1": ops.expm1,
    "Log": ops.log,
    "Log1p": ops.log1p,
    "Log2": _scaled("log", 1 / math.log(2)),
    "Log10": _scaled("log", 1 / math.log(10)),
    "Sin": ops.sin,
    "Cos": ops.cos,
    "Tan": ops.tan,
    "Arctan": ops.arctan,
    "Sinh": ops.sinh,
    "Cosh": ops.cosh,
    "Tanh": ops.tanh,
    "Sign": ops.sign,
    "Floor": ops.floor,
    "Ceil": ops.ceil,
    "Trunc": ops.trunc,
    "Erf": ops.erf,
    "Isnan": ops.isnan,
    "Deg2rad": lambda x: x * (math.pi / 180),
    "Rad2deg": lambda x: x * (180 / math.pi),
    "LogicalNot": lambda x: ops.logical_not(ops.cast(x, "bool")),
    "StopGradient": lambda variable: variable,
    "Copy": lambda x: x,
    "ConvertToTensor": lambda x, **_: x,
    "Relu": ops.relu,
    "Relu6": ops.relu6,
    "Sigmoid": ops.sigmoid,
    "SparseSigmoid": ops.sparse_sigmoid,
    "SparsePlus": ops.sparse_plus,
    "Softplus": ops.softplus,
    "Softsign": ops.softsign,
    "Silu": ops.silu,
    "LogSigmoid": ops.log_sigmoid,
    "HardSigmoid": ops.hard_sigmoid,
    "HardSilu": ops.hard_silu,
    "HardTanh": ops.hard_tanh,
    "TanhShrink": ops.tanh_shrink,
    "Selu": ops.selu,
    "Mish": ops.mish,
    "LeakyRelu": ops.leaky_relu,
    "Elu": ops.elu,
    "Celu": ops.celu,
    "SoftShrink": ops.soft_shrink,
    "HardShrink": ops.hard_shrink,
    "Threshold": ops.threshold,
    "Squareplus": ops.squareplus,
    "Gelu": partial(ops.gelu, approximate=True),
}

for _name, _function in _UNARY.items():
    operation(_name)(_function)


def _binary(x: Structure, y: Structure) -> tuple[Operand, Operand]:
    """Return two operands side by side."""
    return beside(x, y), beside(y, x)


def _pair(operator: str, dtype: DType | None = None) -> Callable[..., Value]:
    """Return an operation of two operands."""

    def function(x1: Structure, x2: Structure) -> Value:
        return elementwise(operator, *_binary(x1, x2), dtype=dtype)

    return function


_BINARY: Mapping[str, str] = {
    "Add": "add",
    "Subtract": "sub",
    "Multiply": "mul",
    "Divide": "div",
    "TrueDivide": "div",
    "Mod": "mod",
    "Power": "pow",
    "Maximum": "max",
    "Minimum": "min",
    "Equal": "eq",
    "NotEqual": "ne",
    "Less": "lt",
    "LessEqual": "le",
    "Greater": "gt",
    "GreaterEqual": "ge",
}

for _name, _operator in _BINARY.items():
    operation(_name)(_pair(_operator))


@operation("FloorDivide")
def floor_divide(x1: Structure, x2: Structure) -> Value:
    """Return the whole quotient."""
    return ops.floor_divide(*_binary(x1, x2))


@operation("DivideNoNan")
def divide_no_nan(x1: Structure, x2: Structure) -> Value:
    """Return the quotient, 0 where the divisor is."""
    return elementwise(
        lambda a, b: where(call("eq", b, 0.0), 0.0, a / b),
        *_binary(x1, x2),
        dtype="float32",
    )


@operation("LogicalAnd")
def logical_and(x1: Structure, x2: Structure) -> Value:
    """Return where both hold."""
    return _logical("and", x1, x2)


@operation("LogicalOr")
def logical_or(x1: Structure, x2: Structure) -> Value:
    """Return where one of them holds."""
    return _logical("or", x1, x2)


@operation("LogicalXor")
def logical_xor(x1: Structure, x2: Structure) -> Value:
    """Return where just one of them holds."""
    either, both = _logical("or", x1, x2), _logical("and", x1, x2)
    return ops.logical_and(either, ops.logical_not(both))


def _logical(operator: str, x: Structure, y: Structure) -> Value:
    """Return a logical operation; what isn't 0 holds."""
    return elementwise(
        lambda a, b: call(operator, call("ne", a, 0.0), call("ne", b, 0.0)),
        *(ops.cast(v, "float32") if isinstance(v, Value) else v for v in _binary(x, y)),
    )


@operation("Where")
def choose(condition: Structure, x1: Structure, x2: Structure) -> Value:
    """Return x1 where the condition holds, else x2."""
    holds = ops.cast(value(condition), "bool")
    return ops.where(holds, beside(x1, holds), beside(x2, holds))


@operation("Clip")
def clip(x: Value, x_min: Structure, x_max: Structure) -> Value:
    """Return x within the bounds."""
    return ops.clip(x, beside(x_min, x), beside(x_max, x))


@operation("Round")
def rounded(x: Value, decimals: int = 0) -> Value:
    """Return x rounded to a number of decimals."""
    if decimals == 0:
        return ops.round(x)
    scale = 10.0**decimals
    return elementwise(lambda v: call("round", v * scale) / scale, x)


@operation("Cast", "SaturateCast")
def cast(x: Value, dtype: object) -> Value:
    """Return x as another type."""
    return ops.cast(x, plain_dtype(dtype))


def plain_dtype(dtype: object) -> DType:
    """Return which of the three types a name stands for."""
    name = str(dtype)
    if name.startswith(("float", "bfloat")):
        return "float32"
    if name == "bool":
        return "bool"
    if name.startswith(("int", "uint")):
        return "int32"
    raise ValueError(f"dtype is {quoted(dtype)}, which isn't a type of numbers")


@operation("OnesLike")
def ones_like(x: Value, dtype: object = None) -> Value:
    """Return ones in the shape of x."""
    return full_like(x, 1, dtype)


@operation("ZerosLike", "EmptyLike")
def zeros_like(x: Value, dtype: object = None) -> Value:
    """Return zeros in the shape of x."""
    return full_like(x, 0, dtype)


@operation("FullLike")
def full_like(x: Value, fill_value: float, dtype: object = None) -> Value:
    """Return one number in the shape of x, which may be free."""
    kind = x.dtype if dtype is None else plain_dtype(dtype)
    number = float(fill_value)

    def formula(v: Expr) -> Expr:
        same = where(call("eq", v, v), number, number)
        return call("ne", same, 0.0) if kind == "bool" else same

    return elementwise(formula, x, dtype=kind)


@operation("NanToNum")
def nan_to_num(
    x: Value,
    nan: float = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> Value:
    """Return x with numbers for NaN and the infinities."""
    largest = LARGEST
    high = largest if posinf is None else posinf
    low = -largest if neginf is None else neginf
    return elementwise(
        lambda v: where(
            call("ne", v, v),
            nan,
            where(v > largest, high, where(v < -largest, low, v)),
        ),
        x,
    )


@operation("Isinf")
def isinf(x: Value) -> Value:
    """Return where x is infinite."""
    return elementwise(lambda v: call("abs", v) > LARGEST, x)


@operation("Isfinite")
def isfinite(x: Value) -> Value:
    """Return where x is a finite number."""
    return elementwise(lambda v: call("abs", v) <= LARGEST, x)


@operation("Softmax")
def softmax(x: Value, axis: int | Sequence[int] | None = -1) -> Value:
    """Return the softmax."""
    return ops.softmax(x, positions(axis, x))


@operation("LogSoftmax")
def log_softmax(x: Value, axis: int | Sequence[int] | None = -1) -> Value:
    """Return the logarithm of the softmax."""
    return ops.log_softmax(x, positions(axis, x))


@operation("Sparsemax")
def sparsemax(x: Value, axis: int = -1) -> Value:
    """Return the sparsemax."""
    return ops.sparsemax(x, positions(axis, x)[0])


@operation("Glu")
def glu(x: Value, axis: int = -1) -> Value:
    """Return the gated linear unit."""
    return ops.glu(x, positions(axis, x)[0])
