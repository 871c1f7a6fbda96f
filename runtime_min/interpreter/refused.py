"""Layers that can't be run, each with the reason that its user should read."""

from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Layer
from keramos.runtime_min.interpreter.registry import layer

# What to do instead of interpreting a model with such a layer.
NO_CUSTOM_LAYERS = (
    "the interpreter doesn't know custom layers; compile the model with --custom, and "
    "`keramos verify PACKAGE` compares the package with its recorded sample"
)


@layer("Lambda")
class Lambda(Layer):
    """A function of the author's: its code is never executed."""

    def __init__(self, definition: Definition) -> None:
        """Refuse."""
        raise definition.refusal(
            "holds Python bytecode, which is never executed",
            NO_CUSTOM_LAYERS,
        )


@layer("TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper")
class Foreign(Layer):
    """A program of another framework."""

    def __init__(self, definition: Definition) -> None:
        """Refuse."""
        raise definition.refusal(
            "wraps a program of another framework, which isn't in the file",
            NO_CUSTOM_LAYERS,
        )


@layer(
    "ContrastLimitedAdaptiveHistogramEqualization",
    "DenseFeatures",
    "FeatureSpace",
    "Pipeline",
)
class Preparation(Layer):
    """A layer that prepares data outside of models."""

    def __init__(self, definition: Definition) -> None:
        """Refuse."""
        raise definition.refusal(
            "prepares data before a model sees it",
            "run it with Keras, and feed the model its results",
        )
