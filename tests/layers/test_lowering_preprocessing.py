"""Preprocessing, adaptive pooling and spectrograms, lowered, against Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from lowering_oracle import (
    TOLERANCE,
    disagreement,
    graph_of,
    model_of,
    randomise,
)

RANDOM = np.random.default_rng(2)


@settings(max_examples=15)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    method=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"]),
    antialias=st.booleans(),
    proportions=st.sampled_from(
        [{}, {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True}]
    ),
)
def test_resizing_agrees_with_keras(
    *,
    size: tuple[int, int],
    method: str,
    antialias: bool,
    proportions: dict[str, bool],
) -> None:
    layer = layers.Resizing(
        *size, interpolation=method, antialias=antialias, fill_value=2.0, **proportions
    )

    assert disagreement(model_of(layer, (8, 7, 3))) < TOLERANCE


@pytest.mark.parametrize("size", [(5, 4), (9, 4), (3, 9)])
def test_center_crop_agrees_with_keras(size: tuple[int, int]) -> None:
    assert disagreement(model_of(layers.CenterCrop(*size), (8, 7, 3))) < TOLERANCE


@pytest.mark.parametrize("layer", [layers.RandomFlip(), layers.RandomRotation(0.1)])
def test_augmentation_does_nothing_at_inference(layer: Any) -> None:  # noqa: ANN401
    assert disagreement(model_of(layer, (8, 7, 3))) == 0


@pytest.mark.parametrize("mode", ["multi_hot", "one_hot", "count"])
def test_category_encoding_agrees_with_keras(mode: str) -> None:
    layer = layers.CategoryEncoding(5, output_mode=mode)
    tokens = RANDOM.integers(0, 5, (4, 3)).astype(np.int32)

    model = model_of(layer, (3,), dtype="int32")

    assert disagreement(model, [tokens]) == 0


@pytest.mark.parametrize("mode", ["int", "multi_hot", "one_hot", "count"])
def test_discretization_agrees_with_keras(mode: str) -> None:
    layer = layers.Discretization([-1.0, 0.0, 0.5], output_mode=mode)
    array = np.array([[-1.0, 0.0, 0.5], [-2.0, 0.25, 7.0]], np.float32)

    assert disagreement(model_of(layer, (3,)), [array]) == 0


# Keras loses the last of 7 windows to the rounding of 32-bit numbers.
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (layers.AdaptiveAveragePooling1D, (7, 2)),
        (layers.AdaptiveAveragePooling2D, (7, 6, 2)),
        (layers.AdaptiveMaxPooling2D, (7, 6, 2)),
        (layers.AdaptiveMaxPooling3D, (5, 6, 4, 2)),
    ],
)
def test_adaptive_pooling_agrees_with_keras(
    kind: Any, shape: tuple[int, ...], count: int  # noqa: ANN401
) -> None:
    assert disagreement(model_of(kind(count), shape)) < TOLERANCE


@pytest.mark.parametrize(
    "mode", ["log", "magnitude", "psd", "real", "imag", "angle", "stft"]
)
@pytest.mark.parametrize("expand", [True, False])
def test_stft_spectrogram_agrees_with_keras(*, mode: str, expand: bool) -> None:
    layer = layers.STFTSpectrogram(
        mode=mode, frame_length=8, frame_step=3, expand_dims=expand, padding="same"
    )

    assert disagreement(model_of(layer, (40, 3))) < TOLERANCE


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"power_to_db": False},
        {"sequence_length": 20, "window": "hamming"},
        {"top_db": 10.0, "mag_exp": 1.0},
    ],
)
def test_mel_spectrogram_agrees_with_keras_for_one_sample(
    options: dict[str, Any],
) -> None:
    layer = layers.MelSpectrogram(
        fft_length=32, sequence_stride=10, num_mel_bins=5, min_freq=100.0, **options
    )
    signal = RANDOM.normal(size=(1, 300)).astype(np.float32)

    assert disagreement(model_of(layer, (None,)), [signal]) < TOLERANCE


def test_a_mel_spectrogram_does_not_depend_on_the_other_samples() -> None:
    layer = layers.MelSpectrogram(fft_length=32, sequence_stride=10, num_mel_bins=5)
    signals = RANDOM.normal(size=(2, 300)).astype(np.float32) * [[1e-4], [1e4]]

    with graph_of(model_of(layer, (300,))) as graph:
        (together,) = graph.evaluate(signals.astype(np.float32))
        alone = [graph.evaluate(x[None].astype(np.float32))[0] for x in signals]

    assert np.array_equal(together, np.concatenate(alone))


@pytest.mark.parametrize("tied", [True, False])
def test_a_reversible_embedding_agrees_with_keras_both_ways(*, tied: bool) -> None:
    tokens = keras.Input((4,), dtype="int32")
    table = layers.ReversibleEmbedding(5, 3, tie_weights=tied, logit_soft_cap=2.0)
    hidden = layers.LSTM(3, return_sequences=True)(table(tokens))
    model = keras.Model(tokens, table(hidden, reverse=True))
    randomise(model)

    assert disagreement(model) < TOLERANCE
