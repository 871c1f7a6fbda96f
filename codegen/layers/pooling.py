"""Pooling: the largest element or the mean of windows, or of everything."""

from __future__ import annotations

from keramos import ops
from keramos.graph import Value
from keramos.layers.definition import Definition
from keramos.layers.layer import (
    Layer,
    channels_first,
    channels_last,
    shape_text,
    spatial_rank,
)
from keramos.layers.registry import layer


def _check_axes(definition: Definition, x: Value, rank: int) -> None:
    """Refuse an input of another number of axes."""
    if len(x.shape) != rank + 1:
        raise definition.refusal(
            f"takes {rank + 2} axes, not an input of shape {shape_text(x)}"
        )


@layer(
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
)
class Pooling(Layer):
    """The largest element or the mean of each window; padding doesn't count."""

    def __init__(self, definition: Definition) -> None:
        """Read the window, strides, padding and layout."""
        super().__init__(definition)
        self.rank = spatial_rank(definition.class_name)
        self.size = definition.sizes("pool_size", self.rank, 2)
        self.strides = self.size
        if definition.option("strides") is not None:
            self.strides = definition.sizes("strides", self.rank, 1)
        self.padding = definition.choice("padding", ("valid", "same"), "valid")
        self.channels_first = definition.channels_first()

    def call(self, inputs: Value) -> Value:
        """Return the pooled windows."""
        _check_axes(self.definition, inputs, self.rank)
        x = channels_last(inputs) if self.channels_first else inputs
        is_max = self.definition.class_name.startswith("Max")
        pool = ops.max_pool if is_max else ops.average_pool
        y = pool(x, self.size, strides=self.strides, padding=self.padding)
        return channels_first(y) if self.channels_first else y


@layer(
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
)
class GlobalPooling(Layer):
    """The largest element or the mean of each channel."""

    def __init__(self, definition: Definition) -> None:
        """Read the layout, and whether the pooled axes stay."""
        super().__init__(definition)
        self.rank = spatial_rank(definition.class_name)
        self.channels_first = definition.channels_first()
        self.keepdims = definition.boolean("keepdims", default=False)

    @property
    def axes(self) -> tuple[int, ...]:
        """Return the spatial axes."""
        first = 1 if self.channels_first else 0
        return tuple(range(first, first + self.rank))

    def call(self, inputs: Value) -> Value:
        """Return one element per channel."""
        _check_axes(self.definition, inputs, self.rank)
        is_max = self.definition.class_name.startswith("GlobalMax")
        reduce = ops.max if is_max else ops.mean
        return reduce(inputs, self.axes, keepdims=self.keepdims)


@layer("GlobalAveragePooling1D", "GlobalAvgPool1D")
class GlobalAveragePooling1D(GlobalPooling):
    """The mean of each channel over the steps that the mask leaves."""

    supports_masking = True

    def call(self, inputs: Value, mask: Value | None = None) -> Value:
        """Return one element per channel."""
        if mask is None:
            return super().call(inputs)
        _check_axes(self.definition, inputs, self.rank)
        counted = ops.expand_dims(
            ops.cast(mask, "bool"), 0 if self.channels_first else 1
        )
        total = ops.sum(
            ops.where(counted, inputs, 0.0), self.axes, keepdims=self.keepdims
        )
        steps = ops.sum(ops.cast(counted, "float32"), self.axes, keepdims=self.keepdims)
        return total / steps

    def compute_mask(self, inputs: object, mask: object) -> None:
        """Return no mask: the steps are gone."""
        del inputs, mask
