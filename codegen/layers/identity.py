"""Layers that do nothing at inference: y = x."""

from __future__ import annotations

from keramos.graph import Value
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer
from keramos.layers.registry import layer


@layer(
    "AddLoss",
    "AddMetric",
    "Identity",
    "Dropout",
    "AlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "ActivityRegularization",
    "StochasticDepth",
)
class Identity(Layer):
    """``y = x``: noise and regularisation belong to training."""

    supports_masking = True
    lowers_leading_axes = True
    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the options of training, whatever they are."""
        super().__init__(definition)
        for name in ("rate", "stddev", "l1", "l2", "data_format", "drop_path_rate"):
            definition.option(name)
        for name in ("unconditional", "aggregation", "metric_name"):
            definition.option(name)

    def call(self, inputs: Value) -> Value:
        """Return the input."""
        return inputs

    def check_weights(self) -> None:
        """Let the states of random generators be."""
