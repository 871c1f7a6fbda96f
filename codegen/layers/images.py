"""Preprocessing of images: resizing, cropping, and augmentation, which is training."""

from __future__ import annotations

from keramos import ops
from keramos.errors import quoted
from keramos.expr import Expr, call, where
from keramos.graph import Value, elementwise
from keramos.layers.definition import Definition
from keramos.layers.interpolation import interpolated, method_of
from keramos.layers.layer import Layer, channels_first, channels_last, shape_text
from keramos.layers.registry import layer


class Sized(Layer):
    """What layers that make images of a given size have in common."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the size and the layout."""
        super().__init__(definition)
        self.height = definition.positive("height", 1)
        self.width = definition.positive("width", 1)
        self.channels_first = definition.channels_first()
        definition.option("bounding_box_format")
        definition.option("data_dict")

    def call(self, inputs: Value) -> Value:
        """Return the image in the new size."""
        if len(inputs.shape) != len("hwc"):
            raise self.definition.refusal(
                f"takes 4 axes, not an input of shape {shape_text(inputs)}"
            )
        x = channels_last(inputs) if self.channels_first else inputs
        y = self.sized(x)
        return channels_first(y) if self.channels_first else y

    def sized(self, x: Value) -> Value:
        """Return a channels-last image in the new size."""
        raise NotImplementedError

    def known_size(self, x: Value) -> tuple[int, int]:
        """Return the height and width of an image; refuse free ones."""
        height, width = x.shape[:2]
        if height is None or width is None:
            raise self.definition.refusal(
                f"its input of shape {shape_text(x)} needs a known height and width",
                "give them with --input-shape",
            )
        return height, width

    def middle(self, x: Value) -> Value:
        """Return the largest part in the middle that has the new size's proportions."""
        height, width = self.known_size(x)
        tall = max(min(height, int(float(width * self.height) / self.width)), 1)
        wide = max(min(width, int(float(height * self.width) / self.height)), 1)
        top, left = (height - tall) // 2, (width - wide) // 2
        return x[top : top + tall, left : left + wide]


@layer("Resizing")
class Resizing(Sized):
    """Interpolation to a size, as it is or keeping the proportions."""

    def __init__(self, definition: Definition) -> None:
        """Read the method, and what becomes of the proportions."""
        super().__init__(definition)
        self.method = method_of(definition, "bilinear")
        self.antialias = definition.boolean("antialias", default=False)
        self.crop = definition.boolean("crop_to_aspect_ratio", default=False)
        self.pad = definition.boolean("pad_to_aspect_ratio", default=False)
        self.fill = definition.number("fill_value", 0.0)
        definition.choice("fill_mode", ("constant",), "constant")

    def sized(self, x: Value) -> Value:
        """Return the interpolated image; whole numbers are rounded back."""
        kind = x.dtype
        x = ops.cast(x, "float32")
        if self.crop:
            x = self.middle(x)
        elif self.pad:
            x = self._padded(x)
        y = interpolated(
            x,
            (0, 1),
            (self.height, self.width),
            method=self.method,
            antialias=self.antialias,
            definition=self.definition,
        )
        return y if kind == "float32" else ops.cast(ops.round(y), kind)

    def _padded(self, x: Value) -> Value:
        """Return the image within the smallest border that gives the proportions."""
        height, width = self.known_size(x)
        tall = max(height, int(float(width * self.height) / self.width))
        wide = max(width, int(float(height * self.width) / self.height))
        top, left = (tall - height) // 2, (wide - width) // 2
        # Keras pads one direction alone, by the same on both sides.
        borders = [(top, top), (0, 0)] if top else [(0, 0), (left, left)]
        return ops.pad(x, [*borders, (0, 0)], self.fill)


@layer("CenterCrop")
class CenterCrop(Sized):
    """The middle of the image, which is enlarged first where it is smaller."""

    def sized(self, x: Value) -> Value:
        """Return the middle."""
        x = ops.cast(x, "float32")
        height, width = self.known_size(x)
        top, left = (height - self.height) // 2, (width - self.width) // 2
        if top >= 0 and left >= 0 and height >= self.height and width >= self.width:
            return x[top : top + self.height, left : left + self.width]
        size = (self.height, self.width)
        return ops.resize(self.middle(x), (0, 1), sizes=size, method="bilinear")


@layer("RandomCrop")
class RandomCrop(Sized):
    """A part of the image in training; at inference Keras 2 resizes its middle."""

    def sized(self, x: Value) -> Value:
        """Return the image, which Keras 3 leaves alone."""
        x = ops.cast(x, "float32")
        if self.definition.generation >= len("123"):
            return x
        size = (self.height, self.width)
        return ops.resize(self.middle(x), (0, 1), sizes=size, method="bilinear")


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
    """``y = x``: images are varied in training only."""

    def call(self, inputs: Value) -> Value:
        """Return the image."""
        return inputs

    def finish(self) -> None:
        """Let the options of training be."""

    def check_weights(self) -> None:
        """Let the states of random generators be."""


@layer("AutoContrast")
class AutoContrast(Layer):
    """Each channel stretched to the whole range, at inference too."""

    def __init__(self, definition: Definition) -> None:
        """Read the range."""
        super().__init__(definition)
        value = definition.option("value_range", [0, 255])
        self.low, self.high = 0.0, 255.0
        if isinstance(value, list | tuple) and len(value) == len("lh"):
            self.low, self.high = (float(v) for v in value)
        else:
            definition.note(f"value_range is {quoted(value)}, not two numbers")
        definition.option("bounding_box_format")
        definition.option("data_format")

    def call(self, inputs: Value) -> Value:
        """Return the stretched image; channels of one value stay."""
        if len(inputs.shape) != len("hwc"):
            raise self.definition.refusal(
                f"takes 4 axes, not an input of shape {shape_text(inputs)}"
            )
        low, high = self.low, self.high

        def formula(x: Expr, least: Expr, most: Expr) -> Expr:
            y = (x - least) / (most - least) * (high - low) + low
            return where(least < most, call("min", call("max", y, low), high), x)

        least = ops.min(inputs, (0, 1), keepdims=True)
        most = ops.max(inputs, (0, 1), keepdims=True)
        return elementwise(formula, inputs, least, most)
