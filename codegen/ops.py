"""The vocabulary in which layers are written: Keras' and users' own.

Pure functions of :class:`~keramos.graph.Value` with the names of NumPy and keras.ops.
Calling one adds nodes to the graph; what is known ahead of time is computed ahead of
time. As everywhere in the compiler, shapes and axis numbers leave the batch axis out
(negative ones count from the end, as usual), and tensors are channels-last.

Values also take the operators ``+ - * / ** < <= > >= & | ~`` and NumPy's indexing;
numbers and NumPy arrays may stand beside them.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from keramos.expr import Expr, call
from keramos.expr import where as choose
from keramos.graph import (
    Array,
    Constant,
    Graph,
    Node,
    Operand,
    Value,
    ValueKey,
    apply,
    elementwise,
    literal,
)
from keramos.graph import constant as graph_constant
from keramos.primitives import (
    Concat,
    Contract,
    Conv,
    DType,
    Gather,
    Method,
    Pad,
    Padding,
    Reduce,
    Reshape,
    Resize,
    Scan,
    Slice,
    Softmax,
    Spec,
    Transpose,
    Window,
    same_padding,
)

__all__ = [
    "Operand",
    "Value",
    "abs",
    "add",
    "arange",
    "arctan",
    "argmax",
    "argmin",
    "argsort",
    "average_pool",
    "broadcast_to",
    "cast",
    "ceil",
    "celu",
    "clip",
    "concatenate",
    "constant",
    "conv",
    "cos",
    "cosh",
    "divide",
    "einsum",
    "elementwise",
    "elu",
    "equal",
    "erf",
    "exp",
    "expand_dims",
    "expm1",
    "flip",
    "floor",
    "floor_divide",
    "gelu",
    "glu",
    "greater",
    "greater_equal",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "isnan",
    "leaky_relu",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log_sigmoid",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "matmul",
    "max",
    "max_pool",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mish",
    "mod",
    "moments",
    "multiply",
    "negative",
    "not_equal",
    "one_hot",
    "pad",
    "positions",
    "power",
    "prod",
    "reciprocal",
    "relu",
    "relu6",
    "repeat",
    "reshape",
    "resize",
    "round",
    "rsqrt",
    "scan",
    "selu",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "sinh",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sort",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "split",
    "sqrt",
    "square",
    "squareplus",
    "squeeze",
    "stack",
    "subtract",
    "sum",
    "swap_axes",
    "take",
    "take_along_axis",
    "tan",
    "tanh",
    "tanh_shrink",
    "threshold",
    "tile",
    "top_k",
    "transpose",
    "trunc",
    "where",
    "zeros",
]

# Elements of an axis that is put in order by comparing each with all others.
LONGEST_ORDERED = 1024

Axes = int | Sequence[int] | None
Sizes = int | Sequence[int]


def constant(array: Array | float | list[object]) -> Value:
    """Return numbers as a value; it has no batch axis, and serves every sample."""
    numbers = np.asarray(array)
    return literal(numbers.astype(np.float32) if numbers.dtype.kind == "f" else numbers)


def zeros(shape: Sequence[int]) -> Value:
    """Return float32 zeros."""
    return _made(
        "zeros", Spec(tuple(shape)), lambda: np.zeros(tuple(shape), np.float32)
    )


def arange(stop: int) -> Value:
    """Return the int32 numbers 0 to *stop* - 1."""
    return _made(
        "arange", Spec((stop,), "int32"), lambda: np.arange(stop, dtype=np.int32)
    )


def _made(recipe: str, spec: Spec, load: Callable[[], Array]) -> Value:
    """Return a constant that is made when it is asked for, alike for a recipe."""
    return graph_constant(Constant(spec, load, recipe=(recipe,)), name="")


def cast(x: Value, dtype: DType) -> Value:
    """Return *x* as another type; fractions are cut off, bool is ``x != 0``."""
    if x.dtype == dtype:
        return x
    if dtype == "bool":
        return elementwise("ne", x, 0)
    if dtype == "int32" and x.dtype == "float32":
        return elementwise("trunc", x, dtype=dtype)
    if x.dtype == "bool":
        return elementwise(lambda v: choose(v, 1.0, 0.0), x, dtype=dtype)
    return elementwise(lambda v: v, x, dtype=dtype)


# Arithmetic


def add(x: Operand, y: Operand) -> Value:
    """Return x + y."""
    return elementwise("add", x, y)


def subtract(x: Operand, y: Operand) -> Value:
    """Return x - y."""
    return elementwise("sub", x, y)


def multiply(x: Operand, y: Operand) -> Value:
    """Return x * y."""
    return elementwise("mul", x, y)


def divide(x: Operand, y: Operand) -> Value:
    """Return x / y."""
    return elementwise("div", x, y)


def floor_divide(x: Operand, y: Operand) -> Value:
    """Return the largest whole number below x / y."""
    whole = all(not isinstance(v, float) and _is_whole(v) for v in (x, y))
    return elementwise(
        lambda u, v: call("floor", u / v), x, y, dtype="int32" if whole else "float32"
    )


def _is_whole(x: Operand) -> bool:
    """Return whether *x* holds whole numbers."""
    if isinstance(x, Value):
        return x.dtype != "float32"
    return np.asarray(x).dtype.kind in "iub"


def mod(x: Operand, y: Operand) -> Value:
    """Return the rest of x / y, with the sign of y."""
    return elementwise("mod", x, y)


def power(x: Operand, y: Operand) -> Value:
    """Return x to the power y."""
    return elementwise("pow", x, y)


def maximum(x: Operand, y: Operand) -> Value:
    """Return the larger one."""
    return elementwise("max", x, y)


def minimum(x: Operand, y: Operand) -> Value:
    """Return the smaller one."""
    return elementwise("min", x, y)


def negative(x: Value) -> Value:
    """Return -x."""
    return elementwise("neg", x)


def abs(x: Value) -> Value:  # noqa: A001 - NumPy's name, used as ops.abs
    """Return the magnitude."""
    return elementwise("abs", x)


def sign(x: Value) -> Value:
    """Return -1, 0 or 1."""
    return elementwise("sign", x)


def square(x: Value) -> Value:
    """Return x * x."""
    return elementwise("mul", x, x)


def sqrt(x: Value) -> Value:
    """Return the square root."""
    return elementwise("sqrt", x)


def rsqrt(x: Value) -> Value:
    """Return 1 / sqrt(x)."""
    return elementwise("rsqrt", x)


def reciprocal(x: Value) -> Value:
    """Return 1 / x."""
    return elementwise("div", 1.0, x)


def exp(x: Value) -> Value:
    """Return e to the power x."""
    return elementwise("exp", x)


def expm1(x: Value) -> Value:
    """Return exp(x) - 1, exact near 0."""
    return elementwise("expm1", x)


def log(x: Value) -> Value:
    """Return the natural logarithm."""
    return elementwise("log", x)


def log1p(x: Value) -> Value:
    """Return log(1 + x), exact near 0."""
    return elementwise("log1p", x)


def sin(x: Value) -> Value:
    """Return the sine."""
    return elementwise("sin", x)


def cos(x: Value) -> Value:
    """Return the cosine."""
    return elementwise("cos", x)


def tan(x: Value) -> Value:
    """Return the tangent."""
    return elementwise(lambda v: call("sin", v) / call("cos", v), x)


def arctan(x: Value) -> Value:
    """Return the angle whose tangent is x."""
    return elementwise("atan", x)


def sinh(x: Value) -> Value:
    """Return the hyperbolic sine."""
    return elementwise(
        lambda v: (call("expm1", v) - call("expm1", -v)) * 0.5, x, dtype="float32"
    )


def cosh(x: Value) -> Value:
    """Return the hyperbolic cosine."""
    return elementwise(
        lambda v: (call("exp", v) + call("exp", -v)) * 0.5, x, dtype="float32"
    )


def erf(x: Value) -> Value:
    """Return the Gauss error function."""
    return elementwise("erf", x)


def floor(x: Value) -> Value:
    """Return the next whole number below."""
    return elementwise("floor", x)


def ceil(x: Value) -> Value:
    """Return the next whole number above."""
    return elementwise("ceil", x)


def round(x: Value) -> Value:  # noqa: A001 - NumPy's name, used as ops.round
    """Return the nearest whole number, the even one of two."""
    return elementwise("round", x)


def trunc(x: Value) -> Value:
    """Return x without its fraction."""
    return elementwise("trunc", x)


def clip(x: Value, low: Operand, high: Operand) -> Value:
    """Return x, or the bound that it passes."""
    return elementwise(lambda v, a, b: call("min", call("max", v, a), b), x, low, high)


# Truth


def equal(x: Operand, y: Operand) -> Value:
    """Return where x and y are the same number."""
    return elementwise("eq", x, y)


def not_equal(x: Operand, y: Operand) -> Value:
    """Return where x and y are different numbers."""
    return elementwise("ne", x, y)


def less(x: Operand, y: Operand) -> Value:
    """Return where x < y."""
    return elementwise("lt", x, y)


def less_equal(x: Operand, y: Operand) -> Value:
    """Return where x <= y."""
    return elementwise("le", x, y)


def greater(x: Operand, y: Operand) -> Value:
    """Return where x > y."""
    return elementwise("gt", x, y)


def greater_equal(x: Operand, y: Operand) -> Value:
    """Return where x >= y."""
    return elementwise("ge", x, y)


def logical_and(x: Value, y: Value) -> Value:
    """Return where both hold."""
    return elementwise("and", x, y)


def logical_or(x: Value, y: Value) -> Value:
    """Return where one of them holds."""
    return elementwise("or", x, y)


def logical_not(x: Value) -> Value:
    """Return where x doesn't hold."""
    return elementwise("not", x)


