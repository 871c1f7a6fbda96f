"""Options of layers, crossed: interpreter and compiled graph against Keras."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from interpreter.live_models import assert_agrees, through_layer
from keras import layers
from lowering_oracle import TOLERANCE, disagreement, randomise
from option_matrix import ELSEWHERE, MATRIX, Case, options_of

from keramos.layers.identity import Identity
from keramos.layers.images import Augmentation
from keramos.layers.refused import Refused
from keramos.layers.registry import LAYERS

# Building a model with Keras takes tenths of a second, and there are some eighty.
FEW = settings(
    max_examples=max((settings.default or settings()).max_examples // 12, 1),
    suppress_health_check=[*HealthCheck],
)
BATCH = 2
# What magnitudes leave out: the roots and logarithms of normalisations and spectra.
FACTOR = 256


def drawn(data: st.DataObject, case: Case) -> dict[str, Any]:
    """Return one value for each option."""
    return {
        name: data.draw(st.sampled_from(values), label=name)
        for name, values in case.options.items()
    }


def model_of(name: str, options: dict[str, Any]) -> Any:  # noqa: ANN401 - Keras
    """Return a layer's model; reject what Keras itself doesn't take."""
    case = MATRIX[name]
    try:
        layer = getattr(layers, name)(**options)
        if name in ("GroupQueryAttention", "MultiHeadAttention"):
            query, value = (keras.Input(shape) for shape in case.shapes)
            model = keras.Model([query, value], layer(query, value))
        else:
            model = through_layer(layer, *case.shapes, dtype=case.dtype)
        given = inputs_for(name, seed=1)
        model(given if len(given) > 1 else given[0])
    except (ValueError, TypeError, NotImplementedError, ZeroDivisionError):
        return None
    return model


def inputs_for(name: str, seed: int) -> list[np.ndarray[Any, Any]]:
    """Return a batch."""
    rng = np.random.default_rng(seed)
    case = MATRIX[name]
    if case.dtype == "int32":
        return [rng.integers(0, 4, (BATCH, *shape)) for shape in case.shapes]
    return [
        rng.normal(size=(BATCH, *shape)).astype(np.float32) for shape in case.shapes
    ]


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
