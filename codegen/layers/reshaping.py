"""Layers that move elements: flatten, reshape, permute, repeat, pad, crop, upsample."""

from __future__ import annotations

from keramos import ops
from keramos.errors import quoted
from keramos.graph import Value
from keramos.layers.definition import Definition
from keramos.layers.interpolation import METHODS, interpolated, method_of
from keramos.layers.layer import Layer, channels_last, shape_text, spatial_rank
from keramos.layers.registry import layer


class Rearranging(Layer):
    """What layers that only move elements have in common."""

    keeps_integers = True

    def check_rank(self, x: Value, rank: int) -> None:
        """Refuse an input of another number of axes than *rank* and the batch."""
        if len(x.shape) != rank:
            raise self.definition.refusal(
                f"takes {rank + 1} axes, not an input of shape {shape_text(x)}"
            )


@layer("Flatten")
class Flatten(Rearranging):
    """All axes but the batch as one."""

    def __init__(self, definition: Definition) -> None:
        """Read the layout: channels come last in the result."""
        super().__init__(definition)
        self.channels_first = definition.channels_first()

    def call(self, inputs: Value) -> Value:
        """Return the elements in a row."""
        if self.channels_first and len(inputs.shape) > 1:
            inputs = channels_last(inputs)
        return ops.reshape(inputs, (-1,))


@layer("Reshape")
class Reshape(Rearranging):
    """Another shape; one length may be -1."""

    def __init__(self, definition: Definition) -> None:
        """Read the shape."""
        super().__init__(definition)
        value = definition.option("target_shape", [])
        items = value if isinstance(value, list | tuple) else [value]
        self.shape = [-1 if d is None else d for d in items]
        whole = all(isinstance(d, int) and d >= -1 for d in self.shape)
        if not whole or self.shape.count(-1) > 1:
            definition.note(
                f"target_shape is {quoted(value)}, not lengths of which one may be -1"
            )
            self.shape = [-1]

    def call(self, inputs: Value) -> Value:
        """Return the reshaped input."""
        return ops.reshape(inputs, self.shape)


@layer("Permute")
class Permute(Rearranging):
    """Axes in another order."""

    def __init__(self, definition: Definition) -> None:
        """Read the order, which counts from 1."""
        super().__init__(definition)
        self.dims = definition.axes("dims", None) or ()
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            definition.note(
                f"dims is {quoted(list(self.dims))}, not an order of the axes from 1"
            )
            self.dims = ()

    def call(self, inputs: Value) -> Value:
        """Return the transposed input."""
        self.check_rank(inputs, len(self.dims))
        return ops.transpose(inputs, [axis - 1 for axis in self.dims])


@layer("RepeatVector")
class RepeatVector(Rearranging):
    """A vector as a sequence of *n* copies."""

    def __init__(self, definition: Definition) -> None:
        """Read the number of copies."""
        super().__init__(definition)
        self.n = definition.positive("n", 1)

    def call(self, inputs: Value) -> Value:
        """Return the sequence."""
        self.check_rank(inputs, 1)
        return ops.broadcast_to(ops.expand_dims(inputs, 0), (self.n, *inputs.shape))


def _borders(
    definition: Definition, name: str, rank: int, default: int
) -> list[tuple[int, int]]:
    """Return a length in front and behind for each axis.

    Keras takes one number for all, one or a pair per axis, and in 1-d just a pair.
    """
    value = definition.option(name, default)
    items = value if isinstance(value, list | tuple) else [value] * rank
    if rank == 1 and len(items) == len("lr"):
        items = [items]
    pairs = [
        tuple(item) if isinstance(item, list | tuple) else (item, item)
        for item in items
    ]
    fits = len(pairs) == rank and all(
        len(pair) == len("lr") and all(isinstance(d, int) and d >= 0 for d in pair)
        for pair in pairs
    )
    if fits:
        return [(low, high) for low, high in pairs]
    definition.note(f"{name} is {quoted(value)}, not lengths from 0 for {rank} axes")
    return [(0, 0)] * rank


class Bordered(Rearranging):
    """What padding and cropping have in common."""

    option: str
    default = 1

    def __init__(self, definition: Definition) -> None:
        """Read the borders and the layout."""
        super().__init__(definition)
        self.rank = spatial_rank(definition.class_name)
        self.borders = _borders(definition, self.option, self.rank, self.default)
        self.channels_first = definition.channels_first()

    def all_borders(self, x: Value) -> list[tuple[int, int]]:
        """Return the borders of all axes."""
        self.check_rank(x, self.rank + 1)
        still = [(0, 0)]
        if self.channels_first:
            return [*still, *self.borders]
        return [*self.borders, *still]


@layer("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
class ZeroPadding(Bordered):
    """Zeros around."""

    option = "padding"

    def call(self, inputs: Value) -> Value:
        """Return the padded input."""
        return ops.pad(inputs, self.all_borders(inputs))


@layer("Cropping1D", "Cropping2D", "Cropping3D")
class Cropping(Bordered):
    """Without the borders."""

    option = "cropping"

    def __init__(self, definition: Definition) -> None:
        """Crop one on each side by default in 1-d, none otherwise."""
        self.default = 1 if "1D" in definition.class_name else 0
        super().__init__(definition)

    def call(self, inputs: Value) -> Value:
        """Return the middle."""
        borders = self.all_borders(inputs)
        for d, (low, high) in zip(inputs.shape, borders, strict=True):
            if d is not None and low + high >= d:
                raise self.definition.refusal(
                    f"crops all of its input of shape {shape_text(inputs)}"
                )
        return inputs[tuple(slice(low or None, -high or None) for low, high in borders)]


@layer("UpSampling1D", "UpSampling2D", "UpSampling3D")
class UpSampling(Rearranging):
    """Each element several times, or interpolated."""

    def __init__(self, definition: Definition) -> None:
        """Read the factors, the layout and the interpolation."""
        super().__init__(definition)
        self.rank = spatial_rank(definition.class_name)
        self.size = definition.sizes("size", self.rank, 2)
        self.channels_first = definition.channels_first()
        self.method = "nearest"
        if self.rank == len("hw"):
            self.method = method_of(definition, "nearest")
        # By whole factors, the mean over an area is the element that covers it.
        self.method = "nearest" if self.method == "area" else self.method

    def call(self, inputs: Value) -> Value:
        """Return the larger tensor."""
        self.check_rank(inputs, self.rank + 1)
        first = 1 if self.channels_first else 0
        axes = range(first, first + self.rank)
        x = inputs if self.method == "nearest" else ops.cast(inputs, "float32")
        for method in METHODS:
            if method == self.method:
                return ops.resize(x, axes, factors=self.size, method=method)
        sizes = [
            (x.shape[axis] or 0) * factor
            for axis, factor in zip(axes, self.size, strict=True)
        ]
        return interpolated(
            x,
            axes,
            sizes,
            method=self.method,
            antialias=False,
            definition=self.definition,
        )