def isnan(x: Value) -> Value:
    """Return where x is not a number."""
    return elementwise("ne", x, x)


def where(condition: Value, x: Operand, y: Operand) -> Value:
    """Return x where *condition* holds, else y."""
    return elementwise("where", condition, x, y)


# Activations, with the formulas of keras.activations


def relu(
    x: Value,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
) -> Value:
    """Return x above *threshold*, at most *max_value*, and a slope below."""

    def formula(v: Expr) -> Expr:
        y = choose(v > threshold, v, 0.0) if threshold != 0 else call("max", v, 0.0)
        if max_value is not None:
            y = call("min", call("max", y, 0.0), max_value)
        if negative_slope != 0:
            y = y - call("max", threshold - v, 0.0) * negative_slope
        return y

    if negative_slope != 0 and threshold == 0 and max_value is None:
        return leaky_relu(x, negative_slope)
    return elementwise(formula, x)


def relu6(x: Value) -> Value:
    """Return x within 0 and 6."""
    return elementwise(lambda v: call("min", call("max", v, 0.0), 6.0), x)


def leaky_relu(x: Value, negative_slope: float = 0.2) -> Value:
    """Return x, below 0 times *negative_slope*."""
    return elementwise(lambda v: choose(v >= 0.0, v, v * negative_slope), x)


