"""Write single numbers into the expressions that read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from keramos.expr import Expr, const, operand, substitute
from keramos.graph import Graph, Node, Value, apply
from keramos.passes.algebra import simplify
from keramos.passes.matching import compact
from keramos.primitives import Map, Reshape, product


def inline_numbers(graph: Graph) -> Graph:
    """Return the graph with literals for the constants that are one float32 number.

    Other constants lose their leading axes of length 1, so that a number per channel
    always looks the same.
    """
    return graph.rewrite(_inlined)


def _inlined(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Return the Map, or the node with an epilogue, with literals."""
    if isinstance(node.primitive, Map) and node.epilogue is None:
        expr, operands = _with_literals(node.primitive.expr, inputs)
        primitive = replace(node.primitive, expr=expr)
        if operands == inputs:
            return None
        if primitive.infer(*(x.spec for x in operands)) != node.specs:
            return None
        return replace(node, primitive=primitive, inputs=operands).results()
    if node.epilogue is None:
        return None
    result = Value(node.specs[0], name="result")
    extras = (result, *inputs[node.arity :])
    expr, kept = _with_literals(node.epilogue, extras)
    if kept == extras or kept[0] is not result:
        return None
    new = (*inputs[: node.arity], *kept[1:])
    return replace(node, inputs=new, epilogue=expr).results()


def _with_literals(
    expr: Expr, operands: Sequence[Value]
) -> tuple[Expr, tuple[Value, ...]]:
    """Return *expr* with its single numbers written out."""
    parts = [_number(x) or operand(index) for index, x in enumerate(operands)]
    slim = [_slim(x) for x in operands]
    return compact(simplify(substitute(expr, parts)), slim)


def _slim(x: Value) -> Value:
    """Return a constant without leading axes of length 1."""
    shape = x.shape
    while shape and shape[0] == 1:
        shape = shape[1:]
    if x.constant is None or shape == x.shape:
        return x
    return apply(Reshape(shape), x)[0]


def _number(x: Value) -> Expr | None:
    """Return the literal that *x* is."""
    if x.constant is None or x.dtype != "float32" or product(x.shape) != 1:
        return None
    value = float(x.constant.array().reshape(()))
    # A NaN isn't equal to itself, and so expressions with it would never be.
    return None if math.isnan(value) else const(value)
