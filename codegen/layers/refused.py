"""Keras' classes that can't be compiled, each with its reason."""

from __future__ import annotations

from typing import ClassVar

from keramos.layers.definition import Definition
from keramos.layers.layer import Layer
from keramos.layers.registry import layer

TEXT = ("StringLookup", "TextVectorization", "Hashing", "HashedCrossing")
FOREIGN = ("TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper")
PREPARATION = (
    "ContrastLimitedAdaptiveHistogramEqualization",
    "DenseFeatures",
    "FeatureSpace",
    "Pipeline",
)


@layer(*TEXT, *FOREIGN, *PREPARATION)
class Refused(Layer):
    """A layer that says why it isn't supported."""

    reasons: ClassVar[dict[str, tuple[str, str]]] = {
        **dict.fromkeys(
            TEXT,
            (
                "works on strings or hashes, which programs for arrays don't have",
                "turn text into numbers before the model",
            ),
        ),
        **dict.fromkeys(
            FOREIGN,
            (
                "holds a program of another framework",
                "pass --custom FILE.py that defines it",
            ),
        ),
        **dict.fromkeys(
            PREPARATION,
            (
                "prepares data before a model sees it",
                "run it with Keras, and feed the model its results",
            ),
        ),
    }

    def __init__(self, definition: Definition) -> None:
        """Refuse."""
        super().__init__(definition)
        raise definition.refusal(*self.reasons[definition.class_name])
