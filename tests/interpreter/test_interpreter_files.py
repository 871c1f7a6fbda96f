"""Whole files, as Keras saves them, give what Keras gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from interpreter.live_models import as_list, fill_weights, noise
from keras import layers

from keramos.runtime_min.interpreter import LAYERS, Interpreter


def recurrent() -> keras.Model:
    """Return a model of recurrent layers and wrappers."""
    inputs = keras.Input((5, 4))
    x = layers.Masking()(inputs)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.TimeDistributed(layers.Dense(4))(x)
    x = layers.RNN([layers.GRUCell(3), layers.LSTMCell(3)], return_sequences=True)(x)
    return keras.Model(inputs, layers.GRU(2, reset_after=False)(x))


def nested() -> keras.Model:
    """Return a model of models, one of them inside of a wrapper."""
    step = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    inner_inputs = keras.Input((5, 2))
    inner = keras.Model(inner_inputs, layers.SimpleRNN(3)(inner_inputs))
    inputs = keras.Input((5, 4))
    return keras.Model(inputs, inner(layers.TimeDistributed(step)(inputs)))


def attending() -> keras.Model:
    """Return a transformer's block."""
    inputs = keras.Input((5, 4))
    x = layers.MultiHeadAttention(2, 3)(inputs, inputs)
    x = layers.LayerNormalization()(inputs + x)
    x = layers.GroupQueryAttention(3, 4, 2)(x, x)
    x = layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d")(x)
    return keras.Model(inputs, layers.GroupNormalization(2)(x))


def convolving() -> keras.Model:
    """Return a model of convolutions with shared and normalized layers."""
    inputs = keras.Input((5, 4))
    shared = layers.Conv1D(4, 2, padding="causal")
    x = layers.Add()([shared(inputs), shared(shared(inputs))])
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.PReLU()(layers.SeparableConv1D(4, 2)(x))
    x = layers.SpectralNormalization(layers.Conv1D(3, 2))(x)
    x = layers.Reshape((1, 3, 3))(layers.Dropout(0.5)(x))
    x = layers.DepthwiseConv2D(2, padding="same")(x)
    return keras.Model(inputs, layers.Conv2DTranspose(2, 2, strides=2)(x))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.filterwarnings("ignore:.*are incompatible with Keras 3")
@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("make", [recurrent, nested, attending, convolving])
def test_file_gives_what_keras_gives(
    make: Callable[[], keras.Model], suffix: str, tmp_path: Path
) -> None:
    model = make()
    fill_weights(model, 0)
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    x = noise((3, 5, 4))
    x[0, 3:] = 0

    actual = as_list(Interpreter(path).predict(x))

    for ours, keras_array in zip(actual, as_list(model(x)), strict=True):
        assert np.allclose(ours, keras_array, atol=1e-5)


def test_every_layer_of_keras_runs_or_is_refused_with_a_reason() -> None:
    members = [getattr(layers, name) for name in dir(layers)]
    classes = [member for member in members if isinstance(member, type)]
    names = {each.__name__ for each in classes if issubclass(each, keras.Layer)}

    # An input only receives, and the other two are there to be derived from.
    assert names - LAYERS.keys() == {"InputLayer", "Layer", "Wrapper"}
