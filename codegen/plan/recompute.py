"""Cheap elementwise results that the elementwise nodes behind them compute anew.

The distance from a mean, of which a normalisation takes the square as well as a
multiple, costs a subtraction: less than a draw that stores it, and a texture.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from keramos.expr import operand, substitute
from keramos.graph import Graph, Node, Value, ValueKey
from keramos.passes.algebra import cost, kind, reads, rename, size
from keramos.passes.fuse_epilogues import CHEAP, MOST_OPERANDS
from keramos.passes.fuse_maps import LARGEST
from keramos.passes.matching import compact, origins
from keramos.plan.prologues import as_prologue
from keramos.primitives import Map


def recomputed(graph: Graph) -> frozenset[Node]:
    """Return the cheap Maps of *graph* that only several other Maps read.

    Those have results of the same shape, so that it is computed once for each reader.
    """
    readers: dict[ValueKey, dict[Node, None]] = {}
    for node in graph.nodes:
        for x in node.inputs:
            readers.setdefault(x.key, {})[node] = None
    kept = {y.key for y in graph.outputs}
    found: set[Node] = set()
    for node in graph.nodes:
        mine = readers.get((node, 0), {})
        alone = (node, 0) in kept or any(x.node in found for x in node.inputs)
        fits = len(mine) > 1 and all(_has_room(reader, node) for reader in mine)
        if fits and not alone and _is_cheap(node):
            found.add(node)
    return frozenset(found)


def _is_cheap(node: Node) -> bool:
    """Return whether *node* is a Map of one tensor of its shape and of small ones."""
    if not isinstance(node.primitive, Map) or as_prologue(node) is None:
        return False
    expr = node.primitive.expr
    plain = kind(expr, [x.dtype for x in node.inputs]) == "float32"
    return plain and cost(expr) <= CHEAP


def _has_room(reader: Node, inner: Node) -> bool:
    """Return whether *reader* is a Map that can compute what *inner* does."""
    if not isinstance(reader.primitive, Map) or not isinstance(inner.primitive, Map):
        return False
    if reader.specs[0].shape != inner.specs[0].shape or reader.epilogue is not None:
        return False
    place = [k for k, x in enumerate(reader.inputs) if x.node is inner]
    times = sum(reads(reader.primitive.expr)[k] for k in place)
    larger = size(reader.primitive.expr) + times * size(inner.primitive.expr)
    joint = {x.key for x in (*reader.inputs, *inner.inputs)}
    return larger <= LARGEST and len(joint) <= MOST_OPERANDS


def with_recomputed(node: Node, inside: Collection[Node]) -> Node:
    """Return *node* with what it reads of the Maps *inside* in its expression."""
    found = [x.node for x in node.inputs if x.node is not None and x.node in inside]
    if not found or not isinstance(node.primitive, Map):
        return node
    operands: list[Value] = []
    parts = []
    for x in node.inputs:
        inner = x.node if x.node in found else None
        part = operand(0)
        given: tuple[Value, ...] = (x,)
        if inner is not None and isinstance(inner.primitive, Map):
            part, given = inner.primitive.expr, inner.inputs
        parts.append(rename(part, len(operands).__add__))
        operands += given
    expr, kept = compact(substitute(node.primitive.expr, parts), operands)
    return replace(
        node,
        primitive=replace(node.primitive, expr=expr),
        inputs=kept,
        origins=origins(*found, node),
    )
