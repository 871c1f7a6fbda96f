"""Scalar expressions in JavaScript mean what they mean in NumPy."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from javascript.node import TOLERANCE, check, run
from small_graphs import graph, value

from keramos.emit.javascript import emit_javascript
from keramos.expr import ARITY, JAVASCRIPT, Expr, call, const, operand, where
from keramos.graph import Node, apply
from keramos.primitives import (
    Concat,
    DType,
    Map,
    Pad,
    Primitive,
    Reduce,
    Reshape,
    Resize,
    Slice,
    Spec,
    Transpose,
    broadcast,
)

SPECIAL = [
    *(0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -1.5, -2.5, 0.49999997, 1e-8, -1e-8, 3.0, -3.0),
    *(
        1.0,
        -1.0,
        7.25,
        -7.25,
        100.0,
        -100.0,
        1e20,
        -1e20,
        math.inf,
        -math.inf,
        math.nan,
    ),
]


def compared(expr: Expr, *columns: list[float], dtype: DType = "float32") -> None:
    """Hold a Map to NumPy on columns of numbers."""
    inputs = [value(len(columns[0]), name=f"x{k}") for k in range(len(columns))]
    model = graph(*apply(Map(expr, dtype), *inputs))
    arrays = [np.array([column], np.float32) for column in columns]
    with np.errstate(all="ignore"):
        (e,) = model.evaluate(*(x.astype(np.float64) for x in arrays))
        e = e.astype(np.float32)

    (a,) = run(model, arrays).outputs

    np.testing.assert_allclose(a, e, rtol=TOLERANCE, atol=1e-10)


def numbers(op: str) -> list[float]:
    """Return the special numbers for which *op* is defined alike everywhere."""
    # Beyond that, sines of doubles and of floats have nothing in common.
    limit = 200 if op in ("sin", "cos") else math.inf
    return [x for x in SPECIAL if not abs(x) > limit]


@pytest.mark.parametrize("op", [op for op in JAVASCRIPT if ARITY[op] == 1])
def test_operators_of_one_operand(op: str) -> None:
    x = operand(0)

    compared(call(op, x > 0 if op == "not" else x), numbers(op))


@pytest.mark.parametrize("op", [op for op in JAVASCRIPT if ARITY[op] == 2])
def test_operators_of_two_operands(op: str) -> None:
    pairs = [(p, q) for p in SPECIAL for q in SPECIAL]
    if op == "mod":  # C leaves the remainder of division by zero open, as NumPy does
        pairs = [
            (p, q) for p, q in pairs if q and math.isfinite(p + q) and abs(p) < 1e9
        ]
    if op == "pow":  # JavaScript has NaN for 1 to any power that isn't a number
        pairs = [(p, q) for p, q in pairs if abs(p) != 1 or math.isfinite(q)]
    p, q = operand(0), operand(1)
    logic = op in ("and", "or")

    expr = call(op, *((p > 0, q > 0) if logic else (p, q)))

    compared(expr, [p for p, _ in pairs], [q for _, q in pairs])


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_results_are_stored_as_their_type(dtype: DType) -> None:
    x = operand(0)

    finite = [v for v in SPECIAL if abs(v) < 1e9]

    compared(x, finite, dtype=dtype)
    compared(x > 0, finite, dtype=dtype)
    compared(where(x > 0, x < 2, x < -2), finite, dtype=dtype)
    compared(where(call("floor", x), x * 2.5, x > 0), finite, dtype=dtype)


def test_literals_of_any_size() -> None:
    x = operand(0)
    values = [-1.5, -0.0, 1e-30, 1e30, 123456789.0, 1e300, math.inf, -math.inf]

    for v in values:
        compared(x - const(v), [1.0, -2.0])
        compared(-const(v) + x, [1.0, -2.0])


def test_equal_parts_are_computed_once() -> None:
    x = operand(0)
    part = call("exp", x + 1)
    model = graph(*apply(Map(part * part + call("sqrt", part)), value(3)))

    text = emit_javascript(model, names={})

    assert text.count("Math.exp(") == 1


def test_a_deep_expression_of_shared_parts_stays_short() -> None:
    expr = operand(0)
    for _ in range(40):
        expr = expr * 0.5 + expr
    model = graph(*apply(Map(expr), value(1)))

    assert len(emit_javascript(model, names={})) < 10_000


def test_views_of_one_array_are_read_each_in_its_own_order() -> None:
    x = value(4, 1)
    (across,) = apply(Reshape((1, 4)), x)
    flat = graph(*apply(Map(operand(0) * 2 + operand(1)), x, across))
    numbers_ = np.arange(4, dtype=np.float32).reshape(1, 4, 1)

    (y,) = run(flat, [numbers_]).outputs

    assert y[0].tolist() == [[2.0 * i + j for j in range(4)] for i in range(4)]


EPILOGUES: Mapping[str, tuple[Primitive, tuple[int, ...], tuple[int, ...]]] = {
    "a map": (Map(operand(0) * 2), (3, 4), (4,)),
    "a concatenation": (Concat(0), (3, 4), (3, 1)),
    "a transposition": (Transpose((1, 0)), (3, 4), (3,)),
    "a slice": (Slice(((1, None, 1), (None, None, -2))), (3, 4), (2, 2)),
    "a pad": (Pad(((1, 0), (0, 2)), 0.5), (3, 4), (4, 1)),
    "a reduction that grows": (Reduce("sum", (1,), keepdims=True), (3, 4), (3, 4)),
    "a resize": (Resize((0,), (5,), (1,), "bilinear"), (3, 4), (4,)),
}


@pytest.mark.parametrize("name", EPILOGUES)
def test_epilogues_stand_behind_any_primitive(name: str) -> None:
    primitive, shape, other = EPILOGUES[name]
    x, extra = value(*shape), value(*other, name="extra")
    (plain,) = apply(primitive, x)
    node = Node(
        primitive,
        (x, extra),
        (Spec(broadcast([plain.shape, other])),),
        epilogue=operand(0) + operand(1) * 0.5,
        arity=1,
    )

    check(graph(*node.results()))
