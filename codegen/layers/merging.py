"""Layers of several inputs: sums, products, extremes, joints and dot products."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import ClassVar

from keramos import ops
from keramos.expr import Expr, call
from keramos.graph import Value, elementwise
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, Masked, shape_text, without_batch
from keramos.layers.registry import layer

Masks = Sequence[Value | None] | None
MASKS_JOIN_SINCE = 3  # until Keras 2 a step counted where all inputs had it


class Merge(Layer):
    """What merging layers have in common: a list of inputs, and their masks."""

    supports_masking = True

    def inputs_of(self, inputs: object, *, count: int | None = None) -> list[Value]:
        """Return the inputs; refuse what isn't a list of them."""
        values = list(inputs) if isinstance(inputs, list | tuple) else []
        if not values or (count is not None and len(values) != count):
            wanted = "a list of inputs" if count is None else f"{count} inputs"
            raise self.definition.refusal(f"takes {wanted}")
        return values

    def compute_mask(self, inputs: object, mask: Masks) -> Value | None:
        """Return the steps that count: those of any input (in Keras 2, of all)."""
        del inputs
        if not isinstance(mask, list | tuple):
            return None
        masks = [m for m in mask if m is not None]
        if self.definition.generation < MASKS_JOIN_SINCE:
            return reduce(ops.logical_and, masks) if masks else None
        return reduce(ops.logical_or, masks) if len(masks) == len(mask) else None


@layer("Add", "Average", "Subtract")
class Sum(Merge):
    """The sum, the mean, or the difference of two."""

    def call(self, inputs: object) -> Value:
        """Return the sum."""
        name = self.definition.class_name
        values = self.inputs_of(inputs, count=2 if name == "Subtract" else None)
        if name == "Subtract":
            return ops.subtract(*values)

        def formula(*operands: Expr) -> Expr:
            total = reduce(lambda a, b: a + b, operands)
            return total / len(operands) if name == "Average" else total

        return elementwise(formula, *values)


@layer("Multiply")
class Multiply(Merge):
    """The product; in Keras 3 masked steps count as 1."""

    def call(self, inputs: object, mask: Masks = None) -> Value | Masked:
        """Return the product."""
        values = self.inputs_of(inputs)
        masks = _wide(mask, values, self.definition)
        if not any(masks):
            return elementwise(lambda *xs: reduce(lambda a, b: a * b, xs), *values)
        values = [
            x if m is None else ops.where(m, x, 1.0)
            for x, m in zip(values, masks, strict=True)
        ]
        product = reduce(ops.multiply, values)
        known = [m for m in masks if m is not None]
        if len(known) < len(masks):
            return product
        joint = reduce(ops.logical_or, known)
        return Masked(ops.where(joint, product, 0.0), ops.max(joint, -1))


@layer("Maximum", "Minimum")
class Extreme(Merge):
    """The largest or the smallest; in Keras 3 masked steps don't compete."""

    operators: ClassVar[dict[str, str]] = {"Maximum": "max", "Minimum": "min"}

    def call(self, inputs: object, mask: Masks = None) -> Value | Masked:
        """Return the extreme."""
        operator = self.operators[self.definition.class_name]
        values = self.inputs_of(inputs)
        masks = _wide(mask, values, self.definition)
        if not any(masks):
            return elementwise(
                lambda *xs: reduce(lambda a, b: call(operator, a, b), xs), *values
            )
        result, known = values[0], masks[0]
        for x, m in zip(values[1:], masks[1:], strict=True):
            other = x if m is None else ops.where(m, x, result)
            result = result if known is None else ops.where(known, result, other)
            known = None if m is None or known is None else ops.logical_or(known, m)
            result = elementwise(operator, result, other)
        return result if known is None else Masked(result, ops.max(known, -1))


def _wide(
    mask: Masks, values: Sequence[Value], definition: Definition
) -> list[Value | None]:
    """Return each input's mask with an axis for its features; none before Keras 3."""
    if not isinstance(mask, list | tuple) or definition.generation < MASKS_JOIN_SINCE:
        return [None] * len(values)
    return [None if m is None else ops.expand_dims(m, -1) for m in mask]


@layer("Concatenate")
class Concatenate(Merge):
    """The inputs one behind the other."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the axis."""
        super().__init__(definition)
        self.axis = definition.integer("axis", -1)

    def call(self, inputs: object) -> Value:
        """Return the joint tensor."""
        values = self.inputs_of(inputs)
        axis = without_batch(self.axis, values[0], self.definition)
        return ops.concatenate(values, axis)

    def compute_mask(self, inputs: object, mask: Masks) -> Value | None:
        """Return where any feature of the joint masks counts (in Keras 2, all)."""
        if not isinstance(mask, list | tuple) or all(m is None for m in mask):
            return None
        values = self.inputs_of(inputs)
        wide = [_spread(x, m) for x, m in zip(values, mask, strict=True)]
        joint = ops.concatenate(
            wide, without_batch(self.axis, wide[0], self.definition)
        )
        keep_any = self.definition.generation >= MASKS_JOIN_SINCE
        return ops.max(joint, -1) if keep_any else ops.min(joint, -1)


def _spread(x: Value, mask: Value | None) -> Value:
    """Return *mask* in the shape of *x*; without one everything counts."""
    if mask is not None and len(mask.shape) == len(x.shape):
        return mask
    # True everywhere, in a shape that may be free.
    anything = elementwise(lambda v: call("or", call("eq", v, v), call("ne", v, v)), x)
    return (
        anything
        if mask is None
        else ops.logical_and(ops.expand_dims(mask, -1), anything)
    )


@layer("Dot")
class Dot(Merge):
    """The sum of products over one axis of each of two inputs."""

    def __init__(self, definition: Definition) -> None:
        """Read the axes, and whether inputs are made unit vectors first."""
        super().__init__(definition)
        self.axes = definition.axes("axes", -1) or (-1,)
        self.normalize = definition.boolean("normalize", default=False)

    def call(self, inputs: object) -> Value:
        """Return the dot product."""
        values = self.inputs_of(inputs, count=2)
        pair = self.axes if len(self.axes) == len(values) else self.axes[:1] * 2
        axes = [
            without_batch(axis, x, self.definition)
            for axis, x in zip(pair, values, strict=True)
        ]
        if self.normalize:
            values = [
                unit_vectors(x, axis) for x, axis in zip(values, axes, strict=True)
            ]
        a, b = values
        y = _contract(a, b, *axes)
        return y if y.shape else ops.reshape(y, (1,))

    def compute_mask(self, inputs: object, mask: object) -> None:
        """Return no mask."""
        del inputs, mask


def _contract(a: Value, b: Value, first: int, second: int) -> Value:
    """Return the sum over axis *first* of a and *second* of b."""
    left = [chr(ord("a") + i) for i in range(len(a.shape))]
    right = [chr(ord("n") + i) for i in range(len(b.shape))]
    right[second] = left[first]
    rest = [c for c in left + right if c != left[first]]
    if a.shape[first] != b.shape[second]:
        raise ValueError(
            f"shapes {shape_text(a)} and {shape_text(b)} differ in length there"
        )
    return ops.einsum(f"{''.join(left)},{''.join(right)}->{''.join(rest)}", a, b)


def unit_vectors(x: Value, axis: int | Sequence[int]) -> Value:
    """Return x over its Euclidean length along *axis*, which counts 1e-6 at least."""
    total = ops.sum(ops.square(x), axis, keepdims=True)
    return elementwise(lambda v, s: v * call("rsqrt", call("max", s, 1e-12)), x, total)
