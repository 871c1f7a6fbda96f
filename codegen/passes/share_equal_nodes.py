"""Compute once what stands in the graph more than once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from keramos.expr import Expr
from keramos.graph import Graph, Node, Value
from keramos.passes.matching import Key, key
from keramos.primitives import Primitive

_Identity = tuple[Primitive, tuple[Key, ...], Expr | None]


def share_equal_nodes(graph: Graph) -> Graph:
    """Return the graph with one node for those that compute the same.

    So for constants: a layer that is applied twice has its weights folded once.
    """
    known: dict[_Identity, tuple[Value, ...]] = {}
    constants: dict[Hashable, Value] = {}

    def common(x: Value) -> Value:
        return x if x.constant is None else constants.setdefault(x.constant.identity, x)

    def shared(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        inputs = tuple(map(common, inputs))
        same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        kept = node if same else replace(node, inputs=inputs)
        identity = (node.primitive, tuple(map(key, inputs)), node.epilogue)
        return known.setdefault(identity, kept.results())

    return graph.rewrite(shared)
