"""Join reshapes, and let sums of products read what was reshaped for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeGuard

from keramos.graph import Graph, Node, Value, apply
from keramos.passes.matching import plain
from keramos.primitives import Contract, Map, Reshape, Shape, product


def cancel_reshapes(graph: Graph) -> Graph:
    """Return the graph with fewer reshapes.

    A reshape of a reshape is one reshape; one that an elementwise node reads moves
    behind it; and one that merges axes for a :class:`Contract` with a constant
    (Flatten before Dense) goes into the constant.
    """
    return graph.rewrite(_visit)


def _visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Return the results of a node that reads through its reshaped inputs."""
    match node.primitive:
        case Reshape() if node.epilogue is None:
            return _joined(node, node.primitive, inputs[0])
        case Map():
            return _sunk(node, node.primitive, inputs)
        case Contract():
            return _absorbed(node, node.primitive, inputs)
        case _:
            return None


def _reshaped(x: Value) -> tuple[Value, Reshape] | None:
    """Return what *x* is a reshape of."""
    node = plain(x, Reshape)
    if node is None or not isinstance(node.primitive, Reshape):
        return None
    return node.inputs[0], node.primitive


def _joined(node: Node, primitive: Reshape, x: Value) -> tuple[Value, ...] | None:
    """Return one reshape for two."""
    found = _reshaped(x)
    if found is None:
        return None
    source, first = found
    # The free dimensions of x must be those of its source, in their order.
    if None in primitive.shape and first.shape.count(None) != x.shape.count(None):
        return None
    shape = node.specs[0].shape
    target = shape if _is_known(shape) else primitive.shape
    (y,) = apply(Reshape(target), source, origins=node.origins)
    return (y,) if y.spec == node.specs[0] else None


def _is_known(shape: Shape) -> TypeGuard[tuple[int, ...]]:
    return None not in shape


def _sunk(
    node: Node, primitive: Map, inputs: tuple[Value, ...]
) -> tuple[Value, ...] | None:
    """Return the reshape of a Map, for a Map of reshapes of equal shapes."""
    values = [x for x in inputs if x.constant is None]
    sources = [found[0] for x in values if (found := _reshaped(x)) is not None]
    shape = node.specs[0].shape
    if len(sources) < len(values) or not _is_known(shape):
        return None
    old = sources[0].shape
    if not _is_known(old) or any(x.shape != shape for x in values):
        return None
    if any(source.shape != old for source in sources):
        return None
    moved: list[Value] = []
    for x in inputs:
        if x.constant is None:
            moved.append(sources.pop(0))
        elif x.shape == shape:
            moved += apply(Reshape(old), x)
        elif product(x.shape) == 1:
            moved += apply(Reshape(()), x)
        else:
            return None
    (y,) = apply(primitive, *moved, origins=node.origins)
    return apply(Reshape(shape), y) if y.shape == old else None


@dataclass(frozen=True, slots=True)
class _Side:
    """An operand of a contraction."""

    value: Value
    contract: tuple[int, ...]
    batch: tuple[int, ...]


def _absorbed(
    node: Node, primitive: Contract, inputs: tuple[Value, ...]
) -> tuple[Value, ...] | None:
    """Return a contraction over the axes that a reshape merged."""
    a = _Side(inputs[0], primitive.a_contract, primitive.a_batch)
    b = _Side(inputs[1], primitive.b_contract, primitive.b_batch)
    if b.value.constant is not None:
        sides = _split(a, b)
    elif a.value.constant is not None:
        sides = (_split(b, a) or ())[::-1]
    else:
        return None
    if not sides:
        return None
    a, b = sides
    split = Contract(a.contract, b.contract, a.batch, b.batch)
    operands = (a.value, b.value, *inputs[2:])
    return replace(node, primitive=split, inputs=operands).results()


def _split(x: _Side, weights: _Side) -> tuple[_Side, ...]:
    """Return both sides with x read before its reshape; nothing where that fails."""
    found = _reshaped(x.value)
    if found is None or found[1].shape.count(None) != x.value.shape.count(None):
        return ()
    source = found[0]
    parts = _parts(source.shape, x.value.shape)
    if parts is None or all(len(part) == 1 for part in parts):
        return ()
    if any(
        len(part) != 1 and axis not in x.contract for axis, part in enumerate(parts)
    ):
        return ()
    number: list[tuple[int, ...]] = []
    shape: list[int] = []
    for axis, d in enumerate(weights.value.shape):
        sizes = [d]
        if axis in weights.contract:
            part = parts[x.contract[weights.contract.index(axis)]]
            sizes = [source.shape[i] for i in part]
        number.append(tuple(range(len(shape), len(shape) + len(sizes))))
        shape += [size or 0 for size in sizes]
    (reshaped,) = apply(Reshape(tuple(shape)), weights.value)
    return (
        _Side(source, _axes(x.contract, parts), _axes(x.batch, parts)),
        _Side(reshaped, _axes(weights.contract, number), _axes(weights.batch, number)),
    )


def _axes(axes: tuple[int, ...], parts: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Return what *axes* were made of."""
    return tuple(i for axis in axes for i in parts[axis])


def _parts(old: Shape, new: Shape) -> list[tuple[int, ...]] | None:
    """Return the axes of *old* in each axis of *new*; None where one was split."""
    parts: list[tuple[int, ...]] = []
    axis = 0
    for d in new:
        start = axis
        if d is None or d == 1:
            axis += axis < len(old) and old[axis] == d
        else:
            size = 1
            while size < d and axis < len(old):
                size *= old[axis] or 0
                axis += 1
            if size != d:
                return None
        if d is None and axis == start:
            return None
        parts.append(tuple(range(start, axis)))
    if any(d != 1 for d in old[axis:]):
        return None
    # Axes of length 1 at the end belong to somebody too.
    return [*parts[:-1], (*parts[-1], *range(axis, len(old)))] if parts else parts