def elu(x: Value, alpha: float = 1.0) -> Value:
    """Return x, below 0 alpha (e^x - 1)."""
    return elementwise(lambda v: choose(v > 0.0, v, _expm1_below_zero(v) * alpha), x)


def _expm1_below_zero(v: Expr) -> Expr:
    """Return expm1 for negative *v*, without overflow for the others."""
    return call("expm1", call("min", v, 0.0))


def celu(x: Value, alpha: float = 1.0) -> Value:
    """Return x, below 0 alpha (e^(x / alpha) - 1)."""
    return elementwise(
        lambda v: choose(
            v > 0.0, v, call("expm1", call("min", v, 0.0) / alpha) * alpha
        ),
        x,
    )


def selu(x: Value) -> Value:
    """Return the scaled elu of self-normalising networks."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return elementwise(
        lambda v: choose(v > 0.0, v, _expm1_below_zero(v) * alpha) * scale, x
    )


def softplus(x: Value) -> Value:
    """Return log(1 + e^x)."""
    return elementwise(_softplus, x, dtype="float32")


def _softplus(v: Expr) -> Expr:
    """Return log(1 + e^v) without overflow."""
    return call("max", v, 0.0) + call("log1p", call("exp", -call("abs", v)))


def log_sigmoid(x: Value) -> Value:
    """Return log(sigmoid(x))."""
    return elementwise(lambda v: -_softplus(-v), x, dtype="float32")


def softsign(x: Value) -> Value:
    """Return x over 1 + abs(x)."""
    return elementwise(lambda v: v / (1.0 + call("abs", v)), x, dtype="float32")


def sigmoid(x: Value) -> Value:
    """Return 1 / (1 + e^-x)."""
    return elementwise("sigmoid", x)


def silu(x: Value) -> Value:
    """Return x sigmoid(x), also called swish."""
    return elementwise(lambda v: v * call("sigmoid", v), x, dtype="float32")


def tanh(x: Value) -> Value:
    """Return the hyperbolic tangent."""
    return elementwise("tanh", x)


def tanh_shrink(x: Value) -> Value:
    """Return x - tanh(x)."""
    return elementwise(lambda v: v - call("tanh", v), x, dtype="float32")


def mish(x: Value) -> Value:
    """Return x tanh(softplus(x))."""
    return elementwise(lambda v: v * call("tanh", _softplus(v)), x, dtype="float32")


def gelu(x: Value, *, approximate: bool = False) -> Value:
    """Return x times the Gauss distribution of x, or its approximation by tanh."""

    def formula(v: Expr) -> Expr:
        if not approximate:
            return v * 0.5 * (1.0 + call("erf", v * math.sqrt(0.5)))
        inner = (v + v * v * v * 0.044715) * math.sqrt(2 / math.pi)
        return v * 0.5 * (1.0 + call("tanh", inner))

    return elementwise(formula, x, dtype="float32")


def hard_sigmoid(x: Value) -> Value:
    """Return relu6(x + 3) / 6 (Keras 3; Keras 2 means clip(0.2 x + 0.5))."""
    return elementwise(_hard_sigmoid, x, dtype="float32")


def _hard_sigmoid(v: Expr) -> Expr:
    """Return relu6(v + 3) / 6."""
    return call("min", call("max", v + 3.0, 0.0), 6.0) / 6.0


def hard_silu(x: Value) -> Value:
    """Return x hard_sigmoid(x), also called hard_swish."""
    return elementwise(lambda v: v * _hard_sigmoid(v), x, dtype="float32")


def hard_tanh(x: Value) -> Value:
    """Return x within -1 and 1."""
    return elementwise(lambda v: call("min", call("max", v, -1.0), 1.0), x)


def hard_shrink(x: Value, threshold: float = 0.5) -> Value:
    """Return x, or 0 where it is within the threshold."""
    return elementwise(lambda v: choose(call("abs", v) > threshold, v, 0.0), x)


def soft_shrink(x: Value, threshold: float = 0.5) -> Value:
    """Return x moved towards 0 by the threshold, 0 within it."""
    return elementwise(
        lambda v: choose(
            v > threshold, v - threshold, choose(v < -threshold, v + threshold, 0.0)
        ),
        x,
    )


def threshold(x: Value, threshold: float, default_value: float) -> Value:
    """Return x above *threshold*, else *default_value*."""
    return elementwise(lambda v: choose(v > threshold, v, default_value), x)


def sparse_plus(x: Value) -> Value:
    """Return 0 up to -1, x from 1, and (x + 1)^2 / 4 between."""
    return elementwise(
        lambda v: choose(
            v <= -1.0, 0.0, choose(v >= 1.0, v, (v + 1.0) * (v + 1.0) * 0.25)
        ),
        x,
        dtype="float32",
    )


def sparse_sigmoid(x: Value) -> Value:
    """Return (x + 1) / 2 within 0 and 1."""
    return elementwise(
        lambda v: call("min", call("max", v + 1.0, 0.0), 2.0) * 0.5, x, dtype="float32"
    )


def squareplus(x: Value, b: float = 4.0) -> Value:
    """Return (x + sqrt(x^2 + b)) / 2."""
    return elementwise(
        lambda v: (v + call("sqrt", v * v + b)) * 0.5, x, dtype="float32"
    )


def glu(x: Value, axis: int = -1) -> Value:
    """Return the first half of *axis* times the sigmoid of the second."""
    first, second = split(x, 2, axis=axis)
    return elementwise(
        lambda a, b: a * call("sigmoid", b), first, second, dtype="float32"
    )


def softmax(x: Value, axis: Axes = -1) -> Value:
    """Return e^x over its sum along *axis*; several axes count as one."""
    return _softmax(x, axis, log=False)


def log_softmax(x: Value, axis: Axes = -1) -> Value:
    """Return the logarithm of the softmax."""
    return _softmax(x, axis, log=True)


def _softmax(x: Value, axis: Axes, *, log: bool) -> Value:
    """Return the softmax over one axis, or over several joined at the end."""
    axes = _axes(axis, x)
    if len(axes) == 1:
        return apply(Softmax(axes[0], log=log), x)[0]
    rest = [a for a in range(len(x.shape)) if a not in axes]
    moved = transpose(x, (*rest, *axes))
    joined = reshape(moved, (*(x.shape[a] for a in rest), -1))
    (y,) = apply(Softmax(len(rest), log=log), joined)
    back = tuple(int(a) for a in np.argsort((*rest, *axes)))
    return transpose(reshape(y, moved.shape), back)


def sparsemax(x: Value, axis: int = -1) -> Value:
    """Return a sparse alternative to the softmax, as Keras computes it.

    Sorted downwards, the k largest elements are the support: those with ``1 + i z_i >``
    the sum of the first i. What is subtracted is the sum of the support's cumulative
    sums, less 1, over k (the projection onto the simplex would take the last of them
    alone). An element's place in the order is the number of larger ones, so that
    nothing needs to be sorted; equal ones share their places.
    """
    (axis,) = _axes(axis, x)
    last = len(x.shape) - 1
    z = swap_axes(x, axis, last)
    mine, others = expand_dims(z, last + 1), expand_dims(z, last)
    excess = sum(minimum(mine - others, 0.0), axis=last + 1)
    support = excess + 1.0 > 0.0
    size = sum(cast(support, "float32"), axis=last, keepdims=True)
    larger = sum(
        elementwise(
            lambda a, b: choose(b > a, 1.0, choose(call("eq", a, b), 0.5, 0.0)),
            mine,
            others,
        ),
        axis=last + 1,
    )
    # An element counts in the sums of its own place and of those behind it; equal ones
    # counted themselves and each other as halves.
    share = elementwise(lambda k, place: k - place + 0.5, size, larger)
    total = sum(where(support, z * share, 0.0), axis=last, keepdims=True)
    y = elementwise(lambda v, s, k: call("max", v - (s - 1.0) / k, 0.0), z, total, size)
    return swap_axes(y, axis, last)


# Reductions


def _axes(axis: Axes, x: Value) -> tuple[int, ...]:
    """Return *axis* as sorted numbers from 0; None stands for all."""
    rank = len(x.shape)
    given = range(rank) if axis is None else (axis,) if isinstance(axis, int) else axis
    for a in given:
        if not -rank <= a < rank:
            raise ValueError(f"{x.spec} has no axis {a}")
    return tuple(sorted({a % rank for a in given}))


def _reduce(
    kind: Literal["sum", "mean", "max", "min", "prod"],
    x: Value,
    axis: Axes,
    *,
    keepdims: bool,
) -> Value:
    """Return the reduction over *axis*."""
    axes = _axes(axis, x)
    return apply(Reduce(kind, axes, keepdims), x)[0] if axes else x


def sum(  # noqa: A001 - NumPy's name, used as ops.sum
    x: Value, axis: Axes = None, *, keepdims: bool = False
) -> Value:
    """Return the sum over *axis*, by default over all but the batch."""
    return _reduce("sum", x, axis, keepdims=keepdims)


def mean(x: Value, axis: Axes = None, *, keepdims: bool = False) -> Value:
    """Return the mean over *axis*."""
    return _reduce("mean", cast(x, "float32"), axis, keepdims=keepdims)


def max(  # noqa: A001 - NumPy's name, used as ops.max
    x: Value, axis: Axes = None, *, keepdims: bool = False
) -> Value:
    """Return the largest element along *axis*."""
    return _reduce("max", x, axis, keepdims=keepdims)


def min(  # noqa: A001 - NumPy's name, used as ops.min
    x: Value, axis: Axes = None, *, keepdims: bool = False
) -> Value:
    """Return the smallest element along *axis*."""
    return _reduce("min", x, axis, keepdims=keepdims)


def prod(x: Value, axis: Axes = None, *, keepdims: bool = False) -> Value:
    """Return the product over *axis*."""
    return _reduce("prod", x, axis, keepdims=keepdims)


def moments(x: Value, axis: Axes, *, keepdims: bool = False) -> tuple[Value, Value]:
    """Return the mean and the variance, the mean of squared distances from it."""
    centre = mean(x, axis, keepdims=True)
    variance = mean(square(x - centre), axis, keepdims=keepdims)
    return centre if keepdims else mean(x, axis), variance


def argmax(x: Value, axis: int = -1) -> Value:
    """Return the int32 position of the first largest element along *axis*."""
    (axis,) = _axes(axis, x)
    size = _known(x, axis)
    positions = reshape(arange(size), (size, *(1,) * (len(x.shape) - axis - 1)))
    largest = max(x, axis, keepdims=True)
    return min(where(equal(x, largest), positions, size - 1), axis)


def argmin(x: Value, axis: int = -1) -> Value:
    """Return the int32 position of the first smallest element along *axis*."""
    return argmax(negative(x), axis)


def _places(x: Value, *, descending: bool) -> Value:
    """Return the place of each element in its row's order: how many come before it.

    Equal elements keep their order. NaN compares with nothing, and has no place.
    """
    size = _known(x, len(x.shape) - 1)
    if size > LONGEST_ORDERED:
        raise ValueError(
            f"an axis of {size} elements is too long to be put in order: each is "
            f"compared with all others, which pays up to {LONGEST_ORDERED}"
        )
    index = arange(size)
    mine, others = expand_dims(x, -1), expand_dims(x, -2)
    earlier = less(expand_dims(index, -2), expand_dims(index, -1))
    ahead = greater(others, mine) if descending else less(others, mine)
    before = logical_or(ahead, logical_and(equal(others, mine), earlier))
    return sum(cast(before, "int32"), -1)


def _ordered(
    x: Value, axis: int, *, descending: bool, count: int | None = None
) -> tuple[Value, Value]:
    """Return the first *count* elements in order along *axis*, and where they stood.

    Nothing is sorted: an element's place is the number of those before it, and the
    result at a place is the sum over the one element that has it. That is one
    comparison for each pair of elements, which suits short axes and every target.
    """
    (axis,) = _axes(axis, x)
    last = len(x.shape) - 1
    row = swap_axes(x, axis, last)
    size = _known(row, last)
    place = expand_dims(_places(row, descending=descending), -2)
    here = equal(place, expand_dims(arange(size if count is None else count), -1))
    values = sum(where(here, expand_dims(row, -2), 0), -1)
    indices = sum(where(here, arange(size), 0), -1)
    return swap_axes(values, axis, last), swap_axes(indices, axis, last)


def sort(x: Value, axis: int = -1, *, descending: bool = False) -> Value:
    """Return the elements along *axis* in ascending order, or descending."""
    return _ordered(x, axis, descending=descending)[0]


def argsort(x: Value, axis: int = -1, *, descending: bool = False) -> Value:
    """Return the int32 positions that put *axis* in order; equal ones keep theirs."""
    return _ordered(x, axis, descending=descending)[1]


def top_k(x: Value, k: int, axis: int = -1) -> tuple[Value, Value]:
    """Return the *k* largest elements along *axis*, and their int32 positions."""
    return _ordered(x, axis, descending=True, count=k)


def take_along_axis(x: Value, indices: Value, axis: int = -1) -> Value:
    """Return the elements of x at *indices* of the same row, negative from its end.

    Both have the same axes but for the length of *axis*; other axes of 1 broadcast.
    """
    (axis,) = _axes(axis, x)
    last = len(x.shape) - 1
    row, wanted = swap_axes(x, axis, last), swap_axes(indices, axis, last)
    size = _known(row, last)
    wanted = where(less(wanted, 0), wanted + size, wanted)
    here = equal(expand_dims(wanted, -1), arange(size))
    return swap_axes(sum(where(here, expand_dims(row, -2), 0), -1), axis, last)


def _known(x: Value, axis: int) -> int:
    """Return the length of an axis that must not be free."""
    size = x.shape[axis]
    if size is None:
        raise ValueError(f"axis {axis} of {x.spec} can't be free here")
    return size


# Shapes


def reshape(x: Value, shape: Sequence[int | None]) -> Value:
    """Return the same elements in row-major order; one length may be -1.

    None entries are the free dimensions of *x* in their order.
    """
    target = tuple(shape)
    return x if target == x.shape else apply(Reshape(target), x)[0]


def expand_dims(x: Value, axis: int | Sequence[int]) -> Value:
    """Return x with axes of length 1, numbered as in the result."""
    given = (axis,) if isinstance(axis, int) else tuple(axis)
    rank = len(x.shape) + len(given)
    new = {a % rank for a in given}
    dims = iter(x.shape)
    return reshape(x, [1 if a in new else next(dims) for a in range(rank)])


def squeeze(x: Value, axis: Axes = None) -> Value:
    """Return x without axes of length 1."""
    if axis is None:
        axis = [a for a, d in enumerate(x.shape) if d == 1]
    axes = _axes(axis, x)
    if any(x.shape[a] != 1 for a in axes):
        raise ValueError(f"axes {axes} of {x.spec} aren't of length 1")
    return reshape(x, [d for a, d in enumerate(x.shape) if a not in axes])


def transpose(x: Value, axes: Sequence[int] | None = None) -> Value:
    """Return x whose axis i is axis ``axes[i]`` of *x*, by default in reverse."""
    rank = len(x.shape)
    order = range(rank - 1, -1, -1) if axes is None else [a % rank for a in axes]
    permutation = tuple(order)
    if permutation == tuple(range(rank)):
        return x
    return apply(Transpose(permutation), x)[0]


def swap_axes(x: Value, a: int, b: int) -> Value:
    """Return x with two axes exchanged."""
    order = list(range(len(x.shape)))
    order[a], order[b] = order[b], order[a]
    return transpose(x, order)


def flip(x: Value, axis: int = 0) -> Value:
    """Return x backwards along *axis*."""
    (axis,) = _axes(axis, x)
    whole = (None, None, 1)
    slices = tuple(
        (None, None, -1) if a == axis else whole for a in range(len(x.shape))
    )
    # Bidirectional turns back what go_backwards has turned.
    if x.node is not None and x.node.primitive == Slice(slices):
        return x.node.inputs[0]
    return apply(Slice(slices), x)[0]


def pad(x: Value, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Value:
    """Return x with *value* in front of and behind each axis."""
    pairs = tuple((low, high) for low, high in widths)
    return apply(Pad(pairs, value), x)[0] if any(map(any, pairs)) else x


def concatenate(values: Sequence[Value], axis: int = -1) -> Value:
    """Return the values one behind the other along *axis*."""
    (axis,) = _axes(axis, values[0])
    types = {x.dtype for x in values}
    if len(types) > 1:
        common: DType = "float32" if "float32" in types else "int32"
        values = [cast(x, common) for x in values]
    return values[0] if len(values) == 1 else apply(Concat(axis), *values)[0]


def stack(values: Sequence[Value], axis: int = 0) -> Value:
    """Return the values side by side along a new axis."""
    return concatenate([expand_dims(x, axis) for x in values], axis)


def split(x: Value, sections: int | Sequence[int], axis: int = -1) -> list[Value]:
    """Return equal parts of x along *axis*, or the parts between the given places."""
    (axis,) = _axes(axis, x)
    size = _known(x, axis)
    if isinstance(sections, int):
        if size % sections:
            raise ValueError(f"axis {axis} of {x.spec} has no {sections} equal parts")
        places = [size // sections * part for part in range(1, sections)]
    else:
        places = list(sections)
    before = (slice(None),) * axis
    bounds = zip([0, *places], [*places, size], strict=True)
    return [x[(*before, slice(start, stop))] for start, stop in bounds]


def repeat(x: Value, repeats: int, axis: int) -> Value:
    """Return x with each element along *axis* repeated."""
    return resize(x, [axis], factors=[repeats])


def tile(x: Value, repeats: Sequence[int]) -> Value:
    """Return x one behind itself, *repeats* times along each axis."""
    x = expand_dims(x, range(len(repeats) - len(x.shape)))
    for axis, count in enumerate((1,) * (len(x.shape) - len(repeats)) + (*repeats,)):
        x = concatenate([x] * count, axis)
    return x


def broadcast_to(x: Value, shape: Sequence[int | None]) -> Value:
    """Return x with its axes of length 1 repeated up to *shape*."""
    x = expand_dims(x, range(len(shape) - len(x.shape)))
    grown = [
        (axis, new)
        for axis, (old, new) in enumerate(zip(x.shape, shape, strict=True))
        if old == 1 and new != 1
    ]
    for axis, (old, new) in enumerate(zip(x.shape, shape, strict=True)):
        if old not in (1, new) or (old == 1 and new is None):
            raise ValueError(f"axis {axis} of {x.spec} doesn't grow to {new}")
    if not grown:
        return x
    # Reading the single element everywhere is resizing by "nearest".
    return resize(x, [a for a, _ in grown], sizes=[n or 0 for _, n in grown])


def take(x: Value, indices: Value, axis: int) -> Value:
    """Return the elements of x at *indices*, whose axes take the place of *axis*."""
    (axis,) = _axes(axis, x)
    return apply(Gather(axis), x, cast(indices, "int32"))[0]


def one_hot(x: Value, count: int) -> Value:
    """Return 1.0 at the position x of a new last axis; nothing for other numbers."""
    return cast(equal(expand_dims(x, -1), arange(count)), "float32")


# Sums of products


def matmul(a: Value, b: Value) -> Value:
    """Return the matrix product over the last two axes; the others broadcast."""
    if len(b.shape) == 1 or len(a.shape) == 1:
        rows = builtins.max(len(b.shape) - 2, 0)
        return apply(Contract((len(a.shape) - 1,), (rows,)), a, b)[0]
    if len(b.shape) == len("jk"):
        return apply(Contract((len(a.shape) - 1,), (0,)), a, b)[0]
    return einsum("...ij,...jk->...ik", a, b)


def einsum(equation: str, *operands: Value) -> Value:
    """Return the sum of products that *equation* states, without the batch axis.

    An ellipsis stands for axes that broadcast. Raises ValueError for an equation that
    takes the diagonal of an operand.
    """
    terms, result = _parse(equation, operands)
    pairs = list(zip(operands, terms, strict=True))
    while len(pairs) > 1:
        (a, left), (b, right), *rest = pairs
        later = result + "".join(term for _, term in rest)
        pairs = [_contract(a, left, b, right, keep=later), *rest]
    x, term = pairs[0]
    x = sum(x, [i for i, c in enumerate(term) if c not in result])
    term = "".join(c for c in term if c in result)
    return transpose(x, [term.index(c) for c in result])


def _parse(equation: str, operands: Sequence[Value]) -> tuple[list[str], str]:
    """Return one letter per axis for the operands and for the result."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow or len(terms) != len(operands):
        raise ValueError(f"{equation!r} isn't an equation of {len(operands)} operands")
    spare = [c for c in map(chr, range(ord("\u0391"), ord("\u03a1"))) if c not in left]
    widths = [
        len(x.shape) - len(term.replace("...", ""))
        for x, term in zip(operands, terms, strict=True)
    ]
    widest = builtins.max(
        (w for w, term in zip(widths, terms, strict=True) if "..." in term), default=0
    )
    dots = "".join(spare[:widest])
    terms = [
        term.replace("...", dots[widest - width :] if width > 0 else "")
        for width, term in zip(widths, terms, strict=True)
    ]
    result = result.replace("...", dots)
    for x, term in zip(operands, terms, strict=True):
        if len(term) != len(x.shape) or len({*term}) != len(term):
            raise ValueError(f"{equation!r} doesn't fit {x.spec}")
    if not {*result} <= {*"".join(terms)} or len({*result}) != len(result):
        raise ValueError(f"{equation!r} has a result that it doesn't define")
    return terms, result


