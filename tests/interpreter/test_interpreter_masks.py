"""Masks travel through a model as they do in Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jax
import keras
import numpy as np
import pytest
from interpreter.live_models import assert_agrees, noise
from keras import layers

SHAPE = (6, 4)
STEPS = np.array([[1, 2, 0, 0, 0], [0, 0, 3, 4, 5], [0, 0, 0, 0, 0]])


@pytest.fixture(autouse=True, scope="module")
def _uncompiled_loops() -> Iterator[None]:
    """Let JAX run loops step by step: that costs less than their compilation."""
    with jax.disable_jit():
        yield


def gapped(seed: int, *steps: int) -> np.ndarray:
    """Return sequences of which one has gaps."""
    x = noise((3, *SHAPE), seed)
    x[0, list(steps)] = 0
    x[1, : len(steps)] = 0
    return x


@pytest.mark.parametrize("masked", [(True, True), (True, False), (False, False)])
@pytest.mark.parametrize(
    "make",
    [
        layers.Add,
        layers.Subtract,
        layers.Multiply,
        layers.Average,
        layers.Maximum,
        layers.Minimum,
        layers.Concatenate,
        lambda: layers.Concatenate(axis=1),
    ],
)
def test_merging_hands_masks_on_as_keras_does(
    make: Callable[[], keras.Layer], masked: tuple[bool, bool]
) -> None:
    inputs = [keras.Input(SHAPE), keras.Input(SHAPE)]
    branches = [
        layers.Masking()(x) if is_masked else x
        for x, is_masked in zip(inputs, masked, strict=True)
    ]
    outputs = layers.LSTM(3, return_sequences=True)(make()(branches))

    assert_agrees(keras.Model(inputs, outputs), gapped(0, 1, 2), gapped(1, 2, 5))


def test_layers_between_embedding_and_rnn_keep_the_mask() -> None:
    tokens = keras.Input((5,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(tokens)
    for layer in (
        layers.Dropout(0.2),
        layers.Dense(4, activation="relu"),
        layers.BatchNormalization(),
        layers.LayerNormalization(),
        layers.TimeDistributed(layers.Dense(3)),
        layers.LSTM(3, return_sequences=True),
        layers.Activation("tanh"),
        layers.Bidirectional(layers.GRU(3, return_sequences=True)),
    ):
        x = layer(x)
    outputs = layers.GlobalAveragePooling1D()(x)

    assert_agrees(keras.Model(tokens, outputs), STEPS)


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_nested_model_takes_masks_in_and_hands_them_out() -> None:
    inner_inputs = keras.Input((5, 4))
    inner_outputs = layers.LSTM(3, return_sequences=True)(inner_inputs)
    inner = keras.Model(inner_inputs, inner_outputs)
    tokens = keras.Input((5,))
    embedded = layers.Embedding(9, 4, mask_zero=True)(tokens)
    outputs = layers.GRU(2)(inner(embedded))

    assert_agrees(keras.Model(tokens, outputs), STEPS.astype(np.float32))


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_layer_without_mask_support_ends_the_mask() -> None:
    tokens = keras.Input((5,), dtype="int32")
    embedded = layers.Embedding(9, 4, mask_zero=True)(tokens)
    outputs = layers.LSTM(3)(layers.Conv1D(4, 2)(embedded))

    assert_agrees(keras.Model(tokens, outputs), STEPS)


@pytest.mark.parametrize("keepdims", [False, True])
def test_global_average_counts_only_unmasked_steps(*, keepdims: bool) -> None:
    inputs = keras.Input(SHAPE)
    layer = layers.GlobalAveragePooling1D(keepdims=keepdims)
    model = keras.Model(inputs, layer(layers.Masking()(inputs)))
    x = gapped(0, 1, 2)
    x[2] = 0  # nothing to count: 0 / 0

    assert_agrees(model, x)


@pytest.mark.parametrize("axis", [-1, 1])
def test_softmax_leaves_out_what_its_mask_hides(axis: int) -> None:
    inputs, mask = keras.Input(SHAPE), keras.Input(SHAPE, dtype="bool")
    model = keras.Model([inputs, mask], layers.Softmax(axis=axis)(inputs, mask=mask))
    kept = noise((3, *SHAPE), 3) > 0
    kept[0] = False

    assert_agrees(model, noise((3, *SHAPE)), kept)


def test_masking_compares_with_its_value() -> None:
    inputs = keras.Input(SHAPE)
    outputs = layers.LSTM(3)(layers.Masking(mask_value=-1.0)(inputs))
    x = noise((2, *SHAPE))
    x[0, 2:] = -1

    assert_agrees(keras.Model(inputs, outputs), x)
