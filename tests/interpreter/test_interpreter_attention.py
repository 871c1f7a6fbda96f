"""Attention layers agree with Keras: masks, scores, causality."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interpreter.live_models import assert_agrees, noise
from interpreter.option_strategies import BOOLEANS, FEWER, HALF
from keras import layers

Options = dict[str, Any]

SHAPES = ((5, 4), (6, 4), (6, 4))
CALLS = st.sampled_from(
    [{}, {"use_causal_mask": True}, {"return_attention_scores": True}]
)
MASKED = st.tuples(BOOLEANS, BOOLEANS, BOOLEANS)


def check(
    layer: keras.Layer,
    call: Options,
    masked: tuple[bool, ...],
    shapes: tuple[tuple[int, ...], ...] = SHAPES,
    *,
    as_list: bool = False,
) -> None:
    """Hold the interpreter to Keras on query, value and key, some of them masked."""
    inputs = [keras.Input(shape) for shape in shapes]
    tensors = [
        layers.Masking()(x) if is_masked else x
        for x, is_masked in zip(inputs, masked, strict=False)
    ]
    outputs = layer(tensors, **call) if as_list else layer(*tensors, **call)
    arrays = [noise((3, *shape), seed) for seed, shape in enumerate(shapes)]
    for array, is_masked in zip(arrays, masked, strict=False):
        if is_masked:
            array[0, -2:] = array[1, 0] = 0

    assert_agrees(keras.Model(inputs, outputs), *arrays)


@HALF
@given(
    options=st.sampled_from(
        [
            {},
            {"dropout": 0.3},
            # Keras on JAX fuses attention only where values are as long as keys.
            {"use_bias": False, "value_dim": 2, "dropout": 0.3},
            {"sliding_window": 2},
            {"use_gate": True},
            {"output_shape": 5},
        ]
    ),
    call=CALLS,
    masked=MASKED,
)
def test_multi_head_attention_agrees_with_keras(
    options: Options, call: Options, masked: tuple[bool, ...]
) -> None:
    shapes = ((5, 4), (6, 3), (6, 2))

    check(layers.MultiHeadAttention(2, 3, **options), call, masked, shapes)


@pytest.mark.parametrize("axes", [None, (1,), (2,), (1, 2)])
@pytest.mark.parametrize("call", [{}, {"return_attention_scores": True}])
def test_attention_over_several_axes_agrees_with_keras(
    axes: tuple[int, ...] | None, call: Options
) -> None:
    layer = layers.MultiHeadAttention(2, 3, attention_axes=axes)

    check(layer, call, (False, False), ((3, 4, 5), (3, 4, 2)))


def test_attention_mask_is_an_input_like_any_other() -> None:
    inputs, mask = keras.Input((5, 4)), keras.Input((5, 5), dtype="bool")
    outputs = layers.MultiHeadAttention(2, 3)(inputs, inputs, attention_mask=mask)
    kept = noise((2, 5, 5)) > 0

    assert_agrees(keras.Model([inputs, mask], outputs), noise((2, 5, 4)), kept)


# Its projections complain about the masks that it leaves on its inputs.
@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
@FEWER
@given(
    options=st.sampled_from(
        [{}, {"dropout": 0.3}, {"use_gate": True}, {"use_bias": False}]
    ),
    call=CALLS,
    masked=MASKED,
)
def test_grouped_query_attention_agrees_with_keras(
    options: Options, call: Options, masked: tuple[bool, ...]
) -> None:
    check(layers.GroupQueryAttention(3, 4, 2, **options), call, masked)


@FEWER
@given(
    options=st.fixed_dictionaries(
        {"use_scale": BOOLEANS, "score_mode": st.sampled_from(["dot", "concat"])}
    ),
    call=CALLS,
    masked=MASKED,
    count=st.integers(2, 3),
)
def test_attention_agrees_with_keras(
    options: Options, call: Options, masked: tuple[bool, ...], count: int
) -> None:
    check(layers.Attention(**options), call, masked, SHAPES[:count], as_list=True)


@FEWER
@given(use_scale=BOOLEANS, call=CALLS, masked=MASKED)
def test_additive_attention_agrees_with_keras(
    call: Options, masked: tuple[bool, ...], *, use_scale: bool
) -> None:
    layer = layers.AdditiveAttention(use_scale=use_scale)

    check(layer, call, masked, SHAPES[:2], as_list=True)


def test_attention_hands_the_query_mask_on() -> None:
    inputs = keras.Input((5, 4))
    masked = layers.Masking()(inputs)
    attended = layers.MultiHeadAttention(2, 3)(masked, masked)
    x = noise((2, 5, 4))
    x[0, 3:] = 0

    assert_agrees(keras.Model(inputs, layers.LSTM(3)(attended)), x)
