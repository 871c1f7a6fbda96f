"""Make one node of two that move data in the same way."""

from __future__ import annotations

from keramos.graph import Graph, Node, Value, apply
from keramos.passes.matching import Readers, origins, plain
from keramos.primitives import Concat, Pad, Slice


def merge_movements(graph: Graph) -> Graph:
    """Return the graph with one slice, pad or concat for two of a kind."""
    readers = Readers(graph)

    def merged(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        readers.follow(node, inputs)
        if node.epilogue is not None:
            return None
        match node.primitive:
            case Slice():
                return _slice(node, node.primitive, inputs[0])
            case Pad():
                return _pad(node, node.primitive, inputs[0])
            case Concat():
                return _concat(node, node.primitive, inputs, readers)
            case _:
                return None

    return graph.rewrite(merged)


def _slice(node: Node, primitive: Slice, x: Value) -> tuple[Value, ...] | None:
    """Return one slice for two."""
    inner = plain(x, Slice)
    if inner is None or not isinstance(inner.primitive, Slice):
        return None
    source = inner.inputs[0]
    slices = []
    for d, first, second in zip(
        source.shape, inner.primitive.slices, primitive.slices, strict=True
    ):
        if second == (None, None, 1):
            slices.append(first)
        elif first == (None, None, 1):
            slices.append(second)
        elif d is None:
            return None
        else:
            taken = range(d)[slice(*first)][slice(*second)]
            slices.append(_slice_of(taken))
    return apply(Slice(tuple(slices)), source, origins=origins(inner, node))


def _slice_of(taken: range) -> tuple[int | None, int | None, int]:
    """Return the slice that takes *taken*."""
    if not taken:
        return 0, 0, 1
    # A stop in front of the first element can't be written as a number.
    return taken.start, None if taken.stop < 0 else taken.stop, taken.step


def _pad(node: Node, primitive: Pad, x: Value) -> tuple[Value, ...] | None:
    """Return one pad for two."""
    inner = plain(x, Pad)
    if inner is None or not isinstance(inner.primitive, Pad):
        return None
    if inner.primitive.value != primitive.value:
        return None
    widths = tuple(
        (low + more_low, high + more_high)
        for (low, high), (more_low, more_high) in zip(
            inner.primitive.widths, primitive.widths, strict=True
        )
    )
    pad = Pad(widths, primitive.value)
    return apply(pad, inner.inputs[0], origins=origins(inner, node))


def _concat(
    node: Node, primitive: Concat, inputs: tuple[Value, ...], readers: Readers
) -> tuple[Value, ...] | None:
    """Return one concat for a concat of concats that nothing else reads."""
    parts: list[Value] = []
    joined = [node]
    for x in inputs:
        inner = plain(x, Concat)
        if inner is None or inner.primitive != primitive or not readers.lone(x):
            parts.append(x)
        else:
            parts += inner.inputs
            joined.append(inner)
    if len(joined) == 1:
        return None
    (y,) = apply(primitive, *parts, origins=origins(*joined))
    return (y,) if y.spec == node.specs[0] else None
