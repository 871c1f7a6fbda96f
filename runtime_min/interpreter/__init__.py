"""The generic interpreter: any Keras model, with NumPy alone, as the reference."""

from importlib import import_module
from pkgutil import iter_modules

from keramos.runtime_min.interpreter.interpreter import Interpreter, Port, magnitude
from keramos.runtime_min.interpreter.layer import Layer, Masked, Value
from keramos.runtime_min.interpreter.registry import LAYERS, layer

# Importing a family's module registers its layers.
for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "LAYERS",
    "Interpreter",
    "Layer",
    "Masked",
    "Port",
    "Value",
    "layer",
    "magnitude",
]
