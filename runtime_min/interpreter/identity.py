"""Layers that change nothing once a model is trained: y = x."""

from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer


@layer(
    "ActivityRegularization",
    "AddLoss",
    "AddMetric",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
)
class Unchanged(Layer):
    """A layer that acts in training only."""

    supports_masking = True
    keeps_integers = True

    def call(self, inputs: Array) -> Array:
        """Return the inputs."""
        return inputs
