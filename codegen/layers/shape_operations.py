"""Keras' operations that move, join, cut and look up elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keramos import ops
from keramos.errors import quoted
from keramos.graph import Value
from keramos.layers.operation import (
    constant_array,
    operation,
    position,
    positions,
    shape_without_batch,
    value,
)
from keramos.layers.structure import Structure


@operation("GetItem")
def get_item(x: Value, key: Structure) -> Value:
    """Return ``x[key]``, where the batch must stay whole."""
    keys = list(key) if isinstance(key, tuple | list) else [key]
    if not keys or keys[0] is Ellipsis:
        consumed = sum(k is not None for k in keys[1:])
        if consumed <= len(x.shape):
            return x[tuple(_key(k) for k in keys)] if keys else x
    if keys[0] != slice(None):
        raise ValueError("it takes samples out of a batch, which Keramos keeps apart")
    return x[tuple(_key(k) for k in keys[1:])]


def _key(k: object) -> Structure:
    """Return one index as a value takes it."""
    if isinstance(k, int | slice) or k is None or k is Ellipsis:
        return k
    if isinstance(k, np.integer):
        return int(k)
    raise ValueError(f"the index {quoted(k)} isn't a number or a slice")


@operation("Reshape")
def reshape(x: Value, newshape: Sequence[int | None]) -> Value:
    """Return x in another shape."""
    return ops.reshape(x, shape_without_batch(newshape, "the shape"))


@operation("Ravel")
def ravel(x: Value) -> Value:
    """Refuse: all samples become one row."""
    del x
    raise ValueError("it joins the samples of a batch, which Keramos keeps apart")


@operation("Transpose")
def transpose(x: Value, axes: Sequence[int] | None = None) -> Value:
    """Return x with its axes in another order."""
    rank = len(x.shape) + 1
    order = list(range(rank - 1, -1, -1)) if axes is None else [a % rank for a in axes]
    if order[0] != 0:
        raise ValueError("it moves the batch axis")
    return ops.transpose(x, [a - 1 for a in order[1:]])


@operation("Swapaxes")
def swap_axes(x: Value, axis1: int, axis2: int) -> Value:
    """Return x with two axes exchanged."""
    return ops.swap_axes(x, *positions((axis1, axis2), x))


@operation("Moveaxis")
def move_axis(
    x: Value, source: int | Sequence[int], destination: int | Sequence[int]
) -> Value:
    """Return x with axes moved."""
    old, new = positions(source, x), positions(destination, x)
    order = [a for a in range(len(x.shape)) if a not in old]
    for target, axis in sorted(zip(new, old, strict=True)):
        order.insert(target, axis)
    return ops.transpose(x, order)


@operation("ExpandDims")
def expand_dims(x: Value, axis: int | Sequence[int]) -> Value:
    """Return x with new axes of length 1."""
    given = [axis] if isinstance(axis, int) else list(axis)
    rank = len(x.shape) + 1 + len(given)
    return ops.expand_dims(x, [position(a, rank) for a in given])


@operation("Squeeze")
def squeeze(x: Value, axis: int | Sequence[int] | None = None) -> Value:
    """Return x without axes of length 1."""
    return ops.squeeze(x, None if axis is None else positions(axis, x))


@operation("Concatenate")
def concatenate(xs: Sequence[Structure], axis: int = 0) -> Value:
    """Return the inputs one behind the other."""
    values = [value(x) for x in xs]
    return ops.concatenate(values, *positions(axis, values[0]))


@operation("Append")
def append(x1: Structure, x2: Structure, axis: int | None = None) -> Value:
    """Return the second input behind the first."""
    return ops.concatenate([value(x1), value(x2)], *positions(axis, value(x1)))


@operation("Hstack")
def hstack(xs: Sequence[Structure]) -> Value:
    """Return the inputs joined at axis 1."""
    return ops.concatenate([value(x) for x in xs], 0)


@operation("Stack")
def stack(x: Sequence[Structure], axis: int = 0) -> Value:
    """Return the inputs side by side along a new axis."""
    values = [value(each) for each in x]
    return ops.stack(values, position(axis, len(values[0].shape) + 2))


@operation("Unstack")
def unstack(x: Value, num: int | None = None, axis: int = 0) -> list[Value]:
    """Return each element along an axis."""
    (at,) = positions(axis, x)
    size = x.shape[at] if x.shape[at] is not None else num
    if size is None:
        raise ValueError(f"axis {axis} has no known length")
    before = (slice(None),) * at
    return [x[(*before, i)] for i in range(size)]


@operation("Split")
def split(
    x: Value, indices_or_sections: int | Sequence[int], axis: int = 0
) -> list[Value]:
    """Return parts of x along an axis."""
    return ops.split(x, indices_or_sections, *positions(axis, x))


@operation("Repeat")
def repeat(x: Value, repeats: Structure, axis: int | None = None) -> Value:
    """Return x with its elements repeated."""
    (at,) = positions(axis, x)
    counts = constant_array(repeats).ravel()
    if counts.size == 1:
        return ops.repeat(x, int(counts[0]), at)
    index = np.repeat(np.arange(counts.size), counts)
    return ops.take(x, ops.constant(index), at)


@operation("Tile")
def tile(x: Value, repeats: int | Sequence[int]) -> Value:
    """Return x one behind itself."""
    counts = [repeats] if isinstance(repeats, int) else list(repeats)
    rank = len(x.shape) + 1
    counts = [1] * (rank - len(counts)) + counts
    if len(counts) > rank or counts[0] != 1:
        raise ValueError("it repeats the batch")
    return ops.tile(x, counts[1:])


@operation("BroadcastTo")
def broadcast_to(x: Value, shape: Sequence[int | None]) -> Value:
    """Return x repeated along its axes of length 1."""
    target = shape_without_batch(shape, "the shape")
    return ops.broadcast_to(x, [None if d == -1 else d for d in target])


@operation("Flip")
def flip(x: Value, axis: int | Sequence[int] | None = None) -> Value:
    """Return x backwards."""
    for at in positions(axis, x):
        x = ops.flip(x, at)
    return x


@operation("Roll")
def roll(x: Value, shift: int, axis: int | None = None) -> Value:
    """Return x moved along an axis, the end coming in at the front."""
    (at,) = positions(axis, x)
    if shift == 0:
        return x
    before = (slice(None),) * at
    return ops.concatenate(
        [x[(*before, slice(-shift, None))], x[(*before, slice(-shift))]], at
    )


@operation("Pad")
def pad(
    x: Value,
    pad_width: Structure,
    mode: str = "constant",
    constant_values: float | None = None,
) -> Value:
    """Return x with constants around it."""
    if mode != "constant":
        raise ValueError(f"the mode {quoted(mode)} isn't 'constant'")
    rank = len(x.shape) + 1
    widths = np.broadcast_to(constant_array(pad_width), (rank, 2))
    pairs = [(int(low), int(high)) for low, high in widths]
    if pairs[0] != (0, 0):
        raise ValueError("it pads the batch")
    return ops.pad(x, pairs[1:], float(constant_values or 0.0))


@operation("Take")
def take(x: Structure, indices: Structure, axis: int | None = None) -> Value:
    """Return the elements at indices, negative ones from the end."""
    data = x if isinstance(x, Value) else ops.constant(constant_array(x))
    if isinstance(x, Value):
        (at,) = positions(axis, x)
    else:
        at = axis or 0
    if isinstance(indices, Value):
        if isinstance(x, Value):
            raise TypeError("both its inputs have a batch axis")
        return ops.take(data, indices, at)
    index = constant_array(indices)
    size = data.shape[at]
    if size is not None:
        index = np.where(index < 0, index + size, index)
    elif (index < 0).any():
        raise ValueError(f"axis {axis} has no known length to count back from")
    return ops.take(data, ops.constant(index), at)


@operation("OneHot")
def one_hot(
    x: Value,
    num_classes: int,
    axis: int = -1,
    dtype: object = None,
    sparse: object = False,  # noqa: FBT002 - Keras' own name
) -> Value:
    """Return 1 at the position that x states along a new axis."""
    del dtype, sparse
    hot = ops.one_hot(x, num_classes)
    rank = len(hot.shape) + 1
    at = position(axis, rank)
    order = list(range(len(hot.shape) - 1))
    order.insert(at, len(hot.shape) - 1)
    return ops.transpose(hot, order)


@operation("Tril")
def tril(x: Value, k: int = 0) -> Value:
    """Return x with zeros above a diagonal."""
    return _triangle(x, lambda rows, columns: columns <= rows + k)


@operation("Triu")
def triu(x: Value, k: int = 0) -> Value:
    """Return x with zeros below a diagonal."""
    return _triangle(x, lambda rows, columns: columns >= rows + k)


def _triangle(x: Value, keep: Structure) -> Value:
    """Return x where *keep* of the row and column numbers holds."""
    height, width = x.shape[-2:]
    if height is None or width is None:
        raise ValueError("its last two axes have no known length")
    kept = keep(np.arange(height)[:, None], np.arange(width)[None, :])
    return ops.where(ops.constant(kept), x, 0)