def _contract(
    a: Value, left: str, b: Value, right: str, *, keep: str
) -> tuple[Value, str]:
    """Return the product of two operands, summed over the letters not to *keep*."""
    a, left = _without_lone(a, left, b, right, keep)
    b, right = _without_lone(b, right, a, left, keep)
    joint = [c for c in left if c in right]
    batch = [c for c in joint if c in keep]
    summed = [c for c in joint if c not in keep]
    primitive = Contract(
        tuple(left.index(c) for c in summed),
        tuple(right.index(c) for c in summed),
        tuple(left.index(c) for c in batch),
        tuple(right.index(c) for c in batch),
    )
    rest = [c for c in left + right if c not in joint]
    return apply(primitive, a, b)[0], "".join((*batch, *rest))


def _without_lone(
    x: Value, term: str, other: Value, others: str, keep: str
) -> tuple[Value, str]:
    """Return x without the axes that only it has, or that broadcast from 1."""
    lone = [i for i, c in enumerate(term) if c not in others + keep]
    single = [
        i
        for i, c in enumerate(term)
        if c in others and x.shape[i] == 1 and other.shape[others.index(c)] != 1
    ]
    x = sum(x, lone, keepdims=True)
    gone = {*lone, *single}
    x = squeeze(x, sorted(gone))
    return x, "".join(c for i, c in enumerate(term) if i not in gone)


