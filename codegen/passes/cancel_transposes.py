"""Move transposes towards the outputs until they cancel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from keramos.graph import Graph, Node, Value, apply
from keramos.passes.matching import Readers, aligned, plain, transposed
from keramos.primitives import (
    Concat,
    Contract,
    Map,
    Pad,
    Primitive,
    Reduce,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Transpose,
)

_Permutation = tuple[int, ...]
T = TypeVar("T")


def cancel_transposes(graph: Graph) -> Graph:
    """Return the graph with fewer transposes.

    A transpose moves behind the nodes that read it, whose axes are renumbered: a model
    that is channels-first between channels-last convolutions becomes channels-last.
    Contractions take the axes as they are, and give them the other way round if that is
    what is read. Constants are transposed ahead of time, and a transpose that moves
    nothing but axes of length 1 is a reshape.
    """
    readers = Readers(graph)

    def visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        readers.follow(node, inputs)
        if isinstance(node.primitive, Transpose) and readers.lone(inputs[0]):
            turned = _turned(node.primitive, inputs[0])
            if turned is not None:
                return turned
        return _sunk(node, inputs)

    return graph.rewrite(visit).rewrite(_settled)


def _turned(transpose: Transpose, x: Value) -> tuple[Value, ...] | None:
    """Return the transpose of a product as that of its factors, changed places."""
    node = plain(x, Contract)
    if node is None or not isinstance(node.primitive, Contract):
        return None
    a, b = node.inputs
    contract = node.primitive
    batch = len(contract.a_batch)
    left = len(a.shape) - batch - len(contract.a_contract)
    total = len(x.shape)
    swapping = (*range(batch), *range(batch + left, total), *range(batch, batch + left))
    # Weights stay where they are.
    computed = a.constant is None and b.constant is None
    if not computed or transpose.permutation != swapping:
        return None
    turned = Contract(
        contract.b_contract, contract.a_contract, contract.b_batch, contract.a_batch
    )
    return apply(turned, b, a, origins=node.origins)


def _sunk(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Return the transpose of a node, for a node of transposes."""
    if isinstance(node.primitive, Contract):
        return _contracted(node, node.primitive, inputs)
    if node.epilogue is not None:
        return None
    if isinstance(node.primitive, Transpose):
        return _joined(node, node.primitive, inputs[0])
    found = [transposed(x) for x in inputs if x.constant is None]
    permutations = {pair[1] for pair in found if pair is not None}
    if None in found or len(permutations) != 1:
        return None
    (permutation,) = permutations
    moved = _moved(node.primitive, permutation)
    rank = len(permutation)
    if moved is None or any(len(x.shape) > rank for x in inputs):
        return None
    primitive, behind = moved
    back = _inverse(permutation)
    before = [
        pair[0] if (pair := transposed(x)) is not None else _constant(x, back)
        for x in inputs
    ]
    (y,) = apply(primitive, *before, origins=node.origins)
    return (y,) if behind == _identity(behind) else apply(Transpose(behind), y)


def _joined(node: Node, primitive: Transpose, x: Value) -> tuple[Value, ...] | None:
    """Return one transpose for two, none where they cancel."""
    found = transposed(x)
    if found is None:
        return None
    source, first = found
    permutation = tuple(first[axis] for axis in primitive.permutation)
    if permutation == _identity(permutation):
        return (source,)
    return apply(Transpose(permutation), source, origins=node.origins)


def _moved(
    primitive: Primitive, permutation: _Permutation
) -> tuple[Primitive, _Permutation] | None:
    """Return *primitive* for the untransposed x, and the transpose of its result."""
    match primitive:
        case Map():
            return primitive, permutation
        case Softmax(axis):
            return replace(primitive, axis=permutation[axis]), permutation
        case Concat(axis):
            return Concat(permutation[axis]), permutation
        case Pad(widths):
            return replace(primitive, widths=_before(widths, permutation)), permutation
        case Slice(slices):
            return Slice(_before(slices, permutation)), permutation
        case Resize(axes):
            moved = tuple(permutation[axis] for axis in axes)
            return replace(primitive, axes=moved), permutation
        case Reduce(axes=axes, keepdims=keepdims):
            gone = tuple(sorted(permutation[axis] for axis in axes))
            kept = [axis for axis in permutation if keepdims or axis not in gone]
            return replace(primitive, axes=gone), _ranks(kept)
        case _:
            return None


def _before(items: Sequence[T], permutation: _Permutation) -> tuple[T, ...]:
    """Return what belongs to each axis before the transpose."""
    return tuple(items[axis] for axis in _inverse(permutation))


def _inverse(permutation: _Permutation) -> _Permutation:
    """Return the permutation that undoes *permutation*."""
    return tuple(permutation.index(axis) for axis in range(len(permutation)))


def _identity(permutation: _Permutation) -> _Permutation:
    """Return the permutation of that length that moves nothing."""
    return tuple(range(len(permutation)))


def _ranks(axes: Sequence[int]) -> _Permutation:
    """Return *axes* numbered among themselves."""
    ordered = sorted(axes)
    return tuple(ordered.index(axis) for axis in axes)


def _constant(x: Value, permutation: _Permutation) -> Value:
    """Return a constant, aligned to the rank, transposed."""
    shape = aligned(x.shape, len(permutation))
    (full,) = (x,) if shape == x.shape else apply(Reshape(shape), x)
    return apply(Transpose(permutation), full)[0]


def _contracted(
    node: Node, primitive: Contract, inputs: tuple[Value, ...]
) -> tuple[Value, ...] | None:
    """Return the contraction of what was transposed."""
    a, a_axes = transposed(inputs[0]) or (inputs[0], None)
    b, b_axes = transposed(inputs[1]) or (inputs[1], None)
    if a_axes is None and b_axes is None:
        return None
    a_axes = a_axes or tuple(range(len(a.shape)))
    b_axes = b_axes or tuple(range(len(b.shape)))
    moved = Contract(
        tuple(a_axes[axis] for axis in primitive.a_contract),
        tuple(b_axes[axis] for axis in primitive.b_contract),
        tuple(a_axes[axis] for axis in primitive.a_batch),
        tuple(b_axes[axis] for axis in primitive.b_batch),
    )
    # The axes left over follow those of a and b.
    rest_a = [x for x in a_axes if x not in moved.a_contract + moved.a_batch]
    rest_b = [x for x in b_axes if x not in moved.b_contract + moved.b_batch]
    batch = len(moved.a_batch)
    behind = (
        *range(batch),
        *(batch + axis for axis in _ranks(rest_a)),
        *(batch + len(rest_a) + axis for axis in _ranks(rest_b)),
    )
    if behind == _identity(behind):
        kept = replace(node, primitive=moved, inputs=(a, b, *inputs[2:]))
        return kept.results()
    if node.epilogue is not None:
        return None
    (y,) = apply(moved, a, b, origins=node.origins)
    return apply(Transpose(behind), y)


def _settled(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Return a reshape for a transpose that keeps the elements in their order."""
    if not isinstance(node.primitive, Transpose) or node.epilogue is not None:
        return None
    permutation, shape = node.primitive.permutation, inputs[0].shape
    moving = [axis for axis in permutation if shape[axis] != 1]
    if permutation == _identity(permutation) or moving != sorted(moving):
        return None
    return apply(Reshape(node.specs[0].shape), inputs[0], origins=node.origins)
