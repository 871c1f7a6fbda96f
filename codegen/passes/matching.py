"""What passes ask about the nodes around a node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from keramos.expr import Expr, operands_of
from keramos.graph import Graph, Node, Origin, Value
from keramos.passes.algebra import rename
from keramos.primitives import (
    Primitive,
    Shape,
    Transpose,
)

Pass = Callable[[Graph], Graph]
Key = Hashable


def key(x: Value) -> Key:
    """Return what is equal for values that are known to be equal."""
    if x.constant is not None:
        return x.constant.identity
    return x.key


class Readers:
    """How many nodes and outputs read each value, also while a graph is rewritten."""

    def __init__(self, graph: Graph) -> None:
        """Count the readers in *graph*."""
        self._counts = Counter(map(key, graph.outputs))
        for node in graph.nodes:
            self._counts.update(set(map(key, node.inputs)))

    def follow(self, node: Node, inputs: Sequence[Value]) -> None:
        """Count for the new *inputs* of *node* what was counted for the old ones."""
        for old, new in zip(node.inputs, inputs, strict=True):
            self._counts[key(new)] = self._counts[key(old)]

    def lone(self, x: Value) -> bool:
        """Return whether *x* has one reader."""
        return self._counts[key(x)] == 1


def compact(expr: Expr, operands: Sequence[Value]) -> tuple[Expr, tuple[Value, ...]]:
    """Return *expr* of distinct operands that it reads; of the first if it reads none.

    The result's shape may be smaller, where only an operand that isn't read is large.
    """
    first = {
        key(x): x for index, x in enumerate(operands) if index in operands_of(expr)
    }
    number = {k: index for index, k in enumerate(first)}
    renamed = rename(expr, lambda index: number[key(operands[index])])
    return renamed, tuple(first.values()) or tuple(operands[:1])


def plain(x: Value, kind: type[Primitive]) -> Node | None:
    """Return the node that gives *x* where it is a *kind* without an epilogue."""
    node = x.node
    if node is None or node.epilogue is not None:
        return None
    return node if isinstance(node.primitive, kind) else None


def origins(*nodes: Node) -> tuple[Origin, ...]:
    """Return the layers that went into *nodes*, each once."""
    return tuple(dict.fromkeys(origin for node in nodes for origin in node.origins))


def transposed(x: Value) -> tuple[Value, tuple[int, ...]] | None:
    """Return what *x* is a transpose of, and the permutation."""
    node = plain(x, Transpose)
    if node is None or not isinstance(node.primitive, Transpose):
        return None
    return node.inputs[0], node.primitive.permutation


def aligned(shape: Shape, rank: int) -> Shape:
    """Return *shape* with ones in front, up to *rank*."""
    return (1,) * (rank - len(shape)) + shape