# Windows


def _sizes(value: Sizes, rank: int) -> tuple[int, ...]:
    """Return one number per spatial axis."""
    return (value,) * rank if isinstance(value, int) else tuple(value)


def _paddings(
    x: Value,
    window: Sequence[int],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
) -> tuple[Padding, ...]:
    """Return the zeros in front of and behind each spatial axis."""
    if not isinstance(padding, str):
        return tuple((low, high) for low, high in padding)
    match padding:
        case "valid":
            return ((0, 0),) * len(window)
        case "causal":
            return tuple((size - 1, 0) for size in window)
        case "same":
            return tuple(
                (
                    same_padding(length or 0, size, stride)
                    if length is not None
                    else same_padding(1, size, 1) if stride == 1 else "same"
                )
                for length, size, stride in zip(x.shape, window, strides, strict=False)
            )
    raise ValueError(f"padding {padding!r} isn't valid, same or causal")


def conv(  # noqa: PLR0913 - a convolution has that many options
    x: Value,
    kernel: Value,
    *,
    strides: Sizes = 1,
    padding: str | Sequence[tuple[int, int]] = "valid",
    dilation: Sizes = 1,
    input_dilation: Sizes = 1,
    groups: int = 1,
) -> Value:
    """Return the N-d convolution of ``(*spatial, c)`` with ``(*window, c, o)``."""
    rank = len(x.shape) - 1
    strides, dilation = _sizes(strides, rank), _sizes(dilation, rank)
    extents = [(_known(kernel, axis) - 1) * dilation[axis] + 1 for axis in range(rank)]
    pads = _paddings(x, extents, strides, padding)
    primitive = Conv(strides, pads, dilation, _sizes(input_dilation, rank), groups)
    return apply(primitive, x, kernel)[0]


