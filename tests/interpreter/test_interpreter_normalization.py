"""Normalization agrees with Keras for every combination of options."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interpreter.live_models import assert_agrees, noise, through_layer
from interpreter.option_strategies import BOOLEANS, FEWER, SEEDS
from keras import layers

SHAPE = (4, 5, 6)
EPSILONS = st.sampled_from([1e-3, 1e-5, 0.1])


def check(layer: keras.Layer, seed: int = 0) -> None:
    """Hold the interpreter to Keras on one layer."""
    assert_agrees(through_layer(layer, SHAPE), noise((2, *SHAPE), seed), seed=seed)


@FEWER
@given(
    axis=st.sampled_from([-1, 1, 2, 3, -2]),
    scale=BOOLEANS,
    center=BOOLEANS,
    epsilon=EPSILONS,
    seed=SEEDS,
)
def test_batch_normalization_agrees_with_keras(
    axis: int, epsilon: float, seed: int, *, scale: bool, center: bool
) -> None:
    layer = layers.BatchNormalization(
        axis=axis, scale=scale, center=center, epsilon=epsilon
    )

    check(layer, seed)


@FEWER
@given(
    axis=st.sampled_from([-1, 1, [1, 2], [2, 3], [1, 2, 3], [-1, 1]]),
    scale=BOOLEANS,
    center=BOOLEANS,
    epsilon=EPSILONS,
    seed=SEEDS,
)
def test_layer_normalization_agrees_with_keras(
    axis: int | list[int], epsilon: float, seed: int, *, scale: bool, center: bool
) -> None:
    layer = layers.LayerNormalization(
        axis=axis, scale=scale, center=center, epsilon=epsilon
    )

    check(layer, seed)


@FEWER
@given(
    data=st.data(),
    axis=st.sampled_from([-1, 1, 2]),
    scale=BOOLEANS,
    center=BOOLEANS,
    seed=SEEDS,
)
def test_group_normalization_agrees_with_keras(
    data: st.DataObject, axis: int, seed: int, *, scale: bool, center: bool
) -> None:
    channels = SHAPE[axis - 1 if axis > 0 else axis]
    divisors = [n for n in range(1, channels + 1) if channels % n == 0]
    layer = layers.GroupNormalization(
        groups=data.draw(st.sampled_from([-1, *divisors])),
        axis=axis,
        scale=scale,
        center=center,
    )

    check(layer, seed)


@pytest.mark.parametrize(
    ("class_", "options"),
    [
        (layers.RMSNormalization, {}),
        (layers.RMSNormalization, {"axis": [2, 3], "epsilon": 0.1}),
        (layers.UnitNormalization, {}),
        (layers.UnitNormalization, {"axis": [1, 2]}),
    ],
)
def test_other_normalization_agrees_with_keras(
    class_: type[keras.Layer], options: dict[str, Any]
) -> None:
    check(class_(**options))


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`")
def test_layer_normalization_scales_by_the_deviation_if_asked_to() -> None:
    check(layers.LayerNormalization(rms_scaling=True))


def test_spectral_normalization_runs_the_wrapped_layer() -> None:
    check(layers.SpectralNormalization(layers.Conv2D(3, 2, activation="relu")))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"axis": [1, 3]},
        {"axis": None},
        {"mean": 2.0, "variance": 0.25, "axis": None},
        {"mean": [1.0, 2, 3, 4, 5, 6], "variance": [1.0, 4, 9, 0, 1, 2]},
        {"mean": 1.0, "variance": 3.0, "invert": True},
    ],
)
def test_preprocessing_normalization_agrees_with_keras(options: dict[str, Any]) -> None:
    check(layers.Normalization(**options))
