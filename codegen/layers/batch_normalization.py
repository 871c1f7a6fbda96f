"""Batch normalization at inference: y = (x - mean) gamma / sqrt(variance + e) + beta.

Written as ``x * scale + offset``, which folds into a neighbouring convolution.
"""

from __future__ import annotations

from keramos import ops
from keramos.graph import Value, elementwise
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, shape_text, without_batch
from keramos.layers.registry import layer


@layer("BatchNormalization", "BatchNormalizationV1", "SyncBatchNormalization")
class BatchNormalization(Layer):
    """Scale and offset per channel, from the moving statistics."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the axis and which parameters there are."""
        super().__init__(definition)
        self.axes = definition.axes("axis", -1) or (-1,)
        self.lowers_leading_axes = self.axes == (-1,)
        self.epsilon = definition.number("epsilon", 1e-3)
        self.scale = definition.boolean("scale", default=True)
        self.center = definition.boolean("center", default=True)
        self.renorm = definition.boolean("renorm", default=False)
        definition.refuse("mode", (0,), "which normalises by the batch at hand")

    def call(self, inputs: Value) -> Value:
        """Return the normalised input."""
        axes = [without_batch(axis, inputs, self.definition) for axis in self.axes]
        sizes = [inputs.shape[axis] for axis in axes]
        if None in sizes:
            raise self.definition.refusal(
                f"axis {self.axes[0]} of its input of shape {shape_text(inputs)} has"
                " no known length",
                "give it with --input-shape",
            )
        weight = self.definition.weight
        gamma = weight("gamma", sizes) if self.scale else None
        beta = weight("beta", sizes) if self.center else None
        mean, variance = weight("moving_mean", sizes), weight("moving_variance", sizes)
        scale = ops.rsqrt(variance + self.epsilon)
        scale = scale if gamma is None else gamma * scale
        offset = ops.negative(mean * scale)
        offset = offset if beta is None else offset + beta
        if axes != [len(inputs.shape) - 1]:
            shape = [d if a in axes else 1 for a, d in enumerate(inputs.shape)]
            scale, offset = ops.reshape(scale, shape), ops.reshape(offset, shape)
        return elementwise(lambda x, a, b: x * a + b, inputs, scale, offset)

    def check_weights(self) -> None:
        """Let the extra statistics of batch renormalisation be."""
        if not self.renorm:
            super().check_weights()
