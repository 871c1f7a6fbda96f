"""Activations, by name and as layers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from keramos import ops
from keramos.errors import quoted
from keramos.expr import call, where
from keramos.graph import Value, elementwise
from keramos.layers.definition import Activation as Function
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, without_batch
from keramos.layers.registry import layer


def linear(x: Value) -> Value:
    """Return x."""
    return x


def legacy_hard_sigmoid(x: Value) -> Value:
    """Return clip(0.2 x + 0.5, 0, 1): what Keras 1 and 2 mean by hard_sigmoid."""
    return elementwise(
        lambda v: call("min", call("max", v * 0.2 + 0.5, 0.0), 1.0), x, dtype="float32"
    )


ACTIVATIONS: Mapping[str, Function] = {
    "celu": ops.celu,
    "elu": ops.elu,
    "exponential": ops.exp,
    "gelu": ops.gelu,
    "gelu_new": partial(ops.gelu, approximate=True),
    "glu": ops.glu,
    "hard_shrink": ops.hard_shrink,
    "hard_sigmoid": ops.hard_sigmoid,
    "hard_silu": ops.hard_silu,
    "hard_swish": ops.hard_silu,
    "hard_tanh": ops.hard_tanh,
    "leaky_relu": ops.leaky_relu,
    "linear": linear,
    "log_sigmoid": ops.log_sigmoid,
    "log_softmax": ops.log_softmax,
    "mish": ops.mish,
    "relu": ops.relu,
    "relu6": ops.relu6,
    "selu": ops.selu,
    "sigmoid": ops.sigmoid,
    "silu": ops.silu,
    "soft_shrink": ops.soft_shrink,
    "softmax": ops.softmax,
    "softplus": ops.softplus,
    "softsign": ops.softsign,
    "sparse_plus": ops.sparse_plus,
    "sparse_sigmoid": ops.sparse_sigmoid,
    "sparsemax": ops.sparsemax,
    "squareplus": ops.squareplus,
    "swish": ops.silu,
    "tanh": ops.tanh,
    "tanh_shrink": ops.tanh_shrink,
}


def activation(
    definition: Definition, name: str = "activation", default: str = "linear"
) -> Function:
    """Return the function that an option names, as the file's generation means it."""
    value = definition.option(name, default)
    if isinstance(value, Mapping) and value.get("class_name") == "function":
        value = value.get("config")
    if value is None:
        return linear
    if isinstance(value, Mapping):
        return _layer_as_function(definition, name, value)
    if value == "hard_sigmoid" and definition.generation < len("123"):
        return legacy_hard_sigmoid
    if isinstance(value, str) and value in ACTIVATIONS:
        return ACTIVATIONS[value]
    definition.note(
        f"{name} is {quoted(value)}, which Keras doesn't have",
        (
            "pass --custom FILE.py that defines the layer"
            if value == "<lambda>"
            else "use a built-in activation, or a layer of your own"
        ),
    )
    return linear


def _layer_as_function(
    definition: Definition, name: str, serialized: Mapping[str, Any]
) -> Function:
    """Return a layer such as LeakyReLU as a function."""
    child: Layer = definition.child(name, serialized)

    def function(x: Value) -> Value:
        result: Value = child.call(x)
        return result

    return function


class Elementwise(Layer):
    """What activations as layers have in common: they let masks pass."""

    supports_masking = True


@layer("Activation")
class Activation(Elementwise):
    """``y = activation(x)``."""

    def __init__(self, definition: Definition) -> None:
        """Look up the function."""
        super().__init__(definition)
        self.activation = activation(definition)
        self.lowers_leading_axes = True

    def call(self, inputs: Value) -> Value:
        """Return the activation."""
        return self.activation(inputs)


@layer("ReLU")
class ReLU(Elementwise):
    """x above *threshold*, at most *max_value*, and a slope below."""

    def __init__(self, definition: Definition) -> None:
        """Read the three parameters."""
        super().__init__(definition)
        self.lowers_leading_axes = True
        self.slope = 0.0
        if definition.option("negative_slope") is not None:
            self.slope = definition.number("negative_slope", 0.0)
        self.max_value = definition.optional_number("max_value")
        self.threshold = definition.optional_number("threshold") or 0.0

    def call(self, inputs: Value) -> Value:
        """Return the activation."""
        return ops.relu(inputs, self.slope, self.max_value, self.threshold)


@layer("LeakyReLU")
class LeakyReLU(Elementwise):
    """x, below 0 times a slope (``alpha`` until Keras 2)."""

    def __init__(self, definition: Definition) -> None:
        """Read the slope under either name."""
        super().__init__(definition)
        self.lowers_leading_axes = True
        name = "negative_slope" if definition.has("negative_slope") else "alpha"
        self.slope = definition.number(name, 0.3)

    def call(self, inputs: Value) -> Value:
        """Return the activation."""
        return ops.leaky_relu(inputs, self.slope)


@layer("ELU")
class ELU(Elementwise):
    """x, below 0 ``alpha (e^x - 1)``."""

    def __init__(self, definition: Definition) -> None:
        """Read alpha."""
        super().__init__(definition)
        self.alpha = definition.number("alpha", 1.0)

    def call(self, inputs: Value) -> Value:
        """Return the activation."""
        return ops.elu(inputs, self.alpha)


@layer("ThresholdedReLU")
class ThresholdedReLU(Elementwise):
    """x above *theta*, else 0."""

    def __init__(self, definition: Definition) -> None:
        """Read theta."""
        super().__init__(definition)
        self.theta = definition.number("theta", 1.0)

    def call(self, inputs: Value) -> Value:
        """Return the activation."""
        return ops.threshold(inputs, self.theta, 0.0)


@layer("PReLU")
class PReLU(Elementwise):
    """x, below 0 times a learned slope, shared along some axes."""

    def __init__(self, definition: Definition) -> None:
        """Read the shared axes."""
        super().__init__(definition)
        self.shared = definition.axes("shared_axes", None) or ()

    def call(self, inputs: Value) -> Value:
        """Return the activation."""
        shared = {without_batch(axis, inputs, self.definition) for axis in self.shared}
        shape = [1 if a in shared else d for a, d in enumerate(inputs.shape)]
        alpha = self.definition.weight("alpha", shape)
        return elementwise(
            lambda x, slope: where(x >= 0.0, x, x * slope), inputs, alpha
        )


@layer("Softmax")
class Softmax(Elementwise):
    """``e^x`` over its sum along one axis or several, masked places left out."""

    # Keras adds this to what is masked, or puts it there.
    lowest: ClassVar[float] = -1e9

    def __init__(self, definition: Definition) -> None:
        """Read the axes."""
        super().__init__(definition)
        self.axes = definition.axes("axis", -1) or (-1,)

    def call(self, inputs: Value, mask: Value | None = None) -> Value:
        """Return the softmax."""
        axes = [without_batch(axis, inputs, self.definition) for axis in self.axes]
        if mask is None:
            return ops.softmax(inputs, axes)
        mask = ops.cast(mask, "bool")
        y = ops.softmax(ops.where(mask, inputs, self.lowest), axes)
        # Keras 2 left the shares of a wholly masked axis as they come out.
        three = self.definition.generation >= len("123")
        return ops.where(mask, y, 0.0) if three else y
