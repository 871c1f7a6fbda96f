"""Remove what gives back what it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from keramos.expr import operand
from keramos.graph import Graph, Node, Value, apply
from keramos.passes.algebra import simplify
from keramos.passes.matching import compact
from keramos.primitives import (
    Concat,
    Contract,
    Conv,
    Gather,
    Map,
    Pad,
    Primitive,
    Reduce,
    Reshape,
    Resize,
    Scan,
    Slice,
    Softmax,
    Spec,
    Transpose,
    Window,
)


def remove_identities(graph: Graph) -> Graph:
    """Return the graph without identities, and without operands that aren't needed."""
    return graph.rewrite(_visit)


def _visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Return the operand that *node* gives back, or the node with fewer operands."""
    if isinstance(node.primitive, Map):
        return _tidy(node, node.primitive, inputs)
    if isinstance(node.primitive, Concat) and node.epilogue is None:
        return _filled(node, node.primitive, inputs)
    if not _is_identity(node.primitive, node, inputs[0].spec):
        return None
    if node.epilogue is None:
        return (inputs[0],)
    rest = Map(node.epilogue, node.specs[0].dtype)
    return apply(rest, inputs[0], *inputs[node.arity :], origins=node.origins)


def _tidy(
    node: Node, primitive: Map, inputs: tuple[Value, ...]
) -> tuple[Value, ...] | None:
    """Return a Map that reads each operand once, and none for nothing."""
    expr = simplify(primitive.expr)
    if expr == operand(expr.index) and inputs[expr.index].spec == node.specs[0]:
        return (inputs[expr.index],)
    expr, operands = compact(expr, inputs)
    tidy = replace(primitive, expr=expr)
    if expr == primitive.expr and len(operands) == len(inputs):
        return None
    if tidy.infer(*(x.spec for x in operands)) != node.specs:
        return None
    return apply(tidy, *operands, origins=node.origins)


def _filled(
    node: Node, primitive: Concat, inputs: tuple[Value, ...]
) -> tuple[Value, ...] | None:
    """Return a Concat of the inputs that aren't empty."""
    filled = tuple(x for x in inputs if x.shape[primitive.axis] != 0)
    if len(filled) == 1 and filled[0].spec == node.specs[0]:
        return filled
    if not filled or len(filled) == len(inputs):
        return None
    if primitive.infer(*(x.spec for x in filled)) != node.specs:
        return None
    return apply(primitive, *filled, origins=node.origins)


def _is_identity(primitive: Primitive, node: Node, x: Spec) -> bool:
    """Return whether *primitive* gives back *x*."""
    match primitive:
        case Window():
            ones = (1,) * len(primitive.size)
            still = all(pad in ((0, 0), "same") for pad in primitive.padding)
            return primitive.size == primitive.strides == ones and still
        case Reduce():
            return not primitive.axes
        case Reshape():
            if primitive.shape == x.shape:
                return True
            # With a single free dimension there is no other way to hold the elements.
            return node.specs[0].shape == x.shape and x.shape.count(None) <= 1
        case Transpose():
            return primitive.permutation == tuple(range(len(x.shape)))
        case Slice():
            pairs = zip(primitive.slices, x.shape, strict=True)
            return all(_is_whole(s, d) for s, d in pairs)
        case Pad():
            return not any(map(any, primitive.widths))
        case Resize():
            pairs_ = zip(primitive.axes, primitive.size, primitive.factor, strict=True)
            return all(
                factor == 1 if size is None else size == x.shape[axis]
                for axis, size, factor in pairs_
            )
        case Map() | Conv() | Contract() | Softmax() | Gather() | Concat() | Scan():
            return False
        case _:
            assert_never(primitive)


def _is_whole(part: tuple[int | None, int | None, int], d: int | None) -> bool:
    """Return whether a slice takes the whole of an axis of length *d*."""
    start, stop, step = part
    if step != 1:
        return False
    if d is None:
        return start in (None, 0) and stop is None
    return range(*slice(start, stop).indices(d)) == range(d)
