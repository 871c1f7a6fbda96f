"""Random Keras models that keep states, and calls of them with resets in between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
from keras import layers
from strategies_models import Draw, KerasObject, random_untouched, randomise

Array = NDArray[Any]

STEPS, FEATURES = 3, 2
# How often a step is all zeros.
MASKED = 0.2
VECTORS = (layers.LSTM, layers.GRU, layers.SimpleRNN)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A model with states, and a batch for each call; None resets the states."""

    model: KerasObject
    calls: tuple[Array | None, ...]

    def save(self, folder: Path, suffix: str = "keras") -> Path:
        """Write the model as a real file."""
        path = folder / f"stateful.{suffix}"
        self.model.save(path)
        return path

    def expected(self) -> list[list[Array]]:
        """Return what Keras answers to each call: the outputs, one behind the other."""
        reset(self.model)
        answers = []
        for x in self.calls:
            if x is None:
                reset(self.model)
            else:
                answers.append(
                    [np.asarray(y) for y in keras.tree.flatten(self.model(x))]
                )
        return answers


def reset(model: KerasObject) -> None:
    """Set the states of all layers back to zero, also inside of others.

    Keras' own ``reset_state`` fails for layers of several cells.
    """
    for layer in _flattened(model):
        for state in keras.tree.flatten(getattr(layer, "states", None) or ()):
            state.assign(np.zeros(state.shape, np.float32))


def _flattened(layer: KerasObject) -> Iterator[KerasObject]:
    """Yield the recurrent layers in a model, and in models inside it."""
    for each in layer.layers:
        if hasattr(each, "layers"):
            yield from _flattened(each)
        elif hasattr(each, "reset_state"):
            yield each


@st.composite
def dialogues(draw: Draw) -> Dialogue:
    """Draw a chain of recurrent layers, most of them stateful, and calls of it."""
    keras.utils.clear_session(free_memory=False)
    with random_untouched():
        x, model = _model(draw, draw(st.integers(1, 3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    randomise(model, rng)
    reset(model)
    kinds = draw(st.lists(st.booleans(), min_size=1, max_size=3))
    # At least two calls in a row: what the first one leaves is what the second reads.
    batches = [None if is_reset else _batch(x, rng) for is_reset in kinds]
    return Dialogue(model, (_batch(x, rng), _batch(x, rng), *batches))


def _model(draw: Draw, n: int) -> tuple[KerasObject, KerasObject]:
    """Return the input, and the model of *n* samples."""
    if draw(st.integers(0, 3)) == 0:
        x = keras.Input(batch_shape=(n, STEPS, 4, FEATURES))
        return x, keras.Model(x, _results(_convolutional(draw), x))
    x = keras.Input(batch_shape=(n, STEPS, FEATURES))
    masked = draw(st.booleans())
    y = layers.Masking()(x) if masked else x
    if draw(st.booleans()):
        # Keras' models lose the masks of what they are given, and warn.
        kinds = ("once", "twice") if masked else ("once", "twice", "model")
        y = _inner(draw, n, y, draw(st.sampled_from(kinds)))
    return x, keras.Model(x, _results(_vector(draw, sequences=draw(st.booleans())), y))


def _batch(x: KerasObject, rng: np.random.Generator) -> Array:
    """Return samples for the model's input; some steps are zeros, which masks skip."""
    numbers: Array = rng.normal(size=x.shape).astype(np.float32)
    numbers[rng.random(x.shape[:2]) < MASKED] = 0
    return numbers


def _results(layer: KerasObject, x: KerasObject) -> list[KerasObject]:
    """Return what a layer gives, its states too if it returns them."""
    y = layer(x)
    return [*y] if isinstance(y, list | tuple) else [y]


def _inner(draw: Draw, n: int, x: KerasObject, kind: str) -> KerasObject:
    """Return a sequence that a layer, a layer called twice, or a model makes of one."""
    layer = _vector(draw, sequences=True, states=False)
    match kind:
        case "twice":
            return layer(layers.Dense(FEATURES)(layer(x)))
        case "model":
            inside = keras.Input(batch_shape=(n, *x.shape[1:]))
            return keras.Model(inside, layer(inside))(x)
        case _:
            return layer(x)


def _vector(draw: Draw, *, sequences: bool, states: bool = True) -> KerasObject:
    """Return a recurrent layer over vectors: alone, both ways, or of several cells."""
    options: dict[str, Any] = {
        "stateful": draw(st.integers(0, 3)) > 0,
        "return_sequences": sequences,
        "return_state": states and draw(st.booleans()),
        "unroll": draw(st.booleans()),
    }
    units = draw(st.integers(1, 4))
    match draw(st.sampled_from(("alone", "both", "cells"))):
        case "both":
            # Keras can't mask the states of both directions.
            options["return_state"] = False
            inner = draw(st.sampled_from(VECTORS))(units, **options)
            mode = draw(st.sampled_from(("concat", "sum", "mul")))
            return layers.Bidirectional(inner, merge_mode=mode)
        case "cells":
            cells = [layers.LSTMCell(units), layers.GRUCell(2)]
            return layers.RNN(cells, **options)
        case _:
            options["go_backwards"] = draw(st.booleans())
            return draw(st.sampled_from(VECTORS))(units, **options)


def _convolutional(draw: Draw) -> KerasObject:
    """Return a convolutional LSTM."""
    return layers.ConvLSTM1D(
        draw(st.integers(1, 3)),
        2,
        padding=draw(st.sampled_from(("same", "valid"))),
        stateful=True,
        return_sequences=draw(st.booleans()),
        return_state=draw(st.booleans()),
    )
