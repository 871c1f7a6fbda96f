"""Recurrent layers and masks, lowered to loops, against Keras."""

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
    Array,
    disagreement,
    graph_of,
    model_of,
    randomise,
)

from keramos.primitives import Scan

VECTOR_LAYERS = st.sampled_from([layers.SimpleRNN, layers.LSTM, layers.GRU])
LOOP = st.fixed_dictionaries(
    {
        "return_sequences": st.booleans(),
        "return_state": st.booleans(),
        "go_backwards": st.booleans(),
        "unroll": st.booleans(),
        "zero_output_for_mask": st.booleans(),
    }
)


def masked_steps() -> Array:
    """Return sequences with masked steps in front, in the middle, behind, and all."""
    array = np.random.default_rng(1).normal(size=(4, 6, 3)).astype(np.float32)
    array[0, :2] = 0
    array[1, 2] = 0
    array[1, -2:] = 0
    array[2] = 0
    return array


def masked_model(layer: Any) -> Any:  # noqa: ANN401 - Keras is untyped
    x = keras.Input((6, 3))
    model = keras.Model(x, keras.tree.flatten(layer(layers.Masking()(x))))
    randomise(model)
    return model


@settings(max_examples=15)
@given(kind=VECTOR_LAYERS, loop=LOOP, bias=st.booleans())
def test_recurrent_layers_agree_with_keras(
    kind: Any, loop: dict[str, bool], bias: bool  # noqa: ANN401, FBT001
) -> None:
    model = model_of(kind(4, use_bias=bias, **loop), (6, 3))

    assert disagreement(model) < TOLERANCE


@settings(max_examples=15)
@given(kind=VECTOR_LAYERS, loop=LOOP)
def test_recurrent_layers_obey_masks_like_keras(
    kind: Any, loop: dict[str, bool]  # noqa: ANN401
) -> None:
    model = masked_model(kind(4, **loop))

    assert disagreement(model, [masked_steps()]) < TOLERANCE


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_gru_agrees_with_keras_for_both_places_of_the_reset(
    *, reset_after: bool, bias: bool
) -> None:
    model = model_of(layers.GRU(4, reset_after=reset_after, use_bias=bias), (6, 3))

    assert disagreement(model) < TOLERANCE


@settings(max_examples=12)
@given(
    mode=st.sampled_from(["concat", "sum", "ave", "mul", None]),
    sequences=st.booleans(),
    kind=VECTOR_LAYERS,
)
def test_bidirectional_agrees_with_keras(
    mode: str | None, sequences: bool, kind: Any  # noqa: ANN401, FBT001
) -> None:
    layer = layers.Bidirectional(kind(4, return_sequences=sequences), merge_mode=mode)

    assert disagreement(masked_model(layer), [masked_steps()]) < TOLERANCE


def test_bidirectional_takes_another_layer_backwards() -> None:
    layer = layers.Bidirectional(
        layers.LSTM(4), backward_layer=layers.GRU(5, go_backwards=True)
    )

    assert disagreement(model_of(layer, (None, 3))) < TOLERANCE


@pytest.mark.parametrize("sequences", [True, False])
def test_stacked_cells_agree_with_keras(*, sequences: bool) -> None:
    cells = [layers.LSTMCell(4), layers.GRUCell(5), layers.SimpleRNNCell(3)]
    layer = layers.RNN(cells, return_sequences=sequences, return_state=True)

    assert disagreement(masked_model(layer), [masked_steps()]) < TOLERANCE


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (layers.ConvLSTM1D, (3, 7, 2)),
        (layers.ConvLSTM2D, (3, 6, 5, 2)),
        (layers.ConvLSTM3D, (2, 4, 5, 3, 2)),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        {"padding": "same", "strides": 2, "return_sequences": True},
        {"return_state": True, "go_backwards": True, "dilation_rate": 2},
    ],
)
def test_convolutional_lstms_agree_with_keras(
    kind: Any, shape: tuple[int, ...], options: dict[str, Any]  # noqa: ANN401
) -> None:
    assert disagreement(model_of(kind(3, 2, **options), shape)) < TOLERANCE


def test_convolutional_lstms_turn_channels_first_around() -> None:
    layer = layers.ConvLSTM2D(
        3, 2, data_format="channels_first", return_sequences=True, return_state=True
    )

    assert disagreement(model_of(layer, (3, 2, 6, 5))) < TOLERANCE


@pytest.mark.parametrize(
    ("inner", "shape"),
    [
        (layers.Dense(4, activation="softmax"), (5, 3)),
        (layers.Conv2D(4, 2), (3, 6, 5, 2)),
        (layers.Flatten(), (3, 6, 5)),
        (layers.BatchNormalization(), (3, 6, 5)),
        (layers.BatchNormalization(axis=1), (3, 6, 5)),
        (layers.LSTM(3), (3, 6, 5)),
        (layers.GlobalAveragePooling1D(), (None, 6, 5)),
    ],
    ids=lambda each: "" if isinstance(each, tuple) else each.name,
)
def test_time_distributed_agrees_with_keras(
    inner: Any, shape: tuple[int | None, ...]  # noqa: ANN401
) -> None:
    assert disagreement(model_of(layers.TimeDistributed(inner), shape)) < TOLERANCE


def test_initial_states_are_taken_as_arguments() -> None:
    x, h, c = keras.Input((6, 3)), keras.Input((4,)), keras.Input((4,))
    y = layers.LSTM(4, return_state=True)(x, initial_state=[h, c])
    model = keras.Model([x, h, c], y)
    randomise(model)

    assert disagreement(model) < TOLERANCE


def test_a_recurrent_layer_is_one_loop_without_constants_inside() -> None:
    with graph_of(model_of(layers.LSTM(4), (200, 3))) as graph:
        loops = [n.primitive for n in graph.nodes if isinstance(n.primitive, Scan)]

        assert [loop.body.has_constants for loop in loops] == [False]


@pytest.mark.parametrize(
    "merge",
    [
        layers.Add(),
        layers.Multiply(),
        layers.Maximum(),
        layers.Minimum(),
        layers.Concatenate(),
        layers.Concatenate(axis=1),
    ],
    ids=lambda each: str(each.name),
)
def test_merges_combine_masks_like_keras(merge: Any) -> None:  # noqa: ANN401
    x, y = keras.Input((6, 3)), keras.Input((6, 3))
    joint = merge([layers.Masking()(x), layers.Masking()(y)])
    model = keras.Model([x, y], layers.LSTM(4)(joint))
    randomise(model)
    first = masked_steps()

    assert disagreement(model, [first, first[::-1].copy()]) < TOLERANCE


def test_embedding_masks_the_number_zero() -> None:
    x = keras.Input((5,), dtype="int32")
    model = keras.Model(x, layers.GRU(3)(layers.Embedding(4, 3, mask_zero=True)(x)))
    randomise(model)
    tokens = np.array([[0, 0, 1, 2, 3], [1, 2, 0, 3, 0]], np.int32)

    assert disagreement(model, [tokens]) < TOLERANCE


def test_global_average_pooling_counts_the_steps_that_the_mask_leaves() -> None:
    steps = masked_steps()
    steps[2, 0] = 1  # Keras divides by 0 where all are masked

    model = masked_model(layers.GlobalAveragePooling1D())

    assert disagreement(model, [steps]) < TOLERANCE
