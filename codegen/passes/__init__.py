"""Graph to graph: what makes a model cheap to run, one verb a file."""

from __future__ import annotations

from collections.abc import Collection

from keramos.graph import Graph
from keramos.passes.cancel_reshapes import cancel_reshapes
from keramos.passes.cancel_transposes import cancel_transposes
from keramos.passes.fold_affine import fold_affine
from keramos.passes.fold_constants import fold_constants
from keramos.passes.fold_padding import fold_padding
from keramos.passes.fuse_epilogues import fuse_epilogues
from keramos.passes.fuse_maps import fuse_maps
from keramos.passes.hoist_products import hoist_products
from keramos.passes.inline_numbers import inline_numbers
from keramos.passes.matching import Pass
from keramos.passes.merge_movements import merge_movements
from keramos.passes.optimise_bodies import optimise_bodies
from keramos.passes.order_contractions import order_contractions
from keramos.passes.remove_identities import remove_identities
from keramos.passes.share_equal_nodes import share_equal_nodes
from keramos.passes.vectorise_steps import vectorise_steps

__all__ = ["PASSES", "Pass", "optimise"]

# What moves data first, so that what is left meets; what computes last.
PASSES: tuple[tuple[str, Pass], ...] = (
    ("vectorise_steps", vectorise_steps),
    ("hoist_products", hoist_products),
    ("fold_constants", fold_constants),
    ("remove_identities", remove_identities),
    ("share_equal_nodes", share_equal_nodes),
    ("cancel_reshapes", cancel_reshapes),
    ("cancel_transposes", cancel_transposes),
    ("cancel_reshapes", cancel_reshapes),
    ("order_contractions", order_contractions),
    ("merge_movements", merge_movements),
    ("remove_identities", remove_identities),
    ("share_equal_nodes", share_equal_nodes),
    ("fold_padding", fold_padding),
    ("inline_numbers", inline_numbers),
    ("fuse_maps", fuse_maps),
    ("fold_affine", fold_affine),
    ("inline_numbers", inline_numbers),
    ("remove_identities", remove_identities),
    ("fuse_maps", fuse_maps),
    ("fuse_epilogues", fuse_epilogues),
    ("fold_constants", fold_constants),
    ("share_equal_nodes", share_equal_nodes),
    ("optimise_bodies", optimise_bodies),
)


def optimise(graph: Graph, *, skip: Collection[str] = ()) -> Graph:
    """Return a graph with the same meaning that is cheaper to run.

    *skip* names passes to leave out. Raises ValueError where a pass breaks the graph.
    """
    for name, step in PASSES:
        if name not in skip:
            graph = step(graph)
            graph.verify()
    return graph
