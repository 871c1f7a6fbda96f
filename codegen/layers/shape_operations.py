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
def roll(
    x: Value, shift: int | Sequence[int], axis: int | Sequence[int] | None = None
) -> Value:
    """Return x moved along axes, the end coming in at the front."""
    axes = positions(axis, x)
    shifts = [shift] * len(axes) if isinstance(shift, int) else list(shift)
    for at, steps in zip(axes, shifts, strict=True):
        size = x.shape[at]
        moved = steps if size is None else steps % size
        if moved:
            before = (slice(None),) * at
            front, back = x[(*before, slice(-moved, None))], x[(*before, slice(-moved))]
            x = ops.concatenate([front, back], at)
    return x


@operation("Pad")
def pad(
    x: Value,
    pad_width: Structure,
    mode: str = "constant",
    constant_values: float | None = None,
) -> Value:
    """Return x with constants around it, or mirrored at its borders."""
    rank = len(x.shape) + 1
    widths = np.broadcast_to(constant_array(pad_width), (rank, 2))
    pairs = [(int(low), int(high)) for low, high in widths]
    if pairs[0] != (0, 0):
        raise ValueError("it pads the batch")
    if mode == "constant":
        return ops.pad(x, pairs[1:], float(constant_values or 0.0))
    if mode not in ("reflect", "symmetric"):
        raise ValueError(f"the mode {quoted(mode)} isn't one that Keras has")
    # A mirror stands on the last element, or behind it.
    skipped = int(mode == "reflect")
    for at, (low, high) in enumerate(pairs[1:]):
        before = (slice(None),) * at
        parts = [x]
        if low:
            parts.insert(0, ops.flip(x[(*before, slice(skipped, low + skipped))], at))
        if high:
            end = slice(-high - skipped, -skipped or None)
            parts.append(ops.flip(x[(*before, end)], at))
        x = ops.concatenate(parts, at)
    return x


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


@operation("ArraySplit")
def array_split(
    x: Value, indices_or_sections: int | Sequence[int], axis: int = 0
) -> list[Value]:
    """Return parts of x along an axis, whose lengths may differ by one."""
    (at,) = positions(axis, x)
    size = x.shape[at]
    if not isinstance(indices_or_sections, int) or size is None:
        return split(x, indices_or_sections, axis)
    parts = np.array_split(np.arange(size), indices_or_sections)
    ends = np.cumsum([part.size for part in parts])[:-1]
    return ops.split(x, ends.tolist(), at)


@operation("Hsplit")
def hsplit(x: Value, indices_or_sections: int | Sequence[int]) -> list[Value]:
    """Return parts of x along axis 1."""
    return split(x, indices_or_sections, 1)


@operation("Dsplit")
def dsplit(x: Value, indices_or_sections: int | Sequence[int]) -> list[Value]:
    """Return parts of x along axis 2."""
    return split(x, indices_or_sections, 2)


@operation("Dstack")
def dstack(xs: Sequence[Structure]) -> Value:
    """Return the inputs joined at axis 2, which is made where there is none."""
    values = [value(x) for x in xs]
    whole = [ops.expand_dims(x, -1) if len(x.shape) == 1 else x for x in values]
    return ops.concatenate(whole, 1)


@operation("Fliplr")
def fliplr(x: Value) -> Value:
    """Return x backwards along axis 1."""
    return flip(x, 1)


@operation("Rot90")
def rot90(array: Value, k: int = 1, axes: Sequence[int] = (0, 1)) -> Value:
    """Return x turned by right angles in the plane of two axes."""
    first, second = positions(axes, array)
    for _ in range(k % 4):
        array = ops.swap_axes(ops.flip(array, second), first, second)
    return array


@operation("Diff")
def diff(a: Value, n: int = 1, axis: int = -1) -> Value:
    """Return the differences between neighbours, *n* times over."""
    (at,) = positions(axis, a)
    before = (slice(None),) * at
    for _ in range(n):
        a = a[(*before, slice(1, None))] - a[(*before, slice(-1))]
    return a


@operation("Trapezoid")
def trapezoid(y: Value, x: Structure = None, dx: float = 1.0, axis: int = -1) -> Value:
    """Return the area below a line through points."""
    (at,) = positions(axis, y)
    before = (slice(None),) * at
    means = (y[(*before, slice(1, None))] + y[(*before, slice(-1))]) * 0.5
    if x is None:
        return ops.sum(means * dx, at)
    steps = np.diff(constant_array(x).ravel())
    widths = steps.reshape(-1, *(1,) * (len(y.shape) - at - 1))
    return ops.sum(means * ops.constant(widths.astype(np.float32)), at)


@operation("Diagonal")
def diagonal(x: Value, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """Return what stands on a diagonal of two axes, as the last axis."""
    first, second = positions((axis1, axis2), x)
    rest = [a for a in range(len(x.shape)) if a not in (first, second)]
    height, width = x.shape[first], x.shape[second]
    if height is None or width is None:
        raise ValueError("its axes have no known length")
    rows = np.arange(max(-offset, 0), min(height, width - offset))
    plane = ops.transpose(x, (*rest, first, second))
    joint = ops.reshape(plane, (*(x.shape[a] for a in rest), height * width))
    index = (rows * width + rows + offset).astype(np.int32)
    return ops.take(joint, ops.constant(index), -1)


@operation("Trace")
def trace(x: Value, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """Return the sum over a diagonal."""
    return ops.sum(diagonal(x, offset, axis1, axis2), -1)


@operation("Slice")
def sliced(inputs: Value, start_indices: Structure, shape: Sequence[int]) -> Value:
    """Return a block of x; -1 takes all that is left."""
    starts = [int(i) for i in constant_array(start_indices).ravel()]
    if starts[0] != 0 or shape[0] not in (None, -1):
        raise ValueError("it takes samples out of a batch, which Keramos keeps apart")
    return inputs[
        tuple(
            slice(start, None if size in (None, -1) else start + size)
            for start, size in zip(starts[1:], shape[1:], strict=True)
        )
    ]


@operation("SliceUpdate")
def slice_update(inputs: Value, start_indices: Structure, updates: Value) -> Value:
    """Return x with a block of other numbers in it."""
    starts = [int(i) for i in constant_array(start_indices).ravel()][1:]
    widths = []
    for start, size, whole in zip(starts, updates.shape, inputs.shape, strict=True):
        if size is None or whole is None:
            raise ValueError("its axes have no known length")
        widths.append((start, whole - start - size))
    inside = np.pad(np.ones([size or 0 for size in updates.shape], np.bool_), widths)
    return ops.where(ops.constant(inside), ops.pad(updates, widths), inputs)
