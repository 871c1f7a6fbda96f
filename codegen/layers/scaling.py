"""Preprocessing by scale and offset: y = x * scale + offset, y = (x - mean) / std."""

from __future__ import annotations

from typing import Any

import numpy as np

from keramos import ops
from keramos.errors import quoted
from keramos.expr import call
from keramos.graph import Value, elementwise
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, shape_text, without_batch
from keramos.layers.registry import layer


def numbers(definition: Definition, name: str, default: float) -> Any:  # noqa: ANN401
    """Return an option that is a number or nested lists of numbers as an array."""
    value = definition.option(name, default)
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        definition.note(f"{name} is {quoted(value)}, not numbers")
        return np.asarray(default, np.float32)
    return array


@layer("Rescaling")
class Rescaling(Layer):
    """``y = x * scale + offset``."""

    supports_masking = True
    lowers_leading_axes = True

    def __init__(self, definition: Definition) -> None:
        """Read the two numbers, or lists for channels."""
        super().__init__(definition)
        self.scale = numbers(definition, "scale", 1.0)
        self.offset = numbers(definition, "offset", 0.0)

    def call(self, inputs: Value) -> Value:
        """Return the scaled input."""
        scale, offset = map(_operand, (self.scale, self.offset))
        return elementwise(lambda x, a, b: x * a + b, inputs, scale, offset)


def _operand(array: Any) -> Any:  # noqa: ANN401 - an Operand
    """Return one number as such, several as they are."""
    return float(array) if array.ndim == 0 else array


@layer("Normalization")
class Normalization(Layer):
    """``y = (x - mean) / max(sqrt(variance), 1e-7)``, or the inverse of that."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the axes that have statistics of their own, and those given."""
        super().__init__(definition)
        self.axes = definition.axes("axis", -1) or ()
        self.invert = definition.boolean("invert", default=False)
        self.stated = definition.has("mean")
        self.mean = numbers(definition, "mean", 0.0)
        self.variance = numbers(definition, "variance", 1.0)

    def call(self, inputs: Value) -> Value:
        """Return the normalised input."""
        axes = sorted(without_batch(a, inputs, self.definition) for a in self.axes)
        if any(inputs.shape[a] is None for a in axes):
            raise self.definition.refusal(
                f"its input of shape {shape_text(inputs)} has axes of unknown length",
                "give them with --input-shape",
            )
        mean, variance = (self._statistic(name, inputs, axes) for name in _NAMES)
        deviation = elementwise(lambda v: call("max", call("sqrt", v), 1e-7), variance)
        if self.invert:
            return elementwise(lambda x, m, d: m + x * d, inputs, mean, deviation)
        return elementwise(lambda x, m, d: (x - m) / d, inputs, mean, deviation)

    def _statistic(self, name: str, x: Value, axes: list[int]) -> Value:
        """Return the mean or the variance, in a shape that broadcasts to x."""
        shape = [d if a in axes else 1 for a, d in enumerate(x.shape)]
        if not self.stated:
            sizes = [x.shape[a] for a in axes]
            return ops.reshape(self.definition.weight(name, sizes), shape)
        array = self.mean if name == "mean" else self.variance
        if array.ndim == 0:
            return ops.constant(array)
        kept = dict(zip(reversed(axes), reversed(array.shape), strict=False))
        spread = [kept.get(a, 1) for a in range(len(x.shape))]
        return ops.reshape(ops.constant(array), spread)

    def check_weights(self) -> None:
        """Let the number of samples seen be."""


_NAMES = ("mean", "variance")
