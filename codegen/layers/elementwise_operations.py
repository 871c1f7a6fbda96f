"""Keras' elementwise operations: arithmetic, comparisons, activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from keramos import ops
from keramos.errors import quoted
from keramos.expr import Expr, call, where
from keramos.graph import Operand, Value, elementwise
from keramos.layers.operation import (
    beside,
    constant_array,
    operation,
    positions,
    value,
)
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
    "Conj": lambda x: x,
    "Conjugate": lambda x: x,
    "Real": lambda x: x,
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


def _arcsin(v: Expr) -> Expr:
    """Return the arc sine, from the angle in the middle."""
    return call("atan", v / (1.0 + call("sqrt", 1.0 - v * v))) * 2.0


def _arcsinh(v: Expr) -> Expr:
    """Return the inverse of sinh; log1p keeps the digits of small numbers."""
    size = call("abs", v)
    grown = size + size * size / (1.0 + call("sqrt", size * size + 1.0))
    return call("sign", v) * call("log1p", grown)


def _arccosh(v: Expr) -> Expr:
    """Return the inverse of cosh."""
    return call("log", v + call("sqrt", v - 1.0) * call("sqrt", v + 1.0))


def _arctanh(v: Expr) -> Expr:
    """Return the inverse of tanh."""
    return (call("log1p", v) - call("log1p", -v)) * 0.5


def _sinc(v: Expr) -> Expr:
    """Return sin(pi x) over pi x."""
    angle = v * math.pi
    return where(call("eq", v, 0.0), 1.0, call("sin", angle) / angle)


def _formula(function: Callable[[Expr], Expr]) -> Callable[[Value], Value]:
    """Return an operation of one operand."""
    return lambda x: elementwise(function, ops.cast(x, "float32"))


_FORMULAS: Mapping[str, Callable[[Expr], Expr]] = {
    "Arccos": lambda v: math.pi / 2 - _arcsin(v),
    "Arccosh": _arccosh,
    "Arcsin": _arcsin,
    "Arcsinh": _arcsinh,
    "Arctanh": _arctanh,
    "Cbrt": lambda v: call("sign", v) * call("pow", call("abs", v), 1 / 3),
    "Erfc": lambda v: 1.0 - call("erf", v),
    "Imag": lambda v: v * 0.0,
    "Isneginf": lambda v: v < -LARGEST,
    "Isposinf": lambda v: v > LARGEST,
    "Isreal": lambda v: call("or", call("eq", v, v), call("ne", v, v)),
    "Signbit": lambda v: v < 0.0,
    "Sinc": _sinc,
}

for _name, _function in _UNARY.items():
    operation(_name)(_function)
for _name, _expression in _FORMULAS.items():
    operation(_name)(_formula(_expression))


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


def _arctan2(y: Expr, x: Expr) -> Expr:
    """Return the angle of (x, y), from -pi to pi."""
    upper = where(y < 0.0, -math.pi, math.pi)
    ratio = call("atan", y / x)
    beside = where(x < 0.0, ratio + upper, ratio)
    above = where(y > 0.0, math.pi / 2, where(y < 0.0, -math.pi / 2, 0.0))
    return where(call("eq", x, 0.0), above, beside)


def _hypot(x: Expr, y: Expr) -> Expr:
    """Return the length of (x, y); the larger one is taken out of the root."""
    a, b = call("abs", x), call("abs", y)
    top, low = call("max", a, b), call("min", a, b)
    share = low / top
    return where(top > 0.0, top * call("sqrt", share * share + 1.0), 0.0)


def _logaddexp(x: Expr, y: Expr) -> Expr:
    """Return log(e^x + e^y), the larger one taken out."""
    apart = call("exp", -call("abs", x - y))
    return call("max", x, y) + call("log1p", apart)


def _logaddexp2(x: Expr, y: Expr) -> Expr:
    """Return log2(2^x + 2^y)."""
    return _logaddexp(x * math.log(2), y * math.log(2)) * (1 / math.log(2))


def _fmod(x: Expr, y: Expr) -> Expr:
    """Return what a division leaves, with the sign of x."""
    return x - call("trunc", x / y) * y


def _known(x: Expr, y: Expr, chosen: Expr) -> Expr:
    """Return *chosen*, or the other operand of a NaN."""
    return where(call("ne", x, x), y, where(call("ne", y, y), x, chosen))


_TWO: Mapping[str, Callable[[Expr, Expr], Expr]] = {
    "Arctan2": _arctan2,
    "Fmax": lambda x, y: _known(x, y, call("max", x, y)),
    "Fmin": lambda x, y: _known(x, y, call("min", x, y)),
    "Fmod": _fmod,
    "Heaviside": lambda x, y: where(
        call("eq", x, 0.0), y, where(x > 0.0, 1.0, where(x < 0.0, 0.0, x))
    ),
    "Hypot": _hypot,
    "Ldexp": lambda x, y: x * call("exp", y * math.log(2)),
    "Logaddexp": _logaddexp,
    "Logaddexp2": _logaddexp2,
}


def _two(formula: Callable[[Expr, Expr], Expr]) -> Callable[..., Value]:
    """Return an operation of two operands."""

    def function(x1: Structure, x2: Structure) -> Value:
        operands = [
            ops.cast(v, "float32") if isinstance(v, Value) else v
            for v in _binary(x1, x2)
        ]
        return elementwise(formula, *operands, dtype="float32")

    return function


for _name, _of_two in _TWO.items():
    operation(_name)(_two(_of_two))


@operation("Angle")
def angle(x: Value) -> Value:
    """Return the angle of real numbers: that of negative ones is pi."""
    return elementwise(lambda v: where(v < 0.0, math.pi, 0.0), x, dtype="float32")


@operation("Isclose")
def isclose(
    x1: Structure,
    x2: Structure,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,  # noqa: FBT001, FBT002 - Keras' own name
) -> Value:
    """Return where two numbers are as good as equal."""

    def formula(x: Expr, y: Expr) -> Expr:
        near = call("abs", x - y) <= call("abs", y) * rtol + atol
        same = call("or", call("eq", x, y), near)
        if not equal_nan:
            return same
        both = call("and", call("ne", x, x), call("ne", y, y))
        return call("or", same, both)

    return elementwise(formula, *_binary(x1, x2))


@operation("IsIn")
def is_in(
    x1: Value, x2: Structure, *, assume_unique: bool = False, invert: bool = False
) -> Value:
    """Return where elements are among constants."""
    del assume_unique
    same = ops.equal(ops.expand_dims(x1, -1), ops.constant(constant_array(x2).ravel()))
    found = ops.max(same, -1)
    return ops.logical_not(found) if invert else found


@operation("Select")
def select(
    condlist: Sequence[Structure], choicelist: Sequence[Structure], default: float = 0
) -> Value:
    """Return the first choice whose condition holds."""
    result: Structure = default
    for condition, chosen in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = choose(condition, chosen, result)
    return value(result)


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
