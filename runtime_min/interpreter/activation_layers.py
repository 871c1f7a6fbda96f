"""Activations as layers: elementwise functions with parameters, and softmax."""

import numpy as np

from keramos.runtime_min.interpreter.activations import (
    elu,
    leaky_relu,
    relu,
    softmax,
)
from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer

LOWEST_SCORE = -1e9


@layer("Activation")
class Activation(Layer):
    """A function by its name."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Look the function up."""
        super().__init__(definition)
        self.activation = definition.activation("activation")

    def call(self, inputs: Array) -> Array:
        """Return the function's values."""
        return self.activation(inputs)


@layer("ReLU")
class ReLU(Layer):
    """x above the threshold, up to a maximum; a slope below."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the three parameters."""
        super().__init__(definition)
        self.max_value = definition.optional_number("max_value")
        self.negative_slope = definition.optional_number("negative_slope") or 0.0
        self.threshold = definition.optional_number("threshold") or 0.0

    def call(self, inputs: Array) -> Array:
        """Return the function's values."""
        return relu(inputs, self.negative_slope, self.max_value, self.threshold)


@layer("LeakyReLU")
class LeakyReLU(Layer):
    """x for positive x, slope * x otherwise."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the slope, which Keras 1 and 2 call alpha."""
        super().__init__(definition)
        name = "negative_slope" if "negative_slope" in definition.config else "alpha"
        self.slope = definition.number(name, 0.3)

    def call(self, inputs: Array) -> Array:
        """Return the function's values."""
        return leaky_relu(inputs, self.slope)


@layer("ELU")
class ELU(Layer):
    """x for positive x, alpha * (exp(x) - 1) otherwise."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read alpha."""
        super().__init__(definition)
        self.alpha = definition.number("alpha", 1.0)

    def call(self, inputs: Array) -> Array:
        """Return the function's values."""
        return elu(inputs, self.alpha)


@layer("ThresholdedReLU")
class ThresholdedReLU(Layer):
    """x where x > theta, elsewhere 0."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read theta."""
        super().__init__(definition)
        self.theta = definition.number("theta", 1.0)

    def call(self, inputs: Array) -> Array:
        """Return the function's values."""
        return np.asarray(np.where(inputs > self.theta, inputs, 0))


@layer("PReLU")
class PReLU(Layer):
    """x for positive x, alpha * x otherwise, alpha learned per position."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read alpha, whose shared axes have the size 1."""
        super().__init__(definition)
        alpha = definition.stored("alpha")
        self.alpha = definition.computed(alpha)

    def call(self, inputs: Array) -> Array:
        """Return the function's values."""
        return np.asarray(np.maximum(inputs, 0) + self.alpha * np.minimum(inputs, 0))


@layer("Softmax")
class Softmax(Layer):
    """exp(x) / sum(exp(x)) along one axis or several; masked positions give 0."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the axis or axes."""
        super().__init__(definition)
        self.axes = definition.axes("axis", -1)

    def call(self, inputs: Array, mask: Array | None = None) -> Array:
        """Return the softmax over the unmasked positions."""
        if mask is None:
            return softmax(inputs, self.axes)
        kept = mask if mask.dtype.kind == "b" else mask > 0.5
        return masked_softmax(inputs, kept, self.axes, zeroed=self.generation > 2)


def masked_softmax(
    scores: Array, kept: Array, axes: tuple[int, ...], *, zeroed: bool
) -> Array:
    """Return the softmax of *scores* where *kept*, 0 elsewhere.

    Where nothing is kept, the weights are 0 (*zeroed*: Keras 3), or all equal: Keras 2
    subtracts a number so large that float32 has no digits left for the scores.
    """
    weights = softmax(np.where(kept, scores, LOWEST_SCORE), axes)
    return np.where(kept, weights, 0) if zeroed else weights
