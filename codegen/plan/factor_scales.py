"""Multiply by the scale of 8-bit weights once, behind the sum over their codes.

sum over c of x[c] * (scale[o] * q[c, o]) = scale[o] * sum over c of x[c] * q[c, o]
"""

from __future__ import annotations

from dataclasses import replace

from keramos.expr import operand, substitute
from keramos.graph import Constant, Factors, Graph, Node, Value, constant
from keramos.passes.round_weights import scaled_axes


def factor_scales(graph: Graph) -> Graph:
    """Return *graph* on codes, each node's scales in its epilogue."""
    return graph.rewrite(_factored)


def scale_name(name: str) -> str:
    """Return what the scale of a constant is called in a weights file."""
    return f"{name}.scale"


def _factored(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    renewed = replace(node, inputs=inputs)
    for index, x in enumerate(inputs):
        factors = _factors(x.constant)
        if factors is not None and scaled_axes(node, index):
            renewed = _scaled(renewed, index, x, factors)
    return renewed.results()


def _factors(x: Constant | None) -> Factors | None:
    return None if x is None else x.factors


def _scaled(node: Node, index: int, x: Value, factors: Factors) -> Node:
    """Return *node* on the codes of input *index*, its result scaled."""
    arity = len(node.operands)
    operands = list(node.operands)
    operands[index] = replace(x, constant=factors.codes)
    scale = constant(factors.scale, name=scale_name(x.name))
    result = operand(0) * operand(len(node.extras) + 1)
    extras = [operand(number + 1) for number in range(len(node.extras))]
    whole = operand(0) if node.epilogue is None else node.epilogue
    return replace(
        node,
        inputs=(*operands, *node.extras, scale),
        epilogue=substitute(whole, [result, *extras]),
        arity=arity,
    )
