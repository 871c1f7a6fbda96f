"""Operations that move elements: slices, shapes, joins, repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keramos.runtime_min.interpreter.layer import Array
from keramos.runtime_min.interpreter.operation import operation


@operation("GetItem")
def get_item(x: Array, key: Any) -> Array:
    """x[key]; files write a tuple of indices as a list."""
    index = (
        tuple(_index(item) for item in key) if isinstance(key, list | tuple) else key
    )
    return np.asarray(x[index])


def _index(item: Any) -> Any:
    """Return one index, lists as arrays of positions."""
    return np.asarray(item, np.intp) if isinstance(item, list) else item


@operation("Reshape")
def reshape(x: Array, newshape: Sequence[int | None]) -> Array:
    """X in another shape."""
    return np.reshape(x, tuple(-1 if size is None else size for size in newshape))


@operation("BroadcastTo")
def broadcast_to(x: Array, shape: Sequence[int]) -> Array:
    """x, repeated where its size is 1."""
    return np.broadcast_to(x, tuple(shape))


@operation("Transpose")
def transpose(x: Array, axes: Sequence[int] | None = None) -> Array:
    """X with its axes in another order."""
    return np.transpose(x, axes)


@operation("Swapaxes")
def swapaxes(x: Array, axis1: int, axis2: int) -> Array:
    """X with two axes exchanged."""
    return np.swapaxes(x, axis1, axis2)


@operation("Moveaxis")
def moveaxis(x: Array, source: Any, destination: Any) -> Array:
    """X with axes at other places."""
    return np.moveaxis(x, source, destination)


@operation("Squeeze")
def squeeze(x: Array, axis: int | Sequence[int] | None = None) -> Array:
    """X without axes of size 1."""
    return np.squeeze(x, tuple(axis) if isinstance(axis, list) else axis)


@operation("ExpandDims")
def expand_dims(x: Array, axis: int | Sequence[int]) -> Array:
    """X with new axes of size 1."""
    return np.expand_dims(x, tuple(axis) if isinstance(axis, list) else axis)


@operation("Ravel")
def ravel(x: Array) -> Array:
    """X as one row."""
    return np.ravel(x)


@operation("Concatenate")
def concatenate(xs: Sequence[Array], axis: int = 0) -> Array:
    """Return the arrays, one behind the other."""
    return np.concatenate(list(xs), axis)


@operation("Append")
def append(x1: Array, x2: Array, axis: int | None = None) -> Array:
    """x2 behind x1."""
    return np.append(x1, x2, axis)


@operation("Stack")
def stack(x: Sequence[Array], axis: int = 0) -> Array:
    """Return the arrays along a new axis."""
    return np.stack(list(x), axis)


@operation("Hstack")
def hstack(xs: Sequence[Array]) -> Array:
    """Return the arrays, one beside the other."""
    return np.hstack(list(xs))


@operation("Vstack")
def vstack(xs: Sequence[Array]) -> Array:
    """Return the arrays, one below the other."""
    return np.vstack(list(xs))


@operation("Unstack")
def unstack(x: Array, num: int | None = None, axis: int = 0) -> list[Array]:
    """Return the slices of an axis."""
    del num
    return list(np.moveaxis(x, axis, 0))


@operation("Split")
def split(x: Array, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """x, cut along an axis."""
    return np.split(x, indices_or_sections, axis)


@operation("ArraySplit")
def array_split(x: Array, indices_or_sections: Any, axis: int = 0) -> list[Array]:
    """x, cut along an axis into parts that may differ by one."""
    return np.array_split(x, indices_or_sections, axis)


@operation("Repeat")
def repeat(x: Array, repeats: Any, axis: int | None = None) -> Array:
    """Return every element several times."""
    return np.repeat(x, repeats, axis)


@operation("Tile")
def tile(x: Array, repeats: Any) -> Array:
    """Return the whole array several times."""
    return np.tile(x, repeats)


@operation("Flip")
def flip(x: Array, axis: Any = None) -> Array:
    """x, reversed along axes."""
    return np.flip(x, tuple(axis) if isinstance(axis, list) else axis)


@operation("Roll")
def roll(x: Array, shift: Any, axis: Any = None) -> Array:
    """x, moved around."""
    return np.roll(x, shift, axis)


@operation("Pad")
def pad(
    x: Array, pad_width: Any, mode: str = "constant", constant_values: Any = None
) -> Array:
    """X with margins."""
    if mode == "constant":
        value = 0 if constant_values is None else constant_values
        return np.pad(x, pad_width, constant_values=value)
    known = {"reflect": "reflect", "symmetric": "symmetric", "edge": "edge"}
    return np.pad(x, pad_width, mode=known[mode])  # type: ignore[call-overload,no-any-return]


@operation("Take")
def take(x: Array, indices: Any, axis: int | None = None) -> Array:
    """Return the slices at some positions."""
    return np.take(x, np.asarray(indices).astype(np.intp), axis)


@operation("TakeAlongAxis")
def take_along_axis(x: Array, indices: Any, axis: int | None = None) -> Array:
    """Return the elements at some positions of each row."""
    return np.take_along_axis(x, np.asarray(indices).astype(np.intp), axis)


@operation("Slice")
def slice_of(
    inputs: Array, start_indices: Sequence[int], shape: Sequence[int]
) -> Array:
    """Return a block; -1 takes all that is left."""
    window = tuple(
        slice(start, None if size == -1 else start + size)
        for start, size in zip(start_indices, shape, strict=True)
    )
    return inputs[window]


@operation("Tril")
def tril(x: Array, k: int = 0) -> Array:
    """Return the part below a diagonal."""
    return np.tril(x, k)


@operation("Triu")
def triu(x: Array, k: int = 0) -> Array:
    """Return the part above a diagonal."""
    return np.triu(x, k)


@operation("Diagonal")
def diagonal(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """Return the elements of diagonals."""
    return np.diagonal(x, offset, axis1, axis2)


@operation("OneHot")
def one_hot(
    x: Array,
    num_classes: int,
    axis: int = -1,
    dtype: object = None,
    sparse: object = None,
) -> Array:
    """1 at the position that the number says, along a new axis."""
    del dtype, sparse
    hits = np.asarray(x)[..., None] == np.arange(num_classes)
    return np.moveaxis(hits.astype(np.float64), -1, axis)


@operation("DepthToSpace")
def depth_to_space(
    x: Array, block_size: int, data_format: str = "channels_last"
) -> Array:
    """Return channels as blocks of pixels."""
    y = np.moveaxis(x, 1, -1) if data_format == "channels_first" else x
    n, height, width, channels = y.shape
    rest = channels // block_size**2
    y = y.reshape(n, height, width, block_size, block_size, rest)
    y = y.transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(n, height * block_size, width * block_size, rest)
    return np.moveaxis(y, -1, 1) if data_format == "channels_first" else y


@operation("SpaceToDepth")
def space_to_depth(
    x: Array, block_size: int, data_format: str = "channels_last"
) -> Array:
    """Return blocks of pixels as channels."""
    y = np.moveaxis(x, 1, -1) if data_format == "channels_first" else x
    n, height, width, channels = y.shape
    y = y.reshape(
        n, height // block_size, block_size, width // block_size, block_size, channels
    )
    y = y.transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(
        n, height // block_size, width // block_size, channels * block_size**2
    )
    return np.moveaxis(y, -1, 1) if data_format == "channels_first" else y


@operation("Hsplit")
def hsplit(x: Array, indices_or_sections: Any) -> list[Array]:
    """x, cut along axis 1."""
    return np.hsplit(x, indices_or_sections)


@operation("Dsplit")
def dsplit(x: Array, indices_or_sections: Any) -> list[Array]:
    """x, cut along axis 2."""
    return np.dsplit(x, indices_or_sections)


@operation("Dstack")
def dstack(xs: Sequence[Array]) -> Array:
    """Return the arrays, one behind the other."""
    return np.dstack(list(xs))


@operation("Fliplr")
def fliplr(x: Array) -> Array:
    """x, reversed along axis 1."""
    return np.fliplr(x)


@operation("Rot90")
def rot90(array: Array, k: int = 1, axes: Any = (0, 1)) -> Array:
    """x, turned by right angles."""
    return np.rot90(array, k, tuple(axes))


@operation("Diff")
def diff(a: Array, n: int = 1, axis: int = -1) -> Array:
    """Return differences between neighbours."""
    return np.diff(a, n, axis)


@operation("Trapezoid")
def trapezoid(y: Array, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """Return the area below a line through points."""
    return np.trapezoid(y, None if x is None else np.asarray(x), dx, axis)


@operation("SliceUpdate")
def slice_update(inputs: Array, start_indices: Any, updates: Array) -> Array:
    """X with a block of other numbers in it."""
    result = inputs.copy()
    window = tuple(
        slice(int(start), int(start) + size)
        for start, size in zip(np.ravel(start_indices), updates.shape, strict=True)
    )
    result[window] = updates
    return result
