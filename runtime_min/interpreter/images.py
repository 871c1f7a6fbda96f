"""Preprocessing of images: other sizes, the middle; augmentation, switched off."""

from __future__ import annotations

import numpy as np

from keramos.errors import quoted
from keramos.runtime_min.interpreter.definition import Definition, plain
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer
from keramos.runtime_min.interpreter.resampling import methods_of, resampled

Size = tuple[int, int]


def same_ratio(given: Size, target: Size) -> Size:
    """Return the largest size inside *given* that has the ratio of *target*."""
    height = max(min(given[0], int(given[1] * target[0] / target[1])), 1)
    width = max(min(given[1], int(given[0] * target[1] / target[0])), 1)
    return height, width


def window(x: Array, axes: Size, starts: Size, size: Size) -> Array:
    """Return a part of the images."""
    index = [slice(None)] * x.ndim
    for axis, start, length in zip(axes, starts, size, strict=True):
        index[axis] = slice(start, start + length)
    return x[tuple(index)]


def cropped_to_ratio(x: Array, axes: Size, target: Size) -> Array:
    """Return the middle of the images, as much as has the ratio of *target*."""
    given = (x.shape[axes[0]], x.shape[axes[1]])
    size = same_ratio(given, target)
    starts = ((given[0] - size[0]) // 2, (given[1] - size[1]) // 2)
    return window(x, axes, starts, size)


class Sized(Layer):
    """What layers with a target size share."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the size and the layout."""
        super().__init__(definition)
        self.size = (definition.count("height"), definition.count("width"))
        self.axes = (2, 3) if definition.channels_first() else (1, 2)


@layer("Resizing")
class Resizing(Sized):
    """The images, resampled to another size."""

    def __init__(self, definition: Definition) -> None:
        """Read how to resample, and what to do about another ratio."""
        super().__init__(definition)
        methods = methods_of(definition.generation)
        self.method = definition.choice("interpolation", methods, "bilinear")
        self.crop = definition.boolean("crop_to_aspect_ratio", default=False)
        self.pad = definition.boolean("pad_to_aspect_ratio", default=False)
        self.fill_value = definition.number("fill_value", 0.0)
        self.antialias = definition.boolean("antialias", default=False)

    def call(self, inputs: Array) -> Array:
        """Return the resized images; whole numbers stay whole."""
        x = inputs
        if self.crop:
            x = cropped_to_ratio(x, self.axes, self.size)
        elif self.pad:
            x = self._padded(x)
        is_whole = x.dtype.kind in "iu"
        y = resampled(
            x.astype(self.dtype),
            self.axes,
            self.size,
            self.method,
            antialias=self.antialias,
        )
        if not is_whole:
            return y
        limits = np.iinfo(x.dtype)
        return np.clip(np.round(y), limits.min, limits.max).astype(x.dtype)

    def _padded(self, x: Array) -> Array:
        """Return the images with equal margins that give them the target's ratio."""
        height, width = x.shape[self.axes[0]], x.shape[self.axes[1]]
        above = (max(height, int(width * self.size[0] / self.size[1])) - height) // 2
        beside = (max(width, int(height * self.size[1] / self.size[0])) - width) // 2
        pads = [(0, 0)] * x.ndim
        if above > 0:
            pads[self.axes[0]] = (above, above)
        elif beside > 0:
            pads[self.axes[1]] = (beside, beside)
        return np.pad(x, pads, constant_values=self.fill_value)


@layer("CenterCrop")
class CenterCrop(Sized):
    """The middle of the images; smaller images are cut to the ratio and enlarged."""

    keeps_integers = False

    def call(self, inputs: Array) -> Array:
        """Return the middle."""
        return centre(inputs, self.axes, self.size)


def centre(x: Array, axes: Size, size: Size) -> Array:
    """Return the middle of the images, enlarged if they are too small for it."""
    spare = (x.shape[axes[0]] - size[0], x.shape[axes[1]] - size[1])
    if min(spare) >= 0:
        return window(x, axes, (spare[0] // 2, spare[1] // 2), size)
    return resampled(cropped_to_ratio(x, axes, size), axes, size, "bilinear")


@layer("RandomCrop")
class RandomCrop(Sized):
    """A part of the images in training; at inference Keras 2 resizes their middle."""

    keeps_integers = False

    def call(self, inputs: Array) -> Array:
        """Return the images, which Keras 3 leaves alone."""
        if self.generation >= 3:
            return inputs
        return resampled(
            cropped_to_ratio(inputs, self.axes, self.size),
            self.axes,
            self.size,
            "bilinear",
        )


@layer(
    "AugMix",
    "CutMix",
    "Equalization",
    "MaxNumBoundingBoxes",
    "MixUp",
    "RandAugment",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHeight",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomWidth",
    "RandomZoom",
    "Solarization",
)
class Augmentation(Layer):
    """A layer that changes images in training only."""

    def call(self, inputs: Array) -> Array:
        """Return the images."""
        return inputs


@layer("AutoContrast")
class AutoContrast(Layer):
    """Each channel stretched to the whole range, at inference too."""

    def __init__(self, definition: Definition) -> None:
        """Read the range."""
        super().__init__(definition)
        bounds = plain(definition.option("value_range", [0, 255]))
        if not isinstance(bounds, list | tuple) or len(bounds) != 2:
            raise definition.refusal(
                f"value_range is {quoted(bounds)}, not two numbers"
            )
        self.low, self.range = float(bounds[0]), float(bounds[1]) - float(bounds[0])

    def call(self, inputs: Array) -> Array:
        """Return the stretched images; channels of one value stay."""
        axes = (1, 2)
        low = np.min(inputs, axes, keepdims=True)
        high = np.max(inputs, axes, keepdims=True)
        y = (inputs - low) / (high - low) * self.range + self.low
        clipped = np.clip(y, self.low, self.low + self.range)
        return np.where(np.isnan(clipped), inputs, clipped)
