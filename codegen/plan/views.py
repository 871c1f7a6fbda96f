"""Slices, reshapes and transposes that are views: the same texels under other indexes.

What a view shows may be part of a tensor: its layout is then that of the whole, and its
offset says where it begins.
"""

from __future__ import annotations

import math
from dataclasses import replace

from keramos.plan.layout import (
    CANONICAL_RANK,
    LANES,
    B,
    D,
    canonical,
    reinterpret,
    transposed,
)
from keramos.plan.stages import Tensor
from keramos.primitives import Shape, Slice


def sliced(source: Tensor, shape: Shape, primitive: Slice) -> Tensor | None:
    """Return a slice of *shape*, None where its texels aren't whole texels."""
    whole, rank = source.shape, len(shape)
    offset = list(source.offset)
    for axis, bounds in enumerate(primitive.slices):
        size, kept = whole[axis] or 0, shape[axis] or 0
        start, _, step = slice(*bounds).indices(size)
        if kept == size and step == 1:
            continue
        if step != 1 or (rank > CANONICAL_RANK and rank - axis >= CANONICAL_RANK):
            return None
        if axis == rank - 1:
            if start % LANES or (kept % LANES and start + kept != size):
                return None
            offset[B] += start // LANES
        else:
            offset[D + axis - rank + CANONICAL_RANK] += start
    is_part = source.is_part or shape != whole
    return replace(source, shape=shape, offset=tuple(offset), is_part=is_part)


def reshaped(source: Tensor, shape: Shape) -> Tensor | None:
    """Return *source* under another shape, None where texels would have to move."""
    if source.is_part:
        return _reshaped_part(source, shape)
    if not source.is_whole:
        return None
    layout = reinterpret(source.layout, shape)
    return None if layout is None else replace(source, shape=shape, layout=layout)


def _reshaped_part(source: Tensor, shape: Shape) -> Tensor | None:
    """Return a part as the part of the reshaped whole: a run of one axis stays one."""
    if source.moment is not None or source.lane is not None:
        return None
    old, new, whole = canonical(source.shape), canonical(shape), _whole(source)
    axes = [axis for axis in range(CANONICAL_RANK) if old[axis] != whole[axis]]
    if len(axes) != 1:
        return None
    (cut,) = axes
    inner = math.prod(old[cut + 1 :])
    start = source.offset[D + cut] * _unit(cut) * inner
    for axis in range(CANONICAL_RANK):
        rest = math.prod(new[axis + 1 :])
        unit = rest * _unit(axis)
        outer = math.prod(new[:axis]) == math.prod(old[:cut])
        if not outer or start % unit or whole[cut] * inner % rest:
            continue
        sizes = [*new]
        sizes[axis] = whole[cut] * inner // rest
        layout = reinterpret(source.layout, tuple(sizes))
        if layout is not None:
            offset = [0] * len(source.offset)
            offset[D + axis] = start // unit
            return replace(source, shape=shape, layout=layout, offset=tuple(offset))
    return None


def _whole(source: Tensor) -> tuple[int, ...]:
    """Return the shape ``(d, h, w, c)`` of the tensor that *source* is part of."""
    _, d, h, w, c = source.layout.view
    row = source.layout.row
    return (d, w // row, row, c) if row else (d, h, w, c)


def _unit(axis: int) -> int:
    """Return how many elements along *axis* begin a texel."""
    return LANES if axis == CANONICAL_RANK - 1 else 1


def reordered(
    source: Tensor, shape: Shape, permutation: tuple[int, ...]
) -> Tensor | None:
    """Return *source* with its axes in another order, the channels last as before."""
    if source.moment is not None:
        return None
    layout = transposed(source.layout, permutation)
    if layout is None:
        return None
    first = B + 1 - len(permutation)
    order = [*range(first), *(first + axis for axis in permutation)]
    offset = tuple(source.offset[axis] for axis in order)
    return replace(source, shape=shape, layout=layout, offset=offset)
