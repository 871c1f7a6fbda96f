"""Layers that move or resample elements agree with Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interpreter.live_models import assert_agrees, noise, through_layer
from interpreter.option_strategies import (
    BOOLEANS,
    DATA_FORMATS,
    FEWER,
    image_shape,
    sizes,
)
from keras import layers

METHODS = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Flatten(), (2, 3, 4)),
        (layers.Flatten(data_format="channels_first"), (2, 3, 4)),
        (layers.Flatten(), (4,)),
        (layers.Reshape((-1, 6)), (3, 4)),
        (layers.Reshape((2, 3, 2)), (3, 4)),
        (layers.Reshape((12,)), (3, 4)),
        (layers.Permute((2, 1, 3)), (3, 4, 5)),
        (layers.RepeatVector(3), (4,)),
        (layers.Dropout(0.5), (3, 4)),
        (layers.SpatialDropout2D(0.5), (3, 4, 5)),
        (layers.GaussianNoise(0.5), (3, 4)),
        (layers.AlphaDropout(0.5), (3, 4)),
        (layers.ActivityRegularization(0.5), (3, 4)),
        (layers.Identity(), (3, 4)),
    ],
    ids=lambda item: getattr(item, "name", None),
)
def test_layer_agrees_with_keras(layer: keras.Layer, shape: tuple[int, ...]) -> None:
    assert_agrees(through_layer(layer, shape), noise((2, *shape)))


@FEWER
@given(data=st.data(), rank=st.integers(1, 3), data_format=DATA_FORMATS, pads=BOOLEANS)
def test_padding_and_cropping_agree_with_keras(
    data: st.DataObject, rank: int, data_format: str, *, pads: bool
) -> None:
    pairs = tuple(data.draw(st.tuples(*[st.integers(0, 2)] * 2)) for _ in range(rank))
    margins = data.draw(st.sampled_from([pairs[0] if rank == 1 else pairs, 1]))
    kind = "ZeroPadding" if pads else "Cropping"
    options = {} if rank == 1 else {"data_format": data_format}
    layer = getattr(layers, f"{kind}{rank}D")(margins, **options)
    shape = image_shape(rank, 3, data_format)

    assert_agrees(through_layer(layer, shape), noise((2, *shape)))


@FEWER
@given(st.data(), sizes(2, 1, 3), DATA_FORMATS, st.sampled_from(METHODS))
def test_up_sampling_2d_agrees_with_keras(
    data: st.DataObject, size: tuple[int, int], data_format: str, method: str
) -> None:
    layer = layers.UpSampling2D(size, data_format=data_format, interpolation=method)
    space = data.draw(sizes(2, 1, 6))
    shape = (3, *space) if data_format == "channels_first" else (*space, 3)

    assert_agrees(through_layer(layer, shape), noise((2, *shape)))


@pytest.mark.parametrize(
    "layer", [layers.UpSampling1D(3), layers.UpSampling3D((1, 2, 3))]
)
def test_other_up_sampling_agrees_with_keras(layer: keras.Layer) -> None:
    shape = (3, 2) if isinstance(layer, layers.UpSampling1D) else (2, 3, 1, 2)

    assert_agrees(through_layer(layer, shape), noise((2, *shape)))


@FEWER
@given(
    sizes(2, 1, 12),
    DATA_FORMATS,
    st.sampled_from(METHODS),
    st.sampled_from(
        [
            {},
            {"crop_to_aspect_ratio": True},
            {"pad_to_aspect_ratio": True, "fill_value": 0.5},
            {"antialias": True},
        ]
    ),
)
def test_resizing_agrees_with_keras(
    size: tuple[int, int], data_format: str, method: str, options: dict[str, Any]
) -> None:
    layer = layers.Resizing(
        *size, data_format=data_format, interpolation=method, **options
    )
    shape = image_shape(2, 3, data_format)

    assert_agrees(through_layer(layer, shape), noise((2, *shape)))


def test_resizing_rounds_whole_numbers() -> None:
    # Twice the size: the weights are sixteenths, which no precision rounds.
    model = through_layer(layers.Resizing(14, 18), (7, 9, 3), dtype="uint8")
    pixels = np.random.default_rng(0).integers(0, 255, (2, 7, 9, 3)).astype(np.uint8)

    assert_agrees(model, pixels)


@pytest.mark.parametrize("size", [(3, 4), (4, 12), (20, 21)])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_center_crop_agrees_with_keras(size: tuple[int, int], data_format: str) -> None:
    shape = image_shape(2, 3, data_format)
    layer = layers.CenterCrop(*size, data_format=data_format)

    assert_agrees(through_layer(layer, shape), noise((2, *shape)))


@pytest.mark.parametrize(
    "layer",
    [
        layers.RandomFlip(),
        layers.RandomRotation(0.2),
        layers.RandomZoom(0.2),
        layers.RandomCrop(3, 4),
        layers.AutoContrast(),
        layers.Solarization(),
    ],
    ids=lambda layer: layer.name,
)
def test_augmentation_agrees_with_keras_at_inference(layer: keras.Layer) -> None:
    assert_agrees(through_layer(layer, (6, 7, 3)), noise((2, 6, 7, 3)))