def max_pool(
    x: Value,
    size: Sizes,
    *,
    strides: Sizes | None = None,
    padding: str | Sequence[tuple[int, int]] = "valid",
) -> Value:
    """Return the largest element of each window over ``(*spatial, c)``."""
    return _pool("max", x, size, strides, padding)


def average_pool(
    x: Value,
    size: Sizes,
    *,
    strides: Sizes | None = None,
    padding: str | Sequence[tuple[int, int]] = "valid",
) -> Value:
    """Return the mean of each window over ``(*spatial, c)``; padding doesn't count."""
    return _pool("mean", x, size, strides, padding)


def _pool(
    kind: Literal["max", "mean"],
    x: Value,
    size: Sizes,
    strides: Sizes | None,
    padding: str | Sequence[tuple[int, int]],
) -> Value:
    """Return the pooled windows."""
    rank = len(x.shape) - 1
    window = _sizes(size, rank)
    steps = window if strides is None else _sizes(strides, rank)
    pads = _paddings(x, window, steps, padding)
    return apply(Window(kind, window, steps, pads), x)[0]


def resize(  # noqa: PLR0913 - so has an interpolation
    x: Value,
    axes: Sequence[int],
    *,
    sizes: Sequence[int] | None = None,
    factors: Sequence[int] | None = None,
    method: Method = "nearest",
    antialias: bool = False,
) -> Value:
    """Return x interpolated along *axes* to *sizes*, or to a multiple."""
    numbers = tuple(a % len(x.shape) for a in axes)
    scale = (1,) * len(numbers) if factors is None else tuple(factors)
    new: tuple[int | None, ...] = (
        tuple(sizes)
        if sizes is not None
        else tuple(
            None if x.shape[a] is None else _known(x, a) * factor
            for a, factor in zip(numbers, scale, strict=True)
        )
    )
    if all(size == x.shape[a] for a, size in zip(numbers, new, strict=True)) and all(
        factor == 1 for factor in scale
    ):
        return x
    return apply(Resize(numbers, new, scale, method, antialias), x)[0]


