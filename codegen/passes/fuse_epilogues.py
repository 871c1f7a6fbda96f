"""Compute elementwise what a heavy node gives, before it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from keramos.expr import operand, substitute
from keramos.graph import Graph, Node, Value
from keramos.passes.algebra import cast, cost, kind, reads, rename, simplify
from keramos.passes.matching import Readers, compact, key, origins
from keramos.primitives import Contract, Conv, Map, Reduce, Shape, Softmax, Window

# Beyond that, shaders have too few texture units and compilers take too long.
MOST_OPERANDS = 10

# What may be computed twice rather than stored, in multiplications.
CHEAP = 4


def fuse_epilogues(graph: Graph) -> Graph:
    """Return the graph with each Map as the epilogue of a node that only it reads.

    Bias, activation, scale and residual: of several nodes the one that comes last takes
    the Map, contractions and convolutions first.
    """
    readers = Readers(graph)
    order = {node: place for place, node in enumerate(graph.nodes)}

    def visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        readers.follow(node, inputs)
        if not isinstance(node.primitive, Map) or node.specs[0].dtype != "float32":
            return None
        shape = node.specs[0].shape
        found = [
            (isinstance(giver.primitive, Conv | Contract), _place(order, old), index)
            for index, (old, x) in enumerate(zip(node.inputs, inputs, strict=True))
            if (giver := producer(x, shape, readers)) is not None
        ]
        for _, _, index in sorted(found, reverse=True):
            fused = _fused(node, node.primitive, inputs, index)
            if fused is not None:
                return fused.results()
        return None

    return graph.rewrite(visit)


def _place(order: Mapping[Node, int], x: Value) -> int:
    """Return where the node that gives *x* stands."""
    return -1 if x.node is None else order[x.node]


def producer(x: Value, shape: Shape, readers: Readers) -> Node | None:
    """Return the node that gives *x* where a Map of *shape* can be its epilogue."""
    node = x.node
    if node is None or x.dtype != "float32" or x.shape != shape:
        return None
    if not isinstance(node.primitive, Conv | Contract | Window | Reduce | Softmax):
        return None
    return node if readers.lone(x) else None


def _fused(
    node: Node, primitive: Map, inputs: tuple[Value, ...], index: int
) -> Node | None:
    """Return the node that gives operand *index*, with the Map behind it."""
    giver = inputs[index].node
    given = kind(primitive.expr, [x.dtype for x in inputs])
    expr = None if given is None else cast(primitive.expr, given, "float32")
    if giver is None or expr is None:
        return None
    result = inputs[index]
    before = giver.epilogue or operand(0)
    if cost(before) > CHEAP and reads(expr)[index] > 1:
        return None
    # Operand 0 is the result, then come the extras of both.
    operands = [result, *giver.extras, *inputs]
    parts = [
        before if key(x) == key(result) else operand(1 + len(giver.extras) + number)
        for number, x in enumerate(inputs)
    ]
    joint = simplify(substitute(expr, parts))
    joint, kept = compact(joint, operands)
    extras = tuple(x for x in kept if key(x) != key(result))
    if len(extras) == len(kept) or len(extras) > MOST_OPERANDS:
        return None
    place = {key(x): number + 1 for number, x in enumerate(extras)}
    return replace(
        giver,
        inputs=(*giver.operands, *extras),
        epilogue=rename(joint, lambda i: place.get(key(kept[i]), 0)),
        arity=len(giver.operands),
        origins=origins(giver, node),
    )
