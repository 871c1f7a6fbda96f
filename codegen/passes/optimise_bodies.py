"""Optimise what a Scan repeats."""

from __future__ import annotations

from dataclasses import replace

from keramos.graph import Graph, Node, Value
from keramos.passes.cancel_reshapes import cancel_reshapes
from keramos.passes.cancel_transposes import cancel_transposes
from keramos.passes.fuse_epilogues import fuse_epilogues
from keramos.passes.fuse_maps import fuse_maps
from keramos.passes.merge_movements import merge_movements
from keramos.passes.order_contractions import order_contractions
from keramos.passes.remove_identities import remove_identities
from keramos.passes.share_equal_nodes import share_equal_nodes
from keramos.primitives import Scan

# Those that make no constants: a body has none.
_PASSES = (
    remove_identities,
    share_equal_nodes,
    cancel_reshapes,
    cancel_transposes,
    order_contractions,
    merge_movements,
    remove_identities,
    fuse_maps,
    fuse_epilogues,
)


def optimise_bodies(graph: Graph) -> Graph:
    """Return the graph with the bodies of its loops optimised."""
    return graph.rewrite(_visit)


def _visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Return the loop over the optimised body."""
    primitive = node.primitive
    if not isinstance(primitive, Scan) or not isinstance(primitive.body, Graph):
        return None
    body = optimise_bodies(primitive.body)
    for step in _PASSES:
        body = step(body)
    scan = replace(primitive, body=body)
    return replace(node, primitive=scan, inputs=inputs).results()
