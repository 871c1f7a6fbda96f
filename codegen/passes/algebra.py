"""Questions about scalar expressions, and equivalent ones that are cheaper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np

from keramos import expr as scalar
from keramos.expr import Expr, call, const, operand, operands_of, where
from keramos.primitives import DType

_COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
_LOGIC = frozenset({"and", "or", "not"})

# In multiplications, as a GPU or NumPy takes them.
_COSTS = {
    "const": 0,
    "input": 0,
    "div": 4,
    "sqrt": 4,
    "mod": 6,
    "rsqrt": 6,
    "atan": 12,
    "cos": 12,
    "erf": 12,
    "exp": 12,
    "expm1": 12,
    "log": 12,
    "log1p": 12,
    "pow": 12,
    "sigmoid": 12,
    "sin": 12,
    "tanh": 12,
}

ZERO, ONE = const(0), const(1)


def size(expr: Expr) -> int:
    """Return the number of operators."""
    return bool(expr.args) + sum(map(size, expr.args))


def cost(expr: Expr) -> int:
    """Return how much work *expr* is, in multiplications."""
    return _COSTS.get(expr.op, 1) + sum(map(cost, expr.args))


def reads(expr: Expr) -> Counter[int]:
    """Return how often each operand is read."""
    if expr.op == "input":
        return Counter([expr.index])
    return sum(map(reads, expr.args), Counter())


def kind(expr: Expr, dtypes: Sequence[DType]) -> DType | None:
    """Return what *expr* gives for operands of *dtypes*; None where it mixes types.

    Expressions that have a kind mean the same on every target.
    """
    if expr.op == "const":
        return "float32"
    if expr.op == "input":
        return dtypes[expr.index]
    kinds = [kind(arg, dtypes) for arg in expr.args]
    if expr.op == "where":
        return kinds[1] if kinds[0] == "bool" and kinds[1] == kinds[2] else None
    if expr.op in _LOGIC:
        return "bool" if set(kinds) == {"bool"} else None
    if expr.op in _COMPARISONS:
        return "bool" if set(kinds) <= {"float32", "int32"} else None
    return "float32" if set(kinds) == {"float32"} else None


def cast(expr: Expr, given: DType, wanted: DType) -> Expr | None:
    """Return *expr* of kind *given* as *wanted*; None where arithmetic is needed."""
    if given == wanted:
        return expr
    if (given, wanted) == ("bool", "float32"):
        return where(expr, 1, 0)
    if (given, wanted) == ("float32", "bool"):
        return call("ne", expr, 0)
    return None


def rename(expr: Expr, numbers: Callable[[int], int]) -> Expr:
    """Return *expr* with its operands renumbered."""
    if expr.op == "input":
        return operand(numbers(expr.index))
    if not expr.args:
        return expr
    return replace(expr, args=tuple(rename(arg, numbers) for arg in expr.args))


def simplify(expr: Expr) -> Expr:
    """Return *expr* without neutral elements, its literals computed ahead of time."""
    if not expr.args:
        return expr
    args = tuple(map(simplify, expr.args))
    expr = expr if args == expr.args else replace(expr, args=args)
    if all(arg.op == "const" for arg in args) and expr.op not in scalar.BOOLEAN:
        return const(_computed(expr))
    match expr.op, args:
        case "add", (x, y):
            return y if x == ZERO else x if y == ZERO else expr
        case "sub", (x, y):
            return x if y == ZERO else expr
        case "mul", (x, y):
            return y if x == ONE else x if y == ONE else expr
        case "div", (x, y):
            return x if y == ONE else expr
        case "neg", (x,):
            return x.args[0] if x.op == "neg" else expr
        case _:
            return expr


def _computed(expr: Expr) -> float:
    """Return the value of *expr*, which reads no operands."""
    operands = [np.asarray(arg.value) for arg in expr.args]
    flat = replace(expr, args=tuple(map(operand, range(len(operands)))))
    return float(scalar.evaluate(flat, operands))


@dataclass(frozen=True, slots=True)
class Affine:
    """``scale * x + shift``, both without x; *inner* is the expression as it stood."""

    inner: Expr
    scale: Expr
    shift: Expr


def affine(
    expr: Expr, index: int, constants: AbstractSet[int]
) -> tuple[Expr, Affine] | None:
    """Return *expr* as an outer expression of an affine one of operand *index*.

    In the outer expression the operand stands for the affine one, which reads only
    *constants* besides, and is as large as can be. None where there is none.
    """
    for inner in _parts(expr, index):
        coefficients = _coefficients(inner, index, constants)
        outer = _put(expr, inner, operand(index))
        # Elsewhere the operand must not be read as it was.
        if coefficients and reads(outer)[index] == _occurrences(expr, inner):
            scale, shift = coefficients
            return outer, Affine(inner, scale, shift)
    return None


def _parts(expr: Expr, index: int) -> list[Expr]:
    """Return the sums and products that read operand *index*, the largest first."""
    found: dict[Expr, int] = {}

    def visit(part: Expr) -> None:
        if part.args and index in operands_of(part):
            if part.op in _AFFINE:
                found[part] = size(part)
            for arg in part.args:
                visit(arg)

    visit(expr)
    return sorted(found, key=lambda part: -found[part])


def _put(expr: Expr, old: Expr, new: Expr) -> Expr:
    """Return *expr* with *new* wherever it has *old*."""
    if expr == old:
        return new
    if not expr.args:
        return expr
    return replace(expr, args=tuple(_put(arg, old, new) for arg in expr.args))


def _occurrences(expr: Expr, part: Expr) -> int:
    """Return how often *part* stands in *expr*."""
    if expr == part:
        return 1
    return sum(_occurrences(arg, part) for arg in expr.args)


def _coefficients(
    expr: Expr, index: int, constants: AbstractSet[int]
) -> tuple[Expr, Expr] | None:
    """Return scale and shift of an affine *expr*, None where it isn't one."""
    if index not in operands_of(expr):
        return (ZERO, expr) if operands_of(expr) <= constants else None
    if expr.op == "input":
        return ONE, ZERO
    pairs = [_coefficients(arg, index, constants) for arg in expr.args]
    known = [pair for pair in pairs if pair is not None]
    if len(known) < len(pairs) or expr.op not in _AFFINE:
        return None
    (p, s), (q, t) = (known * 2)[:2]
    match expr.op:
        case "neg":
            scale, shift = -p, -s
        case "add":
            scale, shift = p + q, s + t
        case "sub":
            scale, shift = p - q, s - t
        case "mul" if q == ZERO:
            scale, shift = p * t, _scaled(s, "mul", t)
        case "mul" if p == ZERO:
            scale, shift = q * s, _scaled(t, "mul", s)
        case "div" if q == ZERO:
            scale, shift = p / t, _scaled(s, "div", t)
        case _:
            return None
    scale = simplify(scale)
    return None if scale == ZERO else (scale, simplify(shift))


_AFFINE = frozenset({"neg", "add", "sub", "mul", "div"})


def _scaled(shift: Expr, op: str, factor: Expr) -> Expr:
    """Return *shift* times or over *factor*; nothing stays nothing."""
    return ZERO if shift == ZERO else call(op, shift, factor)
