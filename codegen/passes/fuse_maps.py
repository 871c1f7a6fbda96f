"""Make one elementwise node of two."""

from __future__ import annotations

from keramos.expr import Expr, operand, substitute
from keramos.graph import Graph, Node, Value, apply
from keramos.passes.algebra import cast, cost, kind, reads, rename, simplify, size
from keramos.passes.fuse_epilogues import CHEAP, MOST_OPERANDS, producer
from keramos.passes.matching import Readers, compact, key, origins, plain
from keramos.primitives import Map, product

LARGEST = 64
_MOST_ROUNDS = 4


def fuse_maps(graph: Graph) -> Graph:
    """Return the graph with each Map inside the Map that alone reads it.

    It stays where it would be computed more often than before, and where it can become
    the epilogue of another node than its reader can.
    """
    for _ in range(_MOST_ROUNDS):
        before = len(graph.nodes)
        graph = _once(graph)
        # Where two readers have become one, it may be fused in the next round.
        if len(graph.nodes) == before:
            break
    return graph


def _once(graph: Graph) -> Graph:
    """Return the graph after one round."""
    readers = Readers(graph)

    def visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        readers.follow(node, inputs)
        if not isinstance(node.primitive, Map):
            return None
        return _fused(node, node.primitive, inputs, readers)

    return graph.rewrite(visit)


def _fused(
    node: Node, primitive: Map, inputs: tuple[Value, ...], readers: Readers
) -> tuple[Value, ...] | None:
    """Return *node* with its operands' expressions in its own."""
    if kind(primitive.expr, [x.dtype for x in inputs]) is None:
        return None
    counts = reads(primitive.expr)
    values = sum(x.constant is None and product(x.shape) != 1 for x in inputs)
    operands: list[Value] = []
    parts: list[Expr] = []
    layers = [node]
    room = LARGEST - size(primitive.expr)
    for index, x in enumerate(inputs):
        inner = plain(x, Map)
        part = operand(0)
        given: tuple[Value, ...] = (x,)
        if inner is not None and _fits_inside(inner, x, node, values, readers):
            found = _part(inner, x)
            joint = {key(y) for y in (*operands, *inner.inputs, *inputs[index + 1 :])}
            if (
                found is not None
                and (counts[index] == 1 or cost(found) <= CHEAP)
                and counts[index] * size(found) <= room
                and len(joint) <= MOST_OPERANDS
            ):
                part, given = found, inner.inputs
                room -= counts[index] * size(found)
                layers.insert(0, inner)
        parts.append(rename(part, len(operands).__add__))
        operands += given
    if len(layers) == 1:
        return None
    expr = simplify(substitute(primitive.expr, parts))
    expr, kept = compact(expr, operands)
    (y,) = apply(Map(expr, primitive.dtype), *kept, origins=origins(*layers))
    return (y,) if y.spec == node.specs[0] else None


def _fits_inside(
    inner: Node, x: Value, node: Node, values: int, readers: Readers
) -> bool:
    """Return whether *x*, which *inner* gives, is computed as often inside *node*."""
    if x.shape != node.specs[0].shape or not readers.lone(x):
        return False
    # Where node reads other values, inner may serve as an epilogue better.
    return values == 1 or not any(producer(y, x.shape, readers) for y in inner.inputs)


def _part(inner: Node, x: Value) -> Expr | None:
    """Return the expression whose value is *x*; None where it can't be read inside."""
    if not isinstance(inner.primitive, Map):
        return None
    expr = inner.primitive.expr
    given = kind(expr, [y.dtype for y in inner.inputs])
    return None if given is None else cast(expr, given, x.dtype)
