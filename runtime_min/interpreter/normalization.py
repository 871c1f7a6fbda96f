"""Normalization: y = (x - mean) / sqrt(variance + epsilon) * gamma + beta.

The layers differ in where mean and variance come from: the training run, the sample
itself, or groups of its channels.
"""

from __future__ import annotations

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer


def normalized(
    x: Array,
    mean: Array,
    variance: Array,
    epsilon: float,
    *,
    gamma: Array | float,
    beta: Array | float,
) -> Array:
    """Return the normalized array, scaled and moved."""
    scale = gamma / np.sqrt(variance + epsilon)
    return np.asarray(x * scale + (beta - mean * scale))


@layer("BatchNormalization", "SyncBatchNormalization", "BatchNormalizationV1")
class BatchNormalization(Layer):
    """Mean and variance of the training run, one pair per channel."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the four vectors; tf.keras writes the axis as a list."""
        super().__init__(definition)
        self.axes = definition.axes("axis", -1)
        self.epsilon = definition.number("epsilon", 1e-3)
        mode = definition.option("mode", 0)
        if mode not in (0, 2):
            raise definition.refusal(
                f"mode is {mode!r}, which normalizes with the batch's own moments",
                "only mode 0 can run one sample at a time",
            )
        shape = (None,) * len(self.axes) if len(self.axes) == 1 else None
        self.gamma: Array | None = None
        self.beta: Array | None = None
        if definition.boolean("scale", default=True):
            self.gamma = self._vector("gamma", shape)
        if definition.boolean("center", default=True):
            self.beta = self._vector("beta", shape)
        self.mean = self._vector("moving mean", shape)
        self.variance = self._vector("moving variance", shape)
        if definition.boolean("renorm", default=False):
            # They steer the training only.
            definition.skip_weights()

    def _vector(self, name: str, shape: tuple[None, ...] | None) -> Array:
        """Return one parameter; several axes are stored with the inputs' rank."""
        if shape is None:
            return self.definition.computed(self.definition.stored(name))
        return self.definition.weight(name, shape)

    def _aligned(self, parameter: Array, rank: int) -> Array:
        """Return a parameter that broadcasts over the inputs."""
        if parameter.ndim > 1:
            return parameter
        shape = [1] * rank
        shape[self.axes[0]] = -1
        return parameter.reshape(shape)

    def call(self, inputs: Array) -> Array:
        """Return the normalized inputs."""
        rank = inputs.ndim
        gamma = 1.0 if self.gamma is None else self._aligned(self.gamma, rank)
        beta = 0.0 if self.beta is None else self._aligned(self.beta, rank)
        mean = self._aligned(self.mean, rank)
        variance = self._aligned(self.variance, rank)
        return normalized(inputs, mean, variance, self.epsilon, gamma=gamma, beta=beta)


@layer("LayerNormalization")
class LayerNormalization(Layer):
    """Mean and variance of each sample over some axes."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the axes and the parameters, one per element of those axes."""
        super().__init__(definition)
        self.axes = definition.axes("axis", -1)
        self.epsilon = definition.number("epsilon", 1e-3)
        self.rms_scaling = definition.boolean("rms_scaling", default=False)
        open_shape = (None,) * len(self.axes)
        self.gamma: Array | None = None
        self.beta: Array | None = None
        if definition.boolean("scale", default=True) or self.rms_scaling:
            self.gamma = definition.weight("gamma", open_shape)
        if definition.boolean("center", default=True) and not self.rms_scaling:
            self.beta = definition.weight("beta", open_shape)

    def call(self, inputs: Array) -> Array:
        """Return the normalized inputs."""
        rank = inputs.ndim
        axes = tuple(axis % rank for axis in self.axes)
        # Keras doesn't transpose the parameters for axes in another order.
        shape = [inputs.shape[axis] if axis in axes else 1 for axis in range(rank)]
        gamma = 1.0 if self.gamma is None else self.gamma.reshape(shape)
        beta = 0.0 if self.beta is None else self.beta.reshape(shape)
        mean = np.mean(inputs, axes, keepdims=True)
        variance = np.mean((inputs - mean) ** 2, axes, keepdims=True)
        if self.rms_scaling:
            # Keras divides by the deviation here, but doesn't subtract the mean.
            mean = np.zeros_like(mean)
        return normalized(inputs, mean, variance, self.epsilon, gamma=gamma, beta=beta)


@layer("GroupNormalization")
class GroupNormalization(Layer):
    """Mean and variance of each sample over groups of neighbouring channels."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the number of groups; -1 puts every channel into its own."""
        super().__init__(definition)
        self.groups = definition.integer("groups", 32)
        self.axis = definition.integer("axis", -1)
        self.epsilon = definition.number("epsilon", 1e-3)
        self.gamma: Array | float = 1.0
        self.beta: Array | float = 0.0
        if definition.boolean("scale", default=True):
            self.gamma = definition.weight("gamma", (None,))
        if definition.boolean("center", default=True):
            self.beta = definition.weight("beta", (None,))

    def call(self, inputs: Array) -> Array:
        """Return the inputs, each group normalized by itself."""
        x = np.moveaxis(inputs, self.axis, -1)
        channels = x.shape[-1]
        groups = channels if self.groups == -1 else self.groups
        grouped = x.reshape(*x.shape[:-1], groups, channels // groups)
        axes = (*range(1, x.ndim - 1), x.ndim)
        mean = np.mean(grouped, axes, keepdims=True)
        variance = np.mean((grouped - mean) ** 2, axes, keepdims=True)
        y = normalized(grouped, mean, variance, self.epsilon, gamma=1.0, beta=0.0)
        return np.moveaxis(y.reshape(x.shape) * self.gamma + self.beta, -1, self.axis)


@layer("RMSNormalization")
class RMSNormalization(Layer):
    """x / sqrt(mean(x^2) + epsilon) * scale."""

    def __init__(self, definition: Definition) -> None:
        """Read the axes and the scale."""
        super().__init__(definition)
        self.axes = definition.axes("axis", -1)
        self.epsilon = definition.number("epsilon", 1e-6)
        self.scale = definition.weight("scale", (None,) * len(self.axes))

    def call(self, inputs: Array) -> Array:
        """Return the normalized inputs."""
        mean_square = np.mean(inputs**2, self.axes, keepdims=True)
        y: Array = inputs / np.sqrt(mean_square + self.epsilon) * self.scale
        return y


@layer("UnitNormalization")
class UnitNormalization(Layer):
    """x / |x| along some axes; vectors shorter than 1e-12 are only scaled."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the axes."""
        super().__init__(definition)
        self.axes = definition.axes("axis", -1)

    def call(self, inputs: Array) -> Array:
        """Return the unit vectors."""
        return unit(inputs, self.axes, 1e-12)


def unit(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    """Return *x* divided by its length along *axes*, which counts at least epsilon."""
    length = np.sqrt(np.sum(x * x, axes, keepdims=True))
    return np.asarray(x * np.minimum(1 / length, 1 / epsilon))


@layer("SpectralNormalization")
class SpectralNormalization(Layer):
    """Another layer, whose kernel the training divided by its largest singular value.

    At inference the kernel in the file is used as it is.
    """

    def __init__(self, definition: Definition) -> None:
        """Build the wrapped layer."""
        super().__init__(definition)
        self.layer = definition.child("layer", definition.option("layer"))

    def sublayers(self) -> tuple[Layer, ...]:
        """Return the wrapped layer."""
        return (self.layer,)

    def call(self, inputs: Array) -> Array:
        """Return what the wrapped layer gives."""
        y: Array = self.layer.run_unmasked(inputs)
        return y
