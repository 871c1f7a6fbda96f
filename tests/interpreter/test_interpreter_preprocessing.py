"""Preprocessing layers agree with Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interpreter.live_models import (
    Array,
    assert_agrees,
    hand_built_file,
    noise,
    through_layer,
)
from interpreter.option_strategies import BOOLEANS, DATA_FORMATS, FEWER
from keras import layers

from keramos.errors import CompileError
from keramos.runtime_min.interpreter import Interpreter

Options = dict[str, Any]


@pytest.mark.parametrize(
    "layer",
    [
        layers.Rescaling(1 / 127.5, -1),
        layers.Rescaling([0.1, 0.2, 0.3], [1, 2, 3]),
    ],
)
def test_rescaling_agrees_with_keras(layer: keras.Layer) -> None:
    assert_agrees(through_layer(layer, (4, 4, 3)), noise((2, 4, 4, 3)))


@pytest.mark.parametrize("mode", ["multi_hot", "count"])
def test_category_encoding_agrees_with_keras(mode: str) -> None:
    layer = layers.CategoryEncoding(6, output_mode=mode)
    model = through_layer(layer, (5,), dtype="int32")

    assert_agrees(model, np.array([[1, 2, 5, 1, 1], [0, 0, 3, 4, 4]]))


def test_category_encoding_agrees_with_keras_on_one_index_each() -> None:
    layer = layers.CategoryEncoding(6, output_mode="one_hot")
    model = through_layer(layer, (1,), dtype="int32")

    assert_agrees(model, np.array([[1], [4]]))


def test_category_encoding_weighs_its_counts() -> None:
    tokens, weights = keras.Input((4,), dtype="int32"), keras.Input((4,))
    layer = layers.CategoryEncoding(5, output_mode="count")
    model = keras.Model([tokens, weights], layer(tokens, count_weights=weights))

    assert_agrees(model, np.array([[1, 2, 1, 4], [0, 3, 3, 3]]), noise((2, 4)))


@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count"])
def test_discretization_agrees_with_keras_on_the_boundaries_too(mode: str) -> None:
    layer = layers.Discretization([-0.7, 0.0, 0.1, 0.7], output_mode=mode)
    x = np.array([[-0.7, 0.0, 0.1, 0.7, -9.0], [0.05, 0.7, 9.0, -0.7, 0.1]], np.float32)

    assert_agrees(through_layer(layer, (5,)), x)


@FEWER
@given(
    mode=st.sampled_from(["log", "magnitude", "psd", "real", "imag", "angle", "stft"]),
    data_format=DATA_FORMATS,
    padding=st.sampled_from(["valid", "same"]),
    expand_dims=BOOLEANS,
)
def test_stft_spectrogram_agrees_with_keras(
    mode: str, data_format: str, padding: str, *, expand_dims: bool
) -> None:
    layer = layers.STFTSpectrogram(
        mode,
        frame_length=16,
        frame_step=5,
        fft_length=32,
        padding=padding,
        expand_dims=expand_dims,
        data_format=data_format,
    )
    shape = (2, 60) if data_format == "channels_first" else (60, 2)

    assert_agrees(through_layer(layer, shape), noise((2, *shape)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"power_to_db": False},
        {"window": "hamming", "sequence_length": 100},
        {"mag_exp": 1.0, "min_freq": 50.0, "max_freq": 3000.0, "top_db": 20.0},
    ],
)
def test_mel_spectrogram_agrees_with_keras(options: Options) -> None:
    layer = layers.MelSpectrogram(
        fft_length=128,
        sequence_stride=50,
        sampling_rate=8000,
        num_mel_bins=20,
        **options,
    )
    x = noise((2, 600))

    # Decibels multiply the relative error of the power by 10 / ln 10, and the power is
    # that of sums over 128 samples.
    assert_agrees(through_layer(layer, (600,)), x, factor=64 * 5)


def looked_up(options: Options, numbers: Array) -> Array:
    """Return what an IntegerLookup gives, which Keras runs with TensorFlow only."""
    file = hand_built_file("IntegerLookup", options, (None,))
    found: Array = Interpreter(file).predict(numbers)
    return found


VOCABULARY = {"vocabulary": [12, 36, 1138, 42], "num_oov_indices": 1}
NUMBERS = np.array([[12, 1138, 42], [42, 1000, 36]])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # The examples of Keras' own documentation.
        ({}, [[1, 3, 4], [4, 0, 2]]),
        ({"output_mode": "multi_hot"}, [[0, 1, 0, 1, 1], [1, 0, 1, 0, 1]]),
        ({"mask_token": 0}, [[2, 4, 5], [5, 1, 3]]),
        ({"num_oov_indices": 3}, [[3, 5, 6], [6, 1, 4]]),
    ],
)
def test_integer_lookup_follows_the_documentation(
    options: Options, expected: list[list[int]]
) -> None:
    assert looked_up({**VOCABULARY, **options}, NUMBERS).tolist() == expected


def test_integer_lookup_turns_around() -> None:
    options = {**VOCABULARY, "invert": True, "oov_token": -1}

    actual = looked_up(options, np.array([[1, 3, 4], [4, 0, 2]]))

    assert actual.tolist() == [[12, 1138, 42], [42, -1, 36]]


def test_layers_of_strings_are_refused() -> None:
    with pytest.raises(CompileError) as caught:
        Interpreter(hand_built_file("StringLookup", {}, (3,)))

    assert str(caught.value) == (
        "made.h5: layer 'tested' (StringLookup): works on strings or hashes, which no "
        "array of numbers holds (run it before the model, and feed the model its "
        "integers)"
    )
