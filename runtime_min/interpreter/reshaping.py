"""Layers that only move elements: shapes, orders, margins."""

from __future__ import annotations

import numpy as np

from keramos.runtime_min.interpreter.convolution import rank_of
from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer


@layer("Flatten")
class Flatten(Layer):
    """One row per sample, channels last."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the layout of the input."""
        super().__init__(definition)
        self.channels_first = definition.channels_first()

    def call(self, inputs: Array) -> Array:
        """Return the rows."""
        if self.channels_first and inputs.ndim > 1:
            inputs = np.moveaxis(inputs, 1, -1)
        return inputs.reshape(len(inputs), int(np.prod(inputs.shape[1:])))


@layer("Reshape")
class Reshape(Layer):
    """Another shape for the same elements; -1 takes what is left."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the shape."""
        super().__init__(definition)
        shape = definition.option("target_shape")
        self.shape = definition.sizes(
            "target_shape",
            len(shape) if isinstance(shape, list | tuple) else 1,
            least=-1,
        )

    def call(self, inputs: Array) -> Array:
        """Return the reshaped samples; the rest is computed by hand for batch 0."""
        elements = int(np.prod(inputs.shape[1:]))
        known = int(np.prod([size for size in self.shape if size != -1]))
        rest = elements // max(known, 1)
        shape = [rest if size == -1 else size for size in self.shape]
        if int(np.prod(shape)) != elements:
            raise ValueError(
                f"{inputs.shape[1:]} can't be given the shape {self.shape}"
            )
        return inputs.reshape(len(inputs), *shape)


@layer("Permute")
class Permute(Layer):
    """The axes in another order, counted from 1."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the order."""
        super().__init__(definition)
        self.order = definition.axes("dims")
        if sorted(self.order) != list(range(1, len(self.order) + 1)):
            raise definition.refusal(
                f"dims is {self.order}, not an order of the axes from 1 on"
            )

    def call(self, inputs: Array) -> Array:
        """Return the transposed samples."""
        return np.transpose(inputs, (0, *self.order))


@layer("RepeatVector")
class RepeatVector(Layer):
    """The same vector, n times."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read n."""
        super().__init__(definition)
        self.n = definition.count("n")

    def call(self, inputs: Array) -> Array:
        """Return (batch, n, features)."""
        return np.repeat(inputs[:, None, :], self.n, 1)


class Margins(Layer):
    """What padding and cropping share: two numbers per spatial axis."""

    keeps_integers = True
    option: str

    def __init__(self, definition: Definition) -> None:
        """Read the numbers, which stand for one side, one axis or all."""
        super().__init__(definition)
        rank = rank_of(definition)
        self.pairs = _pairs(definition, self.option, rank)
        first = 2 if definition.channels_first() else 1
        self.axes = tuple(range(first, first + rank))


def _pairs(definition: Definition, option: str, rank: int) -> list[tuple[int, int]]:
    """Return how much goes before and behind each spatial axis."""
    value = definition.option(option, 1)
    if rank == 1:
        before, behind = definition.sizes(option, 2, 1, least=0)
        return [(before, behind)]
    items = value if isinstance(value, list | tuple) else [value] * rank
    pairs = [item if isinstance(item, list | tuple) else (item, item) for item in items]
    usable = len(pairs) == rank and all(
        len(pair) == 2 and all(isinstance(size, int) and size >= 0 for size in pair)
        for pair in pairs
    )
    if not usable:
        raise definition.refusal(f"{option} is {value!r}, not {rank} pairs of sizes")
    return [(pair[0], pair[1]) for pair in pairs]


@layer("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
class ZeroPadding(Margins):
    """Zeros around the space."""

    option = "padding"

    def call(self, inputs: Array) -> Array:
        """Return the padded samples."""
        pads = [(0, 0)] * inputs.ndim
        for axis, pair in zip(self.axes, self.pairs, strict=True):
            pads[axis] = pair
        return np.pad(inputs, pads)


@layer("Cropping1D", "Cropping2D", "Cropping3D")
class Cropping(Margins):
    """The space without its margins."""

    option = "cropping"

    def call(self, inputs: Array) -> Array:
        """Return the cropped samples."""
        window = [slice(None)] * inputs.ndim
        for axis, (before, behind) in zip(self.axes, self.pairs, strict=True):
            size = inputs.shape[axis]
            if before + behind >= size:
                raise ValueError(
                    f"cropping {before} + {behind} leaves nothing of {size}"
                )
            window[axis] = slice(before, size - behind)
        return inputs[tuple(window)]
