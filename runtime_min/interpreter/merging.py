"""Layers that take several inputs: combined elementwise, joined, multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, ClassVar

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer, Masked
from keramos.runtime_min.interpreter.normalization import unit
from keramos.runtime_min.interpreter.registry import layer

Masks = Sequence[Array | None]


def same_rank(arrays: Sequence[Array]) -> list[Array]:
    """Return the arrays with axes inserted behind the batch axis until ranks agree."""
    rank = max(array.ndim for array in arrays)
    return [
        array.reshape(array.shape[:1] + (1,) * (rank - array.ndim) + array.shape[1:])
        for array in arrays
    ]


def spread(mask: Array, shape: tuple[int, ...]) -> Array:
    """Return a mask over steps as one over all elements."""
    return np.broadcast_to(np.expand_dims(mask.astype(np.bool_), -1), shape)


class Merging(Layer):
    """What the elementwise layers share: ranks and the output's mask."""

    supports_masking = True
    keeps_integers = True
    function: ClassVar[np.ufunc]

    def call(self, inputs: list[Array]) -> Any:
        """Return the inputs, combined from left to right."""
        return reduce(type(self).function, same_rank(inputs))

    def compute_mask(self, inputs: list[Array], mask: Masks | None) -> Array | None:
        """Return the mask of the result.

        Keras 3: a step counts if it counts in any input, provided all have masks.
        Keras 2: if it counts in every input that has a mask.
        """
        del inputs
        masks = [item for item in mask or () if item is not None]
        if not masks:
            return None
        if self.generation < 3:
            return reduce(np.logical_and, masks)
        return reduce(np.logical_or, masks) if len(masks) == len(mask or ()) else None


@layer("Add")
class Add(Merging):
    """a + b + ..."""

    function = np.add


@layer("Subtract")
class Subtract(Merging):
    """a - b."""

    function = np.subtract


@layer("Average")
class Average(Merging):
    """(a + b + ...) / number of inputs."""

    keeps_integers = False

    def call(self, inputs: list[Array]) -> Array:
        """Return the mean of the inputs."""
        return reduce(np.add, same_rank(inputs)) / len(inputs)


@layer("Multiply")
class Multiply(Merging):
    """a * b * ...; in Keras 3, masked elements don't take part."""

    def call(self, inputs: list[Array], mask: Masks | None = None) -> Array | Masked:
        """Return the product."""
        arrays = same_rank(inputs)
        if self.generation < 3 or all(item is None for item in mask or ()):
            return reduce(np.multiply, arrays)
        masks = [
            None if item is None else spread(item, array.shape)
            for array, item in zip(arrays, mask or (), strict=True)
        ]
        product: Array = reduce(
            np.multiply,
            [
                array if kept is None else np.where(kept, array, 1)
                for array, kept in zip(arrays, masks, strict=True)
            ],
        )
        known = [kept for kept in masks if kept is not None]
        if len(known) < len(masks):
            return Masked(product, None)
        any_kept = reduce(np.logical_or, known)
        return Masked(np.where(any_kept, product, 0), np.any(any_kept, -1))


class Extreme(Merging):
    """The largest or the smallest; in Keras 3, masked elements don't take part."""

    def call(self, inputs: list[Array], mask: Masks | None = None) -> Array | Masked:
        """Return the extremes."""
        arrays = same_rank(inputs)
        function = type(self).function
        if self.generation < 3 or all(item is None for item in mask or ()):
            return reduce(function, arrays)
        y: Array | None = None
        y_kept: Array | None = None
        for array, item in zip(arrays, mask or (), strict=True):
            x = array
            kept = None if item is None else spread(item, x.shape)
            if y is None:
                y, y_kept = x, kept
                continue
            x = x if kept is None else np.where(kept, x, y)
            y = y if y_kept is None else np.where(y_kept, y, x)
            both = kept is not None and y_kept is not None
            y_kept = np.logical_or(y_kept, kept) if both else None  # type: ignore[arg-type]
            y = function(y, x)
        return Masked(y, None if y_kept is None else np.any(y_kept, -1))


@layer("Maximum")
class Maximum(Extreme):
    """max(a, b, ...)."""

    function = np.maximum


@layer("Minimum")
class Minimum(Extreme):
    """min(a, b, ...)."""

    function = np.minimum


@layer("Concatenate")
class Concatenate(Layer):
    """The inputs, one behind the other along an axis."""

    supports_masking = True
    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the axis."""
        super().__init__(definition)
        self.axis = definition.integer("axis", -1)

    def call(self, inputs: list[Array]) -> Array:
        """Return the joined array."""
        return np.concatenate(inputs, self.axis)

    def compute_mask(self, inputs: list[Array], mask: Masks | None) -> Array | None:
        """Return the mask: steps where any (Keras 2: every) element counts."""
        if mask is None or all(item is None for item in mask):
            return None
        masks = [
            _full_mask(array, item) for array, item in zip(inputs, mask, strict=True)
        ]
        joined = np.concatenate(masks, self.axis)
        kept: Array = np.all(joined, -1) if self.generation < 3 else np.any(joined, -1)
        return kept


def _full_mask(array: Array, mask: Array | None) -> Array:
    """Return the mask for every element; no mask keeps all."""
    if mask is None:
        return np.ones(array.shape, np.bool_)
    return spread(mask, array.shape) if mask.ndim < array.ndim else mask


@layer("Dot")
class Dot(Layer):
    """Sums of products along one axis of each input, sample by sample."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the axes: one for both, or one each."""
        super().__init__(definition)
        self.axes = definition.axes("axes")
        self.normalize = definition.boolean("normalize", default=False)

    def call(self, inputs: list[Array]) -> Array:
        """Return the products; vectors with vectors give (batch, 1)."""
        return batch_dot(inputs, self.axes, normalize=self.normalize)

    def compute_mask(self, inputs: Any, mask: Any) -> None:
        """Return no mask: what it counted is gone."""
        del inputs, mask


def batch_dot(
    inputs: Sequence[Array], axes: Sequence[int], *, normalize: bool = False
) -> Array:
    """Return the products of two batches, summed along one axis of each."""
    both = tuple(axes) * 2 if len(axes) == 1 else axes
    rows = [
        np.moveaxis(unit(x, (axis,), 1e-7) if normalize else x, axis, -1)
        for x, axis in zip(inputs, both, strict=True)
    ]
    flat = [x.reshape(len(x), int(np.prod(x.shape[1:-1])), x.shape[-1]) for x in rows]
    y = flat[0] @ np.swapaxes(flat[1], 1, 2)
    shape = (*rows[0].shape[1:-1], *rows[1].shape[1:-1])
    return y.reshape(len(y), *(shape or (1,)))
