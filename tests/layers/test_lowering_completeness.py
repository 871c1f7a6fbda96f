"""Every layer class and activation of Keras is lowered, or refused with a reason."""

from __future__ import annotations

import inspect

import keras

from keramos.layers.activation import ACTIVATIONS
from keramos.layers.refused import Refused
from keramos.layers.registry import LAYERS

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
