"""Scalar expressions: the one vocabulary in which elementwise arithmetic is written.

Every target is a table from operator to syntax, so what is written here runs on all of
them. Adding an operator means adding one entry to each table, and to ``_EVALUATE``,
which defines what it means.

Comparisons and logic give booleans, which only ``where`` and logic consume. GLSL holds
them as 0.0 and 1.0, since its texels are floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BOOLEAN = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"})


@dataclass(frozen=True, slots=True)
class Expr:
    """An operator applied to operands.

    ``const`` has a *value*; ``input`` has an *index*: the operand that it stands for.
    """

    op: str
    args: tuple[Expr, ...] = ()
    value: float = 0.0
    index: int = 0

    def __add__(self, other: Expr | float) -> Expr:
        """Return the sum."""
        return Expr("add", (self, wrap(other)))

    def __radd__(self, other: float) -> Expr:
        """Return the sum."""
        return Expr("add", (wrap(other), self))

    def __sub__(self, other: Expr | float) -> Expr:
        """Return the difference."""
        return Expr("sub", (self, wrap(other)))

    def __rsub__(self, other: float) -> Expr:
        """Return the difference."""
        return Expr("sub", (wrap(other), self))

    def __mul__(self, other: Expr | float) -> Expr:
        """Return the product."""
        return Expr("mul", (self, wrap(other)))

    def __rmul__(self, other: float) -> Expr:
        """Return the product."""
        return Expr("mul", (wrap(other), self))

    def __truediv__(self, other: Expr | float) -> Expr:
        """Return the quotient."""
        return Expr("div", (self, wrap(other)))

    def __rtruediv__(self, other: float) -> Expr:
        """Return the quotient."""
        return Expr("div", (wrap(other), self))

    def __neg__(self) -> Expr:
        """Return the negation."""
        return Expr("neg", (self,))

    def __lt__(self, other: Expr | float) -> Expr:
        """Return whether self is smaller."""
        return Expr("lt", (self, wrap(other)))

    def __le__(self, other: Expr | float) -> Expr:
        """Return whether self is smaller or equal."""
        return Expr("le", (self, wrap(other)))

    def __gt__(self, other: Expr | float) -> Expr:
        """Return whether self is larger."""
        return Expr("gt", (self, wrap(other)))

    def __ge__(self, other: Expr | float) -> Expr:
        """Return whether self is larger or equal."""
        return Expr("ge", (self, wrap(other)))

    @property
    def is_boolean(self) -> bool:
        """Return whether the value is a truth value."""
        if self.op == "where":
            return self.args[1].is_boolean
        return self.op in BOOLEAN


def const(value: float) -> Expr:
    """Return a literal."""
    return Expr("const", value=float(value))


def operand(index: int) -> Expr:
    """Return the placeholder of the operand at *index*."""
    return Expr("input", index=index)


def wrap(value: Expr | float) -> Expr:
    """Return *value* as an expression."""
    return value if isinstance(value, Expr) else const(value)


def call(op: str, *args: Expr | float) -> Expr:
    """Return *op*, one of the names of the syntax tables, applied to *args*."""
    if len(args) != ARITY[op]:
        raise ValueError(f"{op} takes {ARITY[op]} operands, not {len(args)}")
    return Expr(op, tuple(map(wrap, args)))


def where(condition: Expr, true: Expr | float, false: Expr | float) -> Expr:
    """Return *true* where *condition* holds, else *false*; never both."""
    return Expr("where", (condition, wrap(true), wrap(false)))


def substitute(expr: Expr, operands: Sequence[Expr]) -> Expr:
    """Return *expr* with its placeholders replaced."""
    if expr.op == "input":
        return operands[expr.index]
    if not expr.args:
        return expr
    return Expr(expr.op, tuple(substitute(arg, operands) for arg in expr.args))


def operands_of(expr: Expr) -> frozenset[int]:
    """Return the indexes of the placeholders that *expr* reads."""
    if expr.op == "input":
        return frozenset({expr.index})
    return frozenset().union(*map(operands_of, expr.args))


def _erf(x: NDArray[Any]) -> NDArray[Any]:
    y: NDArray[Any] = np.vectorize(math.erf, otypes=[np.float64])(x)
    return y.astype(x.dtype)


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    tail = np.exp(-np.abs(x))
    y: NDArray[Any] = np.where(x >= 0, 1, tail) / (1 + tail)
    return y


_EVALUATE: Mapping[str, Callable[..., Any]] = {
    "abs": np.abs,
    "add": np.add,
    "and": np.logical_and,
    "atan": np.arctan,
    "ceil": np.ceil,
    "cos": np.cos,
    "div": np.divide,
    "eq": np.equal,
    "erf": _erf,
    "exp": np.exp,
    "expm1": np.expm1,
    "floor": np.floor,
    "ge": np.greater_equal,
    "gt": np.greater,
    "le": np.less_equal,
    "log": np.log,
    "log1p": np.log1p,
    "lt": np.less,
    "max": np.maximum,
    "min": np.minimum,
    "mod": np.mod,
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "not": np.logical_not,
    "or": np.logical_or,
    "pow": np.power,
    "round": np.rint,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": _sigmoid,
    "sign": np.sign,
    "sin": np.sin,
    "sqrt": np.sqrt,
    "sub": np.subtract,
    "tanh": np.tanh,
    "trunc": np.trunc,
    "where": np.where,
}


def evaluate(expr: Expr, operands: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return the value of *expr* on arrays that broadcast against each other."""
    if expr.op == "const":
        dtype = next((x.dtype for x in operands if x.dtype.kind == "f"), np.float32)
        return np.asarray(expr.value, dtype)
    if expr.op == "input":
        return operands[expr.index]
    with np.errstate(all="ignore"):
        value: NDArray[Any] = _EVALUATE[expr.op](
            *(evaluate(arg, operands) for arg in expr.args)
        )
    return value