# Loops


def scan(
    step: Callable[..., tuple[Sequence[Value], Sequence[Value]]],
    sequences: Sequence[Value],
    states: Sequence[Value],
    *,
    reverse: bool = False,
) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Return the output sequences and the last states of a loop over axis 0.

    ``step(*elements, *states)`` returns the next states and the elements of the output
    sequences. Whatever else it reads, weights included, is the same in every step.
    With *reverse* the steps are taken from the end, and each output stands where its
    input stood.
    """
    elements = [Value(Spec(x.shape[1:], x.dtype), name="x") for x in sequences]
    carried = [Value(x.spec, name="state") for x in states]
    new_states, outputs = step(*elements, *carried)
    for old, new in zip(states, new_states, strict=True):
        if old.spec != new.spec:
            raise ValueError(
                f"a state is {old.spec} before and {new.spec} after a step"
            )
    results = (*new_states, *outputs)
    body, invariants = _closed((*elements, *carried), results)
    primitive = Scan(body, len(sequences), len(states), reverse)
    given = apply(primitive, *sequences, *states, *invariants)
    return given[: len(outputs)], given[len(outputs) :]


def _closed(
    inputs: tuple[Value, ...], outputs: tuple[Value, ...]
) -> tuple[Graph, tuple[Value, ...]]:
    """Return a body of *inputs* and invariants, and the invariants' values.

    What doesn't depend on the inputs is computed once, outside.
    """
    open_graph = Graph(inputs, outputs, ("",) * len(outputs))
    inner: set[Node] = set()
    for node in open_graph.nodes:
        if any(x in inputs or x.node in inner for x in node.inputs):
            inner.add(node)
    parameters: dict[ValueKey, tuple[Value, Value]] = {}

    def parameter(x: Value) -> Value:
        if x.key not in parameters:
            parameters[x.key] = (Value(x.spec, name=x.name or "invariant"), x)
        return parameters[x.key][0]

    renewed: dict[tuple[Node, int], Value] = {}

    def inside(x: Value) -> Value:
        if x in inputs:
            return x
        if x.node is None or x.node not in inner:
            return parameter(x)
        return renewed[x.node, x.index]

    for node in open_graph.nodes:
        if node not in inner:
            continue
        results = apply(node.primitive, *map(inside, node.inputs), origins=node.origins)
        renewed.update({(node, i): y for i, y in enumerate(results)})
    results = tuple(map(inside, outputs))
    pairs = parameters.values()
    names = tuple(str(i) for i in range(len(results)))
    body = Graph((*inputs, *(p for p, _ in pairs)), results, names)
    return body, tuple(x for _, x in pairs)


def positions(x: Value, axis: int) -> Value:
    """Return 0, 1, 2... as many as *axis* of x is long, also where that is free."""
    (axis,) = _axes(axis, x)
    size = x.shape[axis]
    if size is not None:
        return arange(size)
    others = [a for a in range(len(x.shape)) if a != axis]
    line = x
    for a in reversed(others):
        line = take(line, literal(np.zeros((), np.int32)), a)

    def step(element: Value, count: Value) -> tuple[list[Value], list[Value]]:
        # The element is read for its being there: adding 0 or 1 keeps a NaN out.
        one = elementwise(lambda v: choose(call("eq", v, v), 1.0, 1.0), element)
        return [count + one], [count]

    (counts,), _ = scan(step, [line], [zeros(())])
    return cast(counts, "int32")
