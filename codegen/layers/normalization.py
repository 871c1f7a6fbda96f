"""Normalization by the sample's own statistics: layer, group, RMS and unit.

y = (x - mean) gamma / sqrt(variance + e) + beta over some axes; RMS leaves the mean
out, unit divides by the length.
"""

from __future__ import annotations

from collections.abc import Sequence

from keramos import ops
from keramos.expr import call
from keramos.graph import Value, elementwise
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, shape_text, without_batch
from keramos.layers.registry import layer

AXES_SORTED_SINCE = 3


class Normalizing(Layer):
    """What the layers with axes and an epsilon have in common."""

    supports_masking = True

    def __init__(self, definition: Definition, *, epsilon: float = 1e-3) -> None:
        """Read the axes and the epsilon."""
        super().__init__(definition)
        self.axes = definition.axes("axis", -1) or (-1,)
        self.epsilon = definition.number("epsilon", epsilon)

    def axes_of(self, x: Value) -> list[int]:
        """Return the axes without the batch, in order."""
        return sorted(without_batch(axis, x, self.definition) for axis in self.axes)

    def stored_axes(self) -> Sequence[int]:
        """Return the axes in the order that weights are stored in.

        Keras 3 sorts them as they were written, -1 before 1; Keras 2 doesn't sort.
        Neither transposes its weights: they are only reshaped.
        """
        is_sorted = self.definition.generation >= AXES_SORTED_SINCE
        return sorted(self.axes) if is_sorted else self.axes

    def parameter(self, name: str, x: Value, axes: Sequence[int]) -> Value:
        """Return a weight with the lengths of *axes*, ready to broadcast to x."""
        if any(x.shape[a] is None for a in axes):
            raise self.definition.refusal(
                f"its input of shape {shape_text(x)} has axes of unknown length",
                "give them with --input-shape",
            )
        stored = (without_batch(a, x, self.definition) for a in self.stored_axes())
        weight = self.definition.weight(name, [x.shape[a] for a in stored])
        if list(axes) == [len(x.shape) - 1]:
            return weight
        return ops.reshape(
            weight, [d if a in axes else 1 for a, d in enumerate(x.shape)]
        )


def _scaled(
    centred: Value, variance: Value, epsilon: float, gamma: Value | None
) -> Value:
    """Return what is centred over its deviation, times gamma."""
    if gamma is None:
        return elementwise(
            lambda x, v: x * call("rsqrt", v + epsilon), centred, variance
        )
    return elementwise(
        lambda x, v, g: x * call("rsqrt", v + epsilon) * g, centred, variance, gamma
    )


@layer("LayerNormalization")
class LayerNormalization(Normalizing):
    """By mean and variance over some axes, those of the features by default."""

    def __init__(self, definition: Definition) -> None:
        """Read which parameters there are."""
        super().__init__(definition)
        self.lowers_leading_axes = self.axes == (-1,)
        self.scale = definition.boolean("scale", default=True)
        self.center = definition.boolean("center", default=True)
        self.rms = definition.boolean("rms_scaling", default=False)

    def call(self, inputs: Value) -> Value:
        """Return the normalised input."""
        axes = self.axes_of(inputs)
        gamma = (
            self.parameter("gamma", inputs, axes) if self.scale or self.rms else None
        )
        mean, variance = ops.moments(inputs, axes, keepdims=True)
        if self.rms:  # by the deviation, but without centring
            return _scaled(inputs, variance, self.epsilon, gamma)
        y = _scaled(inputs - mean, variance, self.epsilon, gamma)
        return y + self.parameter("beta", inputs, axes) if self.center else y


@layer("RMSNormalization")
class RMSNormalization(Normalizing):
    """By the root of the mean square."""

    def __init__(self, definition: Definition) -> None:
        """Read the axes; epsilon is smaller here."""
        super().__init__(definition, epsilon=1e-6)
        # Keras lets masks end here.
        self.supports_masking = False
        self.lowers_leading_axes = self.axes == (-1,)

    def call(self, inputs: Value) -> Value:
        """Return the normalised input; the scale broadcasts from the last axes."""
        axes = self.axes_of(inputs)
        sizes = [inputs.shape[a] for a in axes]
        scale = self.definition.weight("scale", sizes)
        square = ops.mean(ops.square(inputs), axes, keepdims=True)
        return _scaled(inputs, square, self.epsilon, scale)


@layer("UnitNormalization")
class UnitNormalization(Normalizing):
    """By the length."""

    def __init__(self, definition: Definition) -> None:
        """Read the axes."""
        super().__init__(definition)
        self.lowers_leading_axes = self.axes == (-1,)

    def call(self, inputs: Value) -> Value:
        """Return vectors of length 1."""
        total = ops.sum(ops.square(inputs), self.axes_of(inputs), keepdims=True)
        return elementwise(
            lambda x, s: x * call("min", call("rsqrt", s), 1e12), inputs, total
        )


@layer("GroupNormalization")
class GroupNormalization(Normalizing):
    """By mean and variance over all of a sample but its groups of channels."""

    def __init__(self, definition: Definition) -> None:
        """Read the number of groups and which parameters there are."""
        super().__init__(definition)
        self.groups = definition.integer("groups", 32)
        self.scale = definition.boolean("scale", default=True)
        self.center = definition.boolean("center", default=True)

    def call(self, inputs: Value) -> Value:
        """Return the normalised input."""
        axis, *more = self.axes_of(inputs)
        channels = inputs.shape[axis]
        if more or channels is None:
            raise self.definition.refusal("needs one axis, of known length")
        groups = channels if self.groups == -1 else self.groups
        if groups < 1 or channels % groups:
            raise self.definition.refusal(
                f"groups is {groups}, which doesn't divide its {channels} channels"
            )
        shape = inputs.shape
        split = (*shape[:axis], groups, channels // groups, *shape[axis + 1 :])
        x = ops.reshape(inputs, split)
        others = [a for a in range(len(split)) if a != axis]
        mean, variance = ops.moments(x, others, keepdims=True)
        y = ops.reshape(_scaled(x - mean, variance, self.epsilon, None), shape)
        if self.scale:
            y = y * self.parameter("gamma", inputs, [axis])
        return y + self.parameter("beta", inputs, [axis]) if self.center else y


@layer("SpectralNormalization")
class SpectralNormalization(Layer):
    """The layer inside: its kernel was normalised in training."""

    def __init__(self, definition: Definition) -> None:
        """Make the layer."""
        super().__init__(definition)
        definition.option("power_iterations")
        self.layer: Layer = definition.child("layer", definition.option("layer"))

    def call(self, inputs: Value) -> Value:
        """Return what the layer returns."""
        y: Value = self.layer.call(inputs)
        return y

    def check_weights(self) -> None:
        """Check the layer's weights; the vector of the last iteration is of no use."""
        self.layer.check_weights()
