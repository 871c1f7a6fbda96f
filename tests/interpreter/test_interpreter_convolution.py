"""Convolutions agree with Keras for every combination of options."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from interpreter.live_models import assert_agrees, noise, through_layer
from interpreter.option_strategies import (
    BOOLEANS,
    DATA_FORMATS,
    FEW_ACTIVATIONS,
    FEWER,
    HALF,
    MULTIPLIERS,
    SEEDS,
    image_shape,
    paddings,
    sizes,
    spacing,
)
from keras import layers

Options = dict[str, Any]


@st.composite
def convolution_options(draw: st.DrawFn, rank: int) -> Options:
    """Draw what all convolutions take."""
    return {
        "kernel_size": draw(sizes(rank, 1, 3)),
        "padding": draw(st.sampled_from(["valid", "same"])),
        "data_format": draw(DATA_FORMATS),
        "use_bias": draw(BOOLEANS),
        "activation": draw(FEW_ACTIVATIONS),
        **draw(spacing(rank)),
    }


def check(layer: layers.Layer, rank: int, channels: int, seed: int) -> None:
    """Hold the interpreter to Keras on one layer."""
    shape = image_shape(rank, channels, layer.data_format)
    assert_agrees(through_layer(layer, shape), noise((2, *shape), seed), seed=seed)


@HALF
@given(st.data(), st.integers(1, 3), MULTIPLIERS, SEEDS)
def test_conv_agrees_with_keras(
    data: st.DataObject, rank: int, groups: int, seed: int
) -> None:
    options = data.draw(convolution_options(rank))
    options["padding"] = data.draw(paddings(rank))
    class_ = (layers.Conv1D, layers.Conv2D, layers.Conv3D)[rank - 1]
    layer = class_(2 * groups, groups=groups, **options)

    check(layer, rank, 2 * groups, seed)


@FEWER
@given(st.data(), st.integers(1, 2), MULTIPLIERS, SEEDS)
def test_depthwise_conv_agrees_with_keras(
    data: st.DataObject, rank: int, multiplier: int, seed: int
) -> None:
    options = data.draw(convolution_options(rank))
    if "strides" in options:
        options["strides"] = options["strides"][0]
    class_ = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)[rank - 1]
    layer = class_(depth_multiplier=multiplier, **options)

    check(layer, rank, 3, seed)


@FEWER
@given(st.data(), st.integers(1, 2), MULTIPLIERS, SEEDS)
def test_separable_conv_agrees_with_keras(
    data: st.DataObject, rank: int, multiplier: int, seed: int
) -> None:
    options = data.draw(convolution_options(rank))
    if "strides" in options:
        options["strides"] = options["strides"][0]
    class_ = (layers.SeparableConv1D, layers.SeparableConv2D)[rank - 1]
    layer = class_(4, depth_multiplier=multiplier, **options)

    check(layer, rank, 3, seed)


@HALF
@given(st.data(), st.integers(1, 3), SEEDS)
def test_transposed_conv_agrees_with_keras(
    data: st.DataObject, rank: int, seed: int
) -> None:
    options = data.draw(convolution_options(rank))
    options["kernel_size"] = data.draw(sizes(rank, 1, 4))
    strides = options.get("strides", (1,) * rank)
    if min(strides) > 1 and data.draw(BOOLEANS):
        options["output_padding"] = tuple(
            data.draw(st.integers(0, stride - 1)) for stride in strides
        )
    class_ = (
        layers.Conv1DTranspose,
        layers.Conv2DTranspose,
        layers.Conv3DTranspose,
    )[rank - 1]

    check(class_(3, **options), rank, 2, seed)
