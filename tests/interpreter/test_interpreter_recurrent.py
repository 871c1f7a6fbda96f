"""Recurrent layers agree with Keras: every option, with masks and without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interpreter.live_models import (
    Array,
    assert_agrees,
    assert_close,
    fill_weights,
    live_file,
    noise,
    through_layer,
)
from interpreter.option_strategies import BOOLEANS, DATA_FORMATS, FEWER, HALF, SEEDS
from keras import layers

from keramos.runtime_min.interpreter import Interpreter

Options = dict[str, Any]

SHAPE = (6, 4)
LOOP_OPTIONS = st.fixed_dictionaries(
    {
        "return_sequences": BOOLEANS,
        "return_state": BOOLEANS,
        "go_backwards": BOOLEANS,
        "unroll": BOOLEANS,
        "zero_output_for_mask": BOOLEANS,
    }
)
CELLS = st.sampled_from(["SimpleRNN", "LSTM", "GRU", "GRU before"])


@pytest.fixture(autouse=True, scope="module")
def _uncompiled_loops() -> Iterator[None]:
    """Let JAX run loops step by step: that costs less than their compilation."""
    with jax.disable_jit():
        yield


def recurrent(kind: str, options: Options) -> keras.Layer:
    """Return a recurrent layer of three units."""
    if kind == "GRU before":
        return layers.GRU(3, reset_after=False, **options)
    class_: type[keras.Layer] = getattr(layers, kind)
    return class_(3, **options)


def sequences_with_gaps(seed: int = 0) -> Array:
    """Return sequences whose steps are 0 at the beginning, inside, at the end."""
    x = noise((4, *SHAPE), seed)
    x[0, :2] = x[1, 2:4] = x[2, 3:] = x[3] = 0
    return x


def masked_model(layer: keras.Layer, states: int = 0) -> keras.Model:
    """Return the model that hides empty steps from *layer*."""
    sequences = keras.Input(SHAPE)
    initial = [keras.Input((3,)) for _ in range(states)]
    options = {"initial_state": initial} if states else {}
    outputs = layer(layers.Masking()(sequences), **options)
    inputs = [sequences, *initial] if states else sequences
    return keras.Model(inputs, outputs)


@HALF
@given(kind=CELLS, options=LOOP_OPTIONS, seed=SEEDS)
def test_recurrent_layer_agrees_with_keras_on_masked_steps(
    kind: str, options: Options, seed: int
) -> None:
    layer = recurrent(kind, options)

    assert_agrees(masked_model(layer), sequences_with_gaps(seed), seed=seed)


@FEWER
@given(kind=CELLS, options=LOOP_OPTIONS, seed=SEEDS)
def test_recurrent_layer_agrees_with_keras_on_initial_states(
    kind: str, options: Options, seed: int
) -> None:
    count = 2 if kind == "LSTM" else 1
    model = masked_model(recurrent(kind, options), count)
    states = [noise((4, 3), seed + i) for i in range(count)]

    assert_agrees(model, sequences_with_gaps(seed), *states, seed=seed)


@FEWER
@given(
    kind=CELLS,
    use_bias=BOOLEANS,
    activation=st.sampled_from(["tanh", "relu", "hard_sigmoid"]),
    seed=SEEDS,
)
def test_cell_options_agree_with_keras(
    kind: str, activation: str, seed: int, *, use_bias: bool
) -> None:
    options: Options = {"activation": activation, "use_bias": use_bias}
    if kind != "SimpleRNN":
        options["recurrent_activation"] = "hard_sigmoid"
    model = through_layer(recurrent(kind, options), SHAPE)

    assert_agrees(model, noise((2, *SHAPE)), seed=seed)


@FEWER
@given(options=LOOP_OPTIONS, seed=SEEDS)
def test_stacked_cells_agree_with_keras(options: Options, seed: int) -> None:
    cells = [layers.GRUCell(3), layers.LSTMCell(2), layers.SimpleRNNCell(4)]

    model = masked_model(layers.RNN(cells, **options))

    assert_agrees(model, sequences_with_gaps(seed), seed=seed)


@FEWER
@given(
    kind=CELLS,
    merge_mode=st.sampled_from(["concat", "sum", "mul", "ave", None]),
    options=st.fixed_dictionaries(
        {"return_sequences": BOOLEANS, "return_state": BOOLEANS, "unroll": BOOLEANS}
    ),
    seed=SEEDS,
)
def test_bidirectional_agrees_with_keras(
    kind: str, merge_mode: str | None, options: Options, seed: int
) -> None:
    layer = layers.Bidirectional(recurrent(kind, options), merge_mode=merge_mode)

    assert_agrees(masked_model(layer), sequences_with_gaps(seed), seed=seed)


def test_bidirectional_agrees_with_keras_with_its_own_backward_layer() -> None:
    layer = layers.Bidirectional(
        layers.LSTM(3, return_sequences=True),
        backward_layer=layers.SimpleRNN(3, return_sequences=True, go_backwards=True),
    )

    assert_agrees(masked_model(layer), sequences_with_gaps())


def test_bidirectional_agrees_with_keras_on_initial_states() -> None:
    model = masked_model(layers.Bidirectional(layers.LSTM(3)), states=4)

    assert_agrees(model, sequences_with_gaps(), *[noise((4, 3), i) for i in range(4)])


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Dense(3), (3, 4)),
        (layers.Conv2D(3, 2), (3, 4, 4, 2)),
        (layers.LSTM(3, return_sequences=True), (3, 4, 2)),
        (keras.Sequential([keras.Input((4, 2)), layers.LSTM(3)]), (3, 4, 2)),
    ],
)
def test_time_distributed_agrees_with_keras(
    layer: keras.Layer, shape: tuple[int, ...]
) -> None:
    model = through_layer(layers.TimeDistributed(layer), shape)

    assert_agrees(model, noise((2, *shape)))


@FEWER
@given(
    rank=st.integers(1, 3),
    data_format=DATA_FORMATS,
    options=st.fixed_dictionaries(
        {
            "padding": st.sampled_from(["valid", "same"]),
            "return_sequences": BOOLEANS,
            "return_state": BOOLEANS,
            "go_backwards": BOOLEANS,
            "use_bias": BOOLEANS,
        }
    ),
    spacing=st.sampled_from([{}, {"strides": 2}, {"dilation_rate": 2}]),
    seed=SEEDS,
)
def test_conv_lstm_agrees_with_keras(
    rank: int, data_format: str, options: Options, spacing: Options, seed: int
) -> None:
    class_ = (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)[rank - 1]
    layer = class_(2, 2, data_format=data_format, **options, **spacing)
    space = (5, 4, 3)[:rank]
    shape = (2, 3, *space) if data_format == "channels_first" else (2, *space, 3)

    assert_agrees(through_layer(layer, shape), noise((2, *shape), seed), seed=seed)


def test_stateful_layer_goes_on_where_it_stopped_until_it_is_reset() -> None:
    inputs = keras.Input(batch_shape=(2, 3, 4))
    sequences = layers.LSTM(3, stateful=True, return_sequences=True)(inputs)
    model = keras.Model(inputs, layers.GRU(3, stateful=True)(sequences))
    fill_weights(model, 0)
    interpreter = Interpreter(live_file(model))
    x = noise((2, 3, 4))
    expected = [np.asarray(model(x)) for _ in range(2)]

    actual = [interpreter.predict(x) for _ in range(2)]
    interpreter.reset_states()
    again = interpreter.predict(x)

    for ours, keras_array in zip(
        [*actual, again], [*expected, expected[0]], strict=True
    ):
        assert_close(ours, keras_array, 1e-6)


def test_states_of_another_batch_size_are_refused() -> None:
    inputs = keras.Input(batch_shape=(2, 3, 4))
    model = keras.Model(inputs, layers.GRU(3, stateful=True, name="memory")(inputs))
    interpreter = Interpreter(live_file(model))
    interpreter.predict(noise((2, 3, 4)))

    with pytest.raises(ValueError, match="the states are those of a batch of 2, got 3"):
        interpreter.predict(noise((3, 3, 4)))
