"""Pooling: the largest value or the mean of every window, or of the whole space."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from keramos.runtime_min.interpreter.convolution import rank_of
from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer
from keramos.runtime_min.interpreter.windows import (
    from_channels_last,
    padded,
    taps,
    to_channels_last,
)


class Pooling(Layer):
    """What both kinds share: the windows and the layout."""

    def __init__(self, definition: Definition) -> None:
        """Read the options of the window; strides default to its size."""
        super().__init__(definition)
        rank = rank_of(definition)
        self.pool_size = definition.sizes("pool_size", rank, 2)
        self.strides = self.pool_size
        if definition.option("strides", None) is not None:
            self.strides = definition.sizes("strides", rank)
        self.padding = definition.choice("padding", ("valid", "same"), "valid")
        self.channels_first = definition.channels_first()

    def call(self, inputs: Array) -> Array:
        """Return the pooled windows."""
        x = to_channels_last(inputs, channels_first=self.channels_first)
        return from_channels_last(self.pooled(x), channels_first=self.channels_first)

    def pooled(self, x: Array) -> Array:
        """Return the pooled windows, channels last."""
        raise NotImplementedError

    def windows(self, x: Array, fill: float) -> list[Array]:
        """Return, for every place in the window, the elements that it meets."""
        ones = (1,) * len(self.pool_size)
        filled = padded(x, self.padding, self.pool_size, self.strides, ones, fill=fill)
        return [w for _, w in taps(filled, self.pool_size, self.strides, ones)]


@layer(
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
)
class MaxPooling(Pooling):
    """The largest element of every window."""

    def pooled(self, x: Array) -> Array:
        """Return the maxima; padding never wins."""
        return reduce(np.maximum, self.windows(x, -np.inf))


@layer(
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
)
class AveragePooling(Pooling):
    """The mean of every window."""

    def pooled(self, x: Array) -> Array:
        """Return the means; padding doesn't count."""
        ones = np.ones((1, *x.shape[1:-1], 1), x.dtype)
        return reduce(np.add, self.windows(x, 0)) / reduce(
            np.add, self.windows(ones, 0)
        )


class GlobalPooling(Layer):
    """What both global kinds share: which axes go."""

    def __init__(self, definition: Definition) -> None:
        """Read the layout."""
        super().__init__(definition)
        rank = rank_of(definition)
        self.channels_first = definition.channels_first()
        first = 2 if self.channels_first else 1
        self.axes = tuple(range(first, first + rank))
        self.keepdims = definition.boolean("keepdims", default=False)


@layer(
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
)
class GlobalMaxPooling(GlobalPooling):
    """The largest element of the whole space."""

    def call(self, inputs: Array) -> Array:
        """Return the maxima."""
        y: Array = np.max(inputs, self.axes, keepdims=self.keepdims)
        return y


@layer(
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
)
class GlobalAveragePooling(GlobalPooling):
    """The mean over the whole space."""

    def call(self, inputs: Array) -> Array:
        """Return the means."""
        y: Array = np.mean(inputs, self.axes, keepdims=self.keepdims)
        return y


@layer("GlobalAveragePooling1D", "GlobalAvgPool1D")
class GlobalAveragePooling1D(GlobalPooling):
    """The mean over the steps that the mask keeps."""

    supports_masking = True

    def call(self, inputs: Array, mask: Array | None = None) -> Array:
        """Return the means."""
        if mask is None:
            y: Array = np.mean(inputs, self.axes, keepdims=self.keepdims)
            return y
        kept = np.expand_dims(mask.astype(np.bool_), 1 if self.channels_first else 2)
        total = np.sum(np.where(kept, inputs, 0), self.axes, keepdims=self.keepdims)
        count = np.sum(kept, self.axes, keepdims=self.keepdims)
        return np.asarray(total / count.astype(inputs.dtype))

    def compute_mask(self, inputs: Any, mask: Any) -> None:
        """Return no mask: the steps are gone."""
        del inputs, mask


class AdaptivePooling(Layer):
    """Windows whose number is given: window i of n covers i/n .. (i + 1)/n, widened."""

    def __init__(self, definition: Definition) -> None:
        """Read how many windows there are along each axis."""
        super().__init__(definition)
        rank = rank_of(definition)
        self.output_size = definition.sizes("output_size", rank)
        first = 2 if definition.channels_first() else 1
        self.axes = tuple(range(first, first + rank))

    def call(self, inputs: Array) -> Array:
        """Return the pooled windows, one axis after the other."""
        y = inputs
        for axis, count in zip(self.axes, self.output_size, strict=True):
            size = y.shape[axis]
            bounds = [
                (i * size // count, -(-(i + 1) * size // count)) for i in range(count)
            ]
            windows = [
                self.pooled(np.take(y, np.arange(*bound), axis), axis)
                for bound in bounds
            ]
            y = np.concatenate(windows, axis)
        return y

    def pooled(self, window: Array, axis: int) -> Array:
        """Return one window, its axis reduced to a single element."""
        raise NotImplementedError


@layer("AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D")
class AdaptiveMaxPooling(AdaptivePooling):
    """The largest element of every window."""

    def pooled(self, window: Array, axis: int) -> Array:
        """Return the maxima."""
        return np.asarray(np.max(window, axis, keepdims=True))


@layer(
    "AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D"
)
class AdaptiveAveragePooling(AdaptivePooling):
    """The mean of every window."""

    def pooled(self, window: Array, axis: int) -> Array:
        """Return the means."""
        return np.asarray(np.mean(window, axis, keepdims=True))
