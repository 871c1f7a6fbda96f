"""Layers applied to each step, loops inside too, held to Keras on every target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from javascript.node import run
from keras import layers
from lowering_oracle import inputs_for, randomise
from packages import compiled, outputs

from keramos.graph import Graph
from keramos.importer import import_model
from keramos.passes import optimise
from keramos.primitives import Scan
from keramos.source import read

TOLERANCE = 1e-5
# What runs on each step, and the shape of the sequence.
INNER: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "LSTM": (lambda: layers.LSTM(5), (3, 4, 2)),
    "GRU with sequences": (lambda: layers.GRU(3, return_sequences=True), (3, 4, 2)),
    "both directions": (lambda: layers.Bidirectional(layers.LSTM(3)), (3, 4, 2)),
    "masked steps": (
        lambda: keras.Sequential([layers.Masking(), layers.SimpleRNN(3)]),
        (3, 4, 2),
    ),
    "convolutional LSTM": (lambda: layers.ConvLSTM1D(3, 2), (3, 4, 5, 2)),
    "steps of steps": (
        lambda: layers.TimeDistributed(layers.LSTM(3)),
        (2, 3, 4, 2),
    ),
    "small network": (
        lambda: keras.Sequential(
            [
                layers.Conv2D(5, 3, padding="same", activation="relu"),
                layers.MaxPooling2D(),
                layers.BatchNormalization(),
                layers.DepthwiseConv2D(2),
                layers.Flatten(),
                layers.Dense(3, activation="softmax"),
            ]
        ),
        (3, 6, 8, 2),
    ),
    "convolution of rows": (
        lambda: keras.Sequential([layers.Conv1D(4, 2), layers.GlobalMaxPooling1D()]),
        (3, 5, 2),
    ),
}


def model_of(name: str) -> Any:  # noqa: ANN401 - Keras is untyped
    """Return the model of a row, with random weights."""
    make, shape = INNER[name]
    x = keras.Input(shape)
    model = keras.Model(x, layers.TimeDistributed(make())(x))
    randomise(model)
    return model


def saved(name: str, folder: Path) -> tuple[Any, Path]:
    """Return a model and its file."""
    model, path = model_of(name), folder / "model.keras"
    model.save(path)
    return model, path


def difference(found: Any, model: Any, x: Any) -> float:  # noqa: ANN401
    """Return how far *found* is from what Keras computes, over the largest value."""
    expected = np.asarray(model(x))
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("name", INNER)
def test_each_step_is_computed_like_keras(name: str, tmp_path: Path) -> None:
    model, path = saved(name, tmp_path)
    (x,) = inputs_for(import_model(read(path)), n=3)
    module = compiled(
        path, tmp_path, targets=("cpu", "gl"), max_texture_size=[64, 4096]
    )

    for device in ("cpu", "gl"):
        (found,) = outputs(module, [x], device=device)

        assert difference(found, model, x) < TOLERANCE


@pytest.mark.parametrize("name", INNER)
def test_each_step_is_computed_like_keras_in_javascript(
    name: str, tmp_path: Path
) -> None:
    model, path = saved(name, tmp_path)
    graph = optimise(import_model(read(path)))
    (x,) = inputs_for(graph, n=2)

    (found,) = run(graph, [x]).outputs

    assert difference(found, model, x) < TOLERANCE


@pytest.mark.parametrize("name", INNER)
def test_no_loop_is_left_in_a_loop(name: str, tmp_path: Path) -> None:
    _, path = saved(name, tmp_path)

    graph = optimise(import_model(read(path)))

    assert depth(graph) <= 1


def depth(graph: Graph) -> int:
    """Return how many loops stand in each other."""
    bodies = [
        node.primitive.body
        for node in graph.nodes
        if isinstance(node.primitive, Scan) and isinstance(node.primitive.body, Graph)
    ]
    return max((1 + depth(body) for body in bodies), default=0)
