"""Which class lowers which Keras layer: filled by importing the families' modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from keramos.layers.layer import Layer

LayerClass = TypeVar("LayerClass", bound=type[Layer])

LAYERS: dict[str, type[Layer]] = {}


def layer(*class_names: str) -> Callable[[LayerClass], LayerClass]:
    """Register the decorated class under the *class_names* that files use."""

    def register(layer_class: LayerClass) -> LayerClass:
        """Enter the class; two families claiming one name is our bug."""
        for class_name in class_names:
            if class_name in LAYERS:
                raise KeyError(class_name)
            LAYERS[class_name] = layer_class
        return layer_class

    return register
