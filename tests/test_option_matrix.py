"""Options of layers, crossed: interpreter and compiled graph against Keras."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from interpreter.live_models import assert_agrees
from keras import layers
from lowering_oracle import TOLERANCE, disagreement, randomise
from option_matrix import (
    ELSEWHERE,
    MATRIX,
    drawn,
    inputs_for,
    model_of,
    options_of,
)

from keramos.layers.identity import Identity
from keramos.layers.images import Augmentation
from keramos.layers.refused import Refused
from keramos.layers.registry import LAYERS

# Building a model with Keras takes tenths of a second, and there are some eighty.
FEW = settings(
    max_examples=max((settings.default or settings()).max_examples // 12, 1),
    suppress_health_check=[*HealthCheck],
)
# What magnitudes leave out: the roots and logarithms of normalisations and spectra.
FACTOR = 256


@pytest.mark.parametrize("name", MATRIX)
@FEW
@given(data=st.data())
def test_options_mean_what_they_mean_in_keras(name: str, data: st.DataObject) -> None:
    model = model_of(name, drawn(data, MATRIX[name]))
    assume(model is not None)
    inputs = inputs_for(name, seed=1)

    assert_agrees(model, *inputs, factor=FACTOR)
    randomise(model)
    assert disagreement(model, inputs) < TOLERANCE


def test_every_option_of_every_layer_is_drawn() -> None:
    forgotten = {
        name: options_of(name) - set(MATRIX[name].options)
        for name in MATRIX
        if options_of(name) - set(MATRIX[name].options)
    }

    assert forgotten == {}


def test_every_layer_with_options_is_in_the_matrix() -> None:
    # Its other name is in the matrix.
    twice = {"GroupedQueryAttention"}
    simple = {*ELSEWHERE, *twice, "InputLayer", "Lambda", "Layer", "Wrapper"}
    classes = {
        each.__name__
        for each in vars(layers).values()
        if inspect.isclass(each) and each.__name__ in LAYERS
    }
    idle = {
        name
        for name in classes
        if LAYERS[name] in (Augmentation, Identity, Refused) or name == "RandomCrop"
    }

    assert classes - idle - simple - set(MATRIX) == {"TernaryDense"} & classes
