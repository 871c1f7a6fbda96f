"""The names that every target and every report gives to nodes and constants."""

from __future__ import annotations

from keramos.graph import Graph, Node, Value
from keramos.text import identifier, unique


def stage_names(graph: Graph) -> dict[Node, str]:
    """Return a unique identifier per node, after its leading Keras layer.

    A layer that became several nodes gives ``name``, ``name_2``, ...
    """
    leading = [
        node.origins[0].layer if node.origins else "stage" for node in graph.nodes
    ]
    return dict(zip(graph.nodes, unique(map(identifier, leading)), strict=True))


def constant_names(graph: Graph) -> dict[Value, str]:
    """Return a unique identifier per constant (``conv1_kernel``)."""
    constants = graph.constants()
    names = unique(identifier(value.name or "constant") for value in constants)
    return dict(zip(constants, names, strict=True))


def input_names(graph: Graph) -> dict[Value, str]:
    """Return a unique identifier per input, for parameters of emitted functions."""
    names = unique(identifier(value.name) for value in graph.inputs)
    return dict(zip(graph.inputs, names, strict=True))