# The functions that NumPy lacks (erf, sigmoid) are emitted beside the code.
NUMPY: Mapping[str, str] = {
    "abs": "np.abs({})",
    "add": "({} + {})",
    "and": "np.logical_and({}, {})",
    "atan": "np.arctan({})",
    "ceil": "np.ceil({})",
    "cos": "np.cos({})",
    "div": "({} / {})",
    "eq": "({} == {})",
    "erf": "erf({})",
    "exp": "np.exp({})",
    "expm1": "np.expm1({})",
    "floor": "np.floor({})",
    "ge": "({} >= {})",
    "gt": "({} > {})",
    "le": "({} <= {})",
    "log": "np.log({})",
    "log1p": "np.log1p({})",
    "lt": "({} < {})",
    "max": "np.maximum({}, {})",
    "min": "np.minimum({}, {})",
    "mod": "np.mod({}, {})",
    "mul": "({} * {})",
    "ne": "({} != {})",
    "neg": "(-{})",
    "not": "np.logical_not({})",
    "or": "np.logical_or({}, {})",
    "pow": "np.power({}, {})",
    "round": "np.rint({})",
    "rsqrt": "(1 / np.sqrt({}))",
    "sigmoid": "sigmoid({})",
    "sign": "np.sign({})",
    "sin": "np.sin({})",
    "sqrt": "np.sqrt({})",
    "sub": "({} - {})",
    "tanh": "np.tanh({})",
    "trunc": "np.trunc({})",
    "where": "np.where({}, {}, {})",
}

# Operands are vec4; the k_ functions stand in shaders/lib.
GLSL: Mapping[str, str] = {
    "abs": "abs({})",
    "add": "({} + {})",
    "and": "({} * {})",
    "atan": "atan({})",
    "ceil": "ceil({})",
    "cos": "k_cos({})",
    "div": "({} / {})",
    "eq": "vec4(equal({}, {}))",
    "erf": "k_erf({})",
    "exp": "exp({})",
    "expm1": "k_expm1({})",
    "floor": "floor({})",
    "ge": "vec4(greaterThanEqual({}, {}))",
    "gt": "vec4(greaterThan({}, {}))",
    "le": "vec4(lessThanEqual({}, {}))",
    "log": "log({})",
    "log1p": "k_log1p({})",
    "lt": "vec4(lessThan({}, {}))",
    "max": "max({}, {})",
    "min": "min({}, {})",
    "mod": "k_mod({}, {})",
    "mul": "({} * {})",
    "ne": "vec4(notEqual({}, {}))",
    "neg": "(-{})",
    "not": "(1.0 - {})",
    "or": "max({}, {})",
    "pow": "k_pow({}, {})",
    "round": "roundEven({})",
    "rsqrt": "(1.0 / sqrt({}))",
    "sigmoid": "k_sigmoid({})",
    "sign": "sign({})",
    "sin": "k_sin({})",
    "sqrt": "sqrt({})",
    "sub": "({} - {})",
    "tanh": "k_tanh({})",
    "trunc": "trunc({})",
    "where": "k_where({}, {}, {})",
}

# Operands are numbers; erf, mod, roundEven and sigmoid are emitted beside the code.
JAVASCRIPT: Mapping[str, str] = {
    "abs": "Math.abs({})",
    "add": "({} + {})",
    "and": "({} && {})",
    "atan": "Math.atan({})",
    "ceil": "Math.ceil({})",
    "cos": "Math.cos({})",
    "div": "({} / {})",
    "eq": "({} === {})",
    "erf": "erf({})",
    "exp": "Math.exp({})",
    "expm1": "Math.expm1({})",
    "floor": "Math.floor({})",
    "ge": "({} >= {})",
    "gt": "({} > {})",
    "le": "({} <= {})",
    "log": "Math.log({})",
    "log1p": "Math.log1p({})",
    "lt": "({} < {})",
    "max": "Math.max({}, {})",
    "min": "Math.min({}, {})",
    "mod": "mod({}, {})",
    "mul": "({} * {})",
    "ne": "({} !== {})",
    "neg": "(-{})",
    "not": "(!{})",
    "or": "({} || {})",
    "pow": "Math.pow({}, {})",
    "round": "roundEven({})",
    "rsqrt": "(1 / Math.sqrt({}))",
    "sigmoid": "sigmoid({})",
    "sign": "Math.sign({})",
    "sin": "Math.sin({})",
    "sqrt": "Math.sqrt({})",
    "sub": "({} - {})",
    "tanh": "Math.tanh({})",
    "trunc": "Math.trunc({})",
    "where": "({} ? {} : {})",
}

ARITY: Mapping[str, int] = {op: text.count("{}") for op, text in NUMPY.items()}


def render(
    expr: Expr,
    syntax: Mapping[str, str],
    operands: Sequence[str],
    literal: Callable[[float], str],
) -> str:
    """Return *expr* as source text in one target's syntax.

    *operands* are the texts of the placeholders, *literal* writes a constant.
    """
    if expr.op == "input":
        return operands[expr.index]
    if expr.op == "const":
        return literal(expr.value)
    return syntax[expr.op].format(
        *(render(arg, syntax, operands, literal) for arg in expr.args)
    )
