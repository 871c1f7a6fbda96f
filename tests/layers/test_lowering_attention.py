"""Attention, EinsumDense and the normalizations of a sample against Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from lowering_oracle import TOLERANCE, Array, disagreement, model_of, randomise

# Keras warns of what it does itself: of masks that attention takes off its inputs.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:keras")

FEW = settings(max_examples=12)
CALL = st.sampled_from(
    [{}, {"use_causal_mask": True}, {"return_attention_scores": True}]
)


def two_sequences() -> list[Array]:
    """Return a query and a value with masked steps, one query wholly masked."""
    random = np.random.default_rng(1)
    query = random.normal(size=(3, 6, 4)).astype(np.float32)
    value = random.normal(size=(3, 5, 4)).astype(np.float32)
    query[0, :2] = 0
    value[1, -2:] = 0
    query[2, 1] = 0
    return [query, value]


def attention_model(apply: Any, *, masked: bool) -> Any:  # noqa: ANN401 - Keras
    query, value = keras.Input((6, 4)), keras.Input((5, 4))
    mask = layers.Masking() if masked else layers.Identity()
    outputs = keras.tree.flatten(apply(mask(query), mask(value)))
    model = keras.Model([query, value], outputs)
    randomise(model)
    return model


@FEW
@given(
    scale=st.booleans(),
    mode=st.sampled_from(["dot", "concat", "additive"]),
    masked=st.booleans(),
    call=CALL,
)
def test_attention_agrees_with_keras(
    *, scale: bool, mode: str, masked: bool, call: dict[str, bool]
) -> None:
    layer = (
        layers.AdditiveAttention(use_scale=scale)
        if mode == "additive"
        else layers.Attention(use_scale=scale, score_mode=mode)
    )
    model = attention_model(lambda q, v: layer([q, v], **call), masked=masked)

    assert disagreement(model, two_sequences()) < TOLERANCE


@FEW
@given(
    options=st.sampled_from(
        [
            {},
            {"use_bias": False, "value_dim": 5, "dropout": 0.1},
            {"output_shape": 7},
            {"use_gate": True},
            {"sliding_window": 2},
        ]
    ),
    masked=st.booleans(),
    call=CALL,
)
def test_multi_head_attention_agrees_with_keras(
    *, options: dict[str, Any], masked: bool, call: dict[str, bool]
) -> None:
    layer = layers.MultiHeadAttention(2, 3, **options)
    model = attention_model(lambda q, v: layer(q, v, **call), masked=masked)

    assert disagreement(model, two_sequences()) < TOLERANCE


@FEW
@given(
    options=st.sampled_from([{}, {"use_bias": False}, {"use_gate": True}]),
    masked=st.booleans(),
    call=CALL,
)
def test_group_query_attention_agrees_with_keras(
    *, options: dict[str, Any], masked: bool, call: dict[str, bool]
) -> None:
    layer = layers.GroupQueryAttention(3, 4, 2, **options)
    model = attention_model(lambda q, v: layer(q, v, **call), masked=masked)

    assert disagreement(model, two_sequences()) < TOLERANCE


@pytest.mark.parametrize("axes", [None, (2,), (1, 2)])
def test_attention_over_several_axes_agrees_with_keras(
    axes: tuple[int, ...] | None,
) -> None:
    x = keras.Input((3, 5, 4))
    model = keras.Model(x, layers.MultiHeadAttention(2, 3, attention_axes=axes)(x, x))
    randomise(model)

    assert disagreement(model) < TOLERANCE


def test_causal_attention_takes_a_free_number_of_steps() -> None:
    x = keras.Input((None, 4))
    y = layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
    model = keras.Model(x, y)
    randomise(model)

    assert disagreement(model) < TOLERANCE


@pytest.mark.parametrize(
    ("equation", "output_shape", "bias_axes", "shape"),
    [
        ("abc,cd->abd", (None, 6), "d", (5, 4)),
        ("abc,cde->abde", (None, 3, 2), "de", (None, 4)),
        ("...x,xy->...y", 6, "y", (3, 5, 4)),
        ("ab...,bc->ac...", (6,), "c", (4, 3)),
        ("abc,cd->abd", (5, 6), "bd", (5, 4)),
        ("abc,bd->adc", (6, 4), None, (5, 4)),
    ],
)
def test_einsum_dense_agrees_with_keras(
    equation: str,
    output_shape: int | tuple[int | None, ...],
    bias_axes: str | None,
    shape: tuple[int | None, ...],
) -> None:
    layer = layers.EinsumDense(
        equation, output_shape=output_shape, bias_axes=bias_axes, activation="relu"
    )

    assert disagreement(model_of(layer, shape)) < TOLERANCE


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.LayerNormalization(), (None, 3)),
        (layers.LayerNormalization(axis=1), (4, 3)),
        (layers.LayerNormalization(axis=[1, 2]), (4, 3)),
        (layers.LayerNormalization(scale=False), (4, 3)),
        (layers.LayerNormalization(center=False), (4, 3)),
        (layers.GroupNormalization(2), (None, None, 6)),
        (layers.GroupNormalization(2, axis=1), (4, 5, 6)),
        (layers.GroupNormalization(-1, scale=False, center=False), (4, 5, 6)),
        (layers.RMSNormalization(), (4, 3)),
        (layers.RMSNormalization(axis=[1, 2]), (4, 3)),
        (layers.UnitNormalization(), (4, 3)),
        (layers.UnitNormalization(axis=(1, 2)), (4, 3)),
        (layers.SpectralNormalization(layers.Conv2D(3, 2)), (4, 5, 6)),
    ],
    ids=lambda each: "" if isinstance(each, tuple) else each.name,
)
def test_normalizations_agree_with_keras(
    layer: Any, shape: tuple[int | None, ...]  # noqa: ANN401
) -> None:
    assert disagreement(model_of(layer, shape)) < TOLERANCE


# Keras deprecates the option, and files have it.
@pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`")
def test_layer_normalization_without_centring_agrees_with_keras() -> None:
    model = model_of(layers.LayerNormalization(rms_scaling=True), (4, 3))

    assert disagreement(model) < TOLERANCE
