"""Compute once what stands in the graph more than once."""

from __future__ import annotations

from dataclasses import replace

from keramos.expr import Expr
from keramos.graph import Graph, Node, Value
from keramos.passes.matching import Key, key
from keramos.primitives import Primitive

_Identity = tuple[Primitive, tuple[Key, ...], Expr | None]


def share_equal_nodes(graph: Graph) -> Graph:
    """Return the graph with one node for those that compute the same."""
    known: dict[_Identity, tuple[Value, ...]] = {}

    def shared(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        kept = node if same else replace(node, inputs=inputs)
        identity = (node.primitive, tuple(map(key, inputs)), node.epilogue)
        return known.setdefault(identity, kept.results())

    return graph.rewrite(shared)
