"""Every layer class and activation of Keras is lowered, or refused with a reason."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

import keras
from keras.src import ops as keras_operations

from keramos.layers.activation import ACTIVATIONS
from keramos.layers.operation import OPERATIONS
from keramos.layers.refused import Refused
from keramos.layers.registry import LAYERS
from keramos.layers.unsupported_operations import UNSUPPORTED
from keramos.runtime_min.interpreter.operation import OPERATIONS as INTERPRETED

# What has a constructor in keras.layers, and no place in a file.
ABSTRACT = {"InputLayer", "InputSpec", "Layer", "Wrapper"}
# Refused by name: the user's code, which --custom replaces.
OWN_CODE = {"Lambda"}
# It has arguments that a name can't give.
NAMELESS = {"threshold"}


def test_every_layer_of_keras_is_known() -> None:
    classes = {
        each.__name__ for each in vars(keras.layers).values() if inspect.isclass(each)
    }

    assert classes - set(LAYERS) == ABSTRACT | OWN_CODE


def test_every_refused_layer_has_a_reason() -> None:
    refused = {name for name, each in LAYERS.items() if each is Refused}

    assert refused == set(Refused.reasons)


def test_every_activation_of_keras_is_known() -> None:
    functions = {
        name
        for name, each in vars(keras.activations).items()
        if inspect.isfunction(each) and name not in ("deserialize", "get", "serialize")
    }

    assert functions - set(ACTIVATIONS) == NAMELESS


def operations() -> set[str]:
    """Return the classes that can stand for an operation in a functional graph."""
    modules = [
        import_module(f"{keras_operations.__name__}.{each.name}")
        for each in pkgutil.iter_modules(keras_operations.__path__)
        if not each.name.endswith("_test")
    ]
    return {
        each.__name__
        for module in modules
        for each in vars(module).values()
        if inspect.isclass(each)
        and issubclass(each, keras.Operation)
        and each.__module__.startswith(keras_operations.__name__)
    }


def test_every_operation_of_keras_is_known_or_refused_with_a_reason() -> None:
    assert operations() - set(OPERATIONS) == set(UNSUPPORTED)


def test_no_operation_is_known_to_the_compiler_alone() -> None:
    assert set(OPERATIONS) - set(INTERPRETED) == set()
