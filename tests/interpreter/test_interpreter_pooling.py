"""Pooling agrees with Keras for every combination of options."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from interpreter.live_models import assert_agrees, noise, through_layer
from interpreter.option_strategies import (
    BOOLEANS,
    DATA_FORMATS,
    FEWER,
    HALF,
    image_shape,
    sizes,
)
from keras import layers

from keramos.runtime_min.interpreter import LAYERS

RANKS = st.integers(1, 3)


@HALF
@given(st.data(), st.sampled_from(["Max", "Average"]), RANKS, DATA_FORMATS)
def test_pooling_agrees_with_keras(
    data: st.DataObject, kind: str, rank: int, data_format: str
) -> None:
    layer = getattr(layers, f"{kind}Pooling{rank}D")(
        pool_size=data.draw(sizes(rank, 1, 3)),
        strides=data.draw(st.none() | sizes(rank, 1, 3)),
        padding=data.draw(st.sampled_from(["valid", "same"])),
        data_format=data_format,
    )
    shape = image_shape(rank, 3, data_format)

    assert_agrees(through_layer(layer, shape), noise((2, *shape)))


@FEWER
@given(
    kind=st.sampled_from(["Max", "Average"]),
    rank=RANKS,
    data_format=DATA_FORMATS,
    keepdims=BOOLEANS,
)
def test_global_pooling_agrees_with_keras(
    kind: str, rank: int, data_format: str, *, keepdims: bool
) -> None:
    class_ = getattr(layers, f"Global{kind}Pooling{rank}D")
    layer = class_(data_format=data_format, keepdims=keepdims)
    shape = image_shape(rank, 3, data_format)

    assert_agrees(through_layer(layer, shape), noise((2, *shape)))


@FEWER
@given(st.data(), st.sampled_from(["Max", "Average"]), RANKS, DATA_FORMATS)
def test_adaptive_pooling_agrees_with_keras(
    data: st.DataObject, kind: str, rank: int, data_format: str
) -> None:
    class_ = getattr(layers, f"Adaptive{kind}Pooling{rank}D")
    layer = class_(data.draw(sizes(rank, 1, 7)), data_format=data_format)
    shape = image_shape(rank, 3, data_format)

    assert_agrees(through_layer(layer, shape), noise((2, *shape)))


def test_pooling_passes_nan_through() -> None:
    layer = layers.MaxPooling2D(2)
    x = noise((1, 4, 4, 1))
    x[0, 0, 0, 0] = np.nan

    assert_agrees(through_layer(layer, (4, 4, 1)), x)


def test_every_rank_of_pooling_is_registered() -> None:
    names = {
        f"{kind}Pooling{rank}D"
        for kind in ("Max", "Average", "GlobalMax", "GlobalAverage")
        for rank in (1, 2, 3)
    }

    assert names <= LAYERS.keys()
