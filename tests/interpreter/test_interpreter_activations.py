"""Activations and dense products agree with Keras."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interpreter.live_models import (
    Array,
    assert_agrees,
    live_file,
    noise,
    through_layer,
)
from interpreter.option_strategies import (
    ACTIVATIONS,
    BOOLEANS,
    FEW_ACTIVATIONS,
    FEWER,
    SEEDS,
)
from keras import layers

from keramos.errors import CompileError
from keramos.runtime_min.interpreter import Interpreter

STEPS = np.linspace(-8, 8, 2 * 6 * 8, dtype=np.float32).reshape(2, 6, 8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_agrees_with_keras(name: str) -> None:
    assert_agrees(through_layer(layers.Activation(name), (6, 8)), STEPS)


@pytest.mark.parametrize("name", ["relu", "softplus", "sigmoid", "tanh", "gelu"])
def test_activation_keeps_nan_and_infinity(name: str) -> None:
    x = np.array([[np.nan, np.inf, -100.0, 100.0]], np.float32)
    model = through_layer(layers.Activation(name), (4,))

    actual = Interpreter(live_file(model)).predict(x)

    assert np.allclose(actual, np.asarray(model(x)), equal_nan=True)


def test_every_activation_of_keras_is_known_or_needs_parameters() -> None:
    names = {
        name
        for name in dir(keras.activations)
        if not name.startswith("_")
        and name not in {"get", "serialize", "deserialize", "threshold"}
    }

    assert names <= set(ACTIVATIONS)


@FEWER
@given(
    st.none() | st.floats(0.5, 4),
    st.floats(0, 1),
    st.floats(0, 2),
)
def test_relu_agrees_with_keras(
    max_value: float | None, negative_slope: float, threshold: float
) -> None:
    layer = layers.ReLU(max_value, negative_slope, threshold)

    assert_agrees(through_layer(layer, (6, 8)), STEPS)


@pytest.mark.parametrize(
    "layer",
    [
        layers.LeakyReLU(),
        layers.LeakyReLU(negative_slope=0.05),
        layers.ELU(alpha=0.3),
        layers.PReLU(),
        layers.PReLU(shared_axes=[1]),
        layers.Softmax(),
        layers.Softmax(axis=1),
        layers.Softmax(axis=(1, 2)),
        layers.Activation(layers.ReLU(max_value=3)),
        layers.Dense(3, activation=layers.LeakyReLU()),
    ],
    ids=lambda layer: layer.name,
)
def test_activation_layer_agrees_with_keras(layer: keras.Layer) -> None:
    assert_agrees(through_layer(layer, (6, 8)), STEPS)


@FEWER
@given(
    rank=st.integers(1, 3),
    units=st.integers(1, 4),
    use_bias=BOOLEANS,
    activation=FEW_ACTIVATIONS,
    seed=SEEDS,
)
def test_dense_agrees_with_keras_at_any_rank(
    rank: int, units: int, activation: str | None, seed: int, *, use_bias: bool
) -> None:
    shape = (2, 3, 4)[-rank:]
    layer = layers.Dense(units, use_bias=use_bias, activation=activation)

    assert_agrees(through_layer(layer, shape), noise((3, *shape), seed), seed=seed)


@pytest.mark.parametrize(
    ("equation", "output_shape", "bias_axes", "shape"),
    [
        ("ab,bc->ac", 7, None, (4,)),
        ("abc,cd->abd", (None, 7), "d", (5, 4)),
        ("...x,xy->...y", 7, "y", (5, 4)),
        ("abc,cde->abde", (None, 2, 3), "de", (5, 4)),
        ("abc,cde->abde", (None, 2, 3), "e", (5, 4)),
        ("abc,bce->ae", (3,), "e", (5, 4)),
    ],
)
def test_einsum_dense_agrees_with_keras(
    equation: str,
    output_shape: int | tuple[int | None, ...],
    bias_axes: str | None,
    shape: tuple[int, ...],
) -> None:
    layer = layers.EinsumDense(
        equation, output_shape, bias_axes=bias_axes, activation="tanh"
    )

    assert_agrees(through_layer(layer, shape), noise((2, *shape)))


def layer_with(activation: object) -> Array:
    """Return what a layer with an activation option that Keras never wrote gives."""
    model = through_layer(layers.Activation("relu", name="act"), (4,))
    file = live_file(model)
    config = dict(file.model.layers[1].config)
    config["activation"] = activation
    object.__setattr__(file.model.layers[1], "config", config)
    result: Array = Interpreter(file).predict(noise((1, 4)))
    return result


def test_unknown_activation_is_refused_by_name() -> None:
    with pytest.raises(CompileError) as caught:
        layer_with("<lambda>")

    assert str(caught.value) == (
        "live.keras: layer 'act' (Activation): activation is '<lambda>', which Keras "
        "doesn't have (replace it by a built-in activation, or by a custom layer)"
    )
