"""Layers with several inputs agree with Keras."""

from __future__ import annotations

import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interpreter.live_models import assert_agrees, noise, through_layer
from interpreter.option_strategies import FEWER
from keras import layers

ELEMENTWISE = (
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
)


def check(layer: keras.Layer, *shapes: tuple[int, ...]) -> None:
    """Hold the interpreter to Keras on one layer."""
    inputs = [noise((2, *shape), seed) for seed, shape in enumerate(shapes)]
    assert_agrees(through_layer(layer, *shapes), *inputs)


@FEWER
@given(
    st.sampled_from(ELEMENTWISE),
    st.lists(st.sampled_from([(3, 4), (1, 4), (3, 1), (4,), (1,)]), min_size=2),
)
def test_elementwise_merging_agrees_with_keras(
    class_: type[keras.Layer], shapes: list[tuple[int, ...]]
) -> None:
    count = 2 if class_ is layers.Subtract else 4

    check(class_(), *shapes[:count])


@pytest.mark.parametrize("axis", [-1, 1, 2])
def test_concatenate_agrees_with_keras(axis: int) -> None:
    shapes = {1: [(3, 4), (2, 4), (1, 4)]}.get(axis, [(3, 4), (3, 1), (3, 2)])

    check(layers.Concatenate(axis=axis), *shapes)


@pytest.mark.parametrize(
    ("axes", "normalize", "shapes"),
    [
        (1, False, ((4,), (4,))),
        (-1, True, ((4,), (4,))),
        ((2, 1), True, ((3, 4), (4, 5))),
        (-1, False, ((3, 4), (5, 4))),
        ((1, 2), False, ((4,), (5, 4))),
        ((2, 1), False, ((5, 4), (4,))),
        ((3, 2), False, ((2, 3, 4), (5, 4))),
        ((1, 3), True, ((4, 3, 2), (2, 5, 4))),
    ],
)
def test_dot_agrees_with_keras(
    axes: int | tuple[int, int], shapes: tuple[tuple[int, ...], ...], *, normalize: bool
) -> None:
    check(layers.Dot(axes, normalize=normalize), *shapes)
