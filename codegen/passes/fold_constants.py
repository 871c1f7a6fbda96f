"""Compute ahead of time whatever doesn't depend on the inputs."""

from __future__ import annotations

import numpy as np

from keramos.expr import operands_of
from keramos.graph import Array, Constant, Graph, Node, Value, constant
from keramos.passes.matching import key
from keramos.primitives import Map, Scan, product


def fold_constants(graph: Graph) -> Graph:
    """Return the graph with constants for the nodes that read nothing else.

    Nothing is computed yet: a constant's numbers are made when they are asked for.
    """
    return graph.rewrite(_folded)


def _folded(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Return the results as constants."""
    if isinstance(node.primitive, Scan):
        return None
    if isinstance(node.primitive, Map) and not operands_of(node.primitive.expr):
        return _uniform(node)
    if any(x.constant is None for x in inputs):
        return None
    return tuple(_result(node, inputs, index) for index in range(len(node.specs)))


def _result(node: Node, inputs: tuple[Value, ...], index: int) -> Value:
    """Return one result of *node* on constants."""

    def load() -> Array:
        arrays = [x.constant.array()[None] for x in inputs if x.constant is not None]
        result: Array = node.evaluate(*arrays)[index][0]
        return result

    name = next((x.name for x in inputs if x.name), "")
    recipe = (node.primitive, node.epilogue, index, *map(key, inputs))
    return constant(Constant(node.specs[index], load, recipe=recipe), name=name)


def _uniform(node: Node) -> tuple[Value, ...] | None:
    """Return the result of a Map that reads none of its operands' numbers."""
    spec = node.specs[0]
    if product(spec.shape) is None:
        return None
    shape = tuple(d or 0 for d in spec.shape)

    def load() -> Array:
        zeros = np.zeros((1, *shape), np.float32)
        result: Array = node.evaluate(*(zeros for _ in node.inputs))[0][0]
        return result

    recipe = (node.primitive,)
    return (constant(Constant(spec, load, recipe=recipe), name=""),)
