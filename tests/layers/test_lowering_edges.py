"""Edge cases in which the lowered graph and the interpreter have to meet Keras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from lowering_oracle import TOLERANCE, Array, disagreement, randomise

from keramos.importer import import_model
from keramos.runtime_min.interpreter import Interpreter
from keramos.source import read

# Keras warns of what it does itself: of HDF5, and of masks that layers take off.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:keras")


def images() -> Array:
    """Return images whose axes all have another length."""
    array = np.random.default_rng(1).normal(size=(2, 4, 6, 3))
    return array.astype(np.float32)


def masked_steps() -> Array:
    """Return sequences with masked steps in front, in the middle, and behind."""
    array = np.random.default_rng(1).normal(size=(3, 5, 3)).astype(np.float32)
    array[0, :2] = 0
    array[1, 2] = 0
    array[2, -2:] = 0
    return array


def model_with(layer: Any, x: Array, *, masked: bool = False) -> Any:  # noqa: ANN401
    """Return a model of one layer for the inputs *x*, weights drawn."""
    inputs = keras.Input(x.shape[1:])
    given = layers.Masking()(inputs) if masked else inputs
    model = keras.Model(inputs, layer(given))
    randomise(model)
    return model


def written_by_keras_2(
    model: Any,  # noqa: ANN401 - Keras is untyped
    path: Path,
    *,
    version: str = "2.11.0",
    **options: object,
) -> Path:
    """Save a model as Keras 2 would, with other *options* of its last layer."""
    model.save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config["config"]["layers"][-1]["config"].update(options)
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = version
        file["model_weights"].attrs["keras_version"] = version
    return path


def largest_error(path: Path, x: Array, expected: Array) -> float:
    """Return how far the graph or the interpreter is from what is expected."""
    (lowered,) = import_model(read(path)).evaluate(x)
    interpreted = Interpreter(path).predict(x)
    errors = [np.max(np.abs(y - expected)) for y in (lowered, interpreted)]
    return float(max(errors))


@pytest.mark.parametrize("axis", [(1, -1), (-1, 1), (-1, 2), (3, 1), (-2, -1)])
@pytest.mark.parametrize("option", [{}, {"rms_scaling": True}, {"scale": False}])
def test_layer_normalization_takes_axes_in_any_order(
    axis: tuple[int, int], option: dict[str, bool], tmp_path: Path
) -> None:
    x = images()
    model = model_with(layers.LayerNormalization(axis=axis, **option), x)
    path = tmp_path / "model.keras"
    model.save(path)

    assert disagreement(model, [x]) < TOLERANCE
    assert largest_error(path, x, model.predict(x, verbose=0)) < TOLERANCE


def test_layer_normalization_of_keras_2_keeps_the_order_of_its_axes(
    tmp_path: Path,
) -> None:
    x = images()
    # Keras 3 stores (features, rows) for these axes, as Keras 2 does for [3, 1].
    model = model_with(layers.LayerNormalization(axis=(1, -1)), x)
    path = written_by_keras_2(model, tmp_path / "model.h5", axis=[3, 1])

    assert largest_error(path, x, model.predict(x, verbose=0)) < TOLERANCE


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("kind", [layers.SimpleRNN, layers.LSTM, layers.GRU])
def test_keras_2_zeroes_masked_outputs_even_where_it_unrolls(
    *, kind: Any, backwards: bool, unroll: bool, tmp_path: Path  # noqa: ANN401
) -> None:
    x = masked_steps()
    layer = kind(
        4, return_sequences=True, zero_output_for_mask=True, go_backwards=backwards
    )
    model = model_with(layer, x, masked=True)
    path = written_by_keras_2(model, tmp_path / "model.h5", unroll=unroll)

    # Keras 3 means the same as Keras 2 where it doesn't unroll.
    assert largest_error(path, x, model.predict(x, verbose=0)) < TOLERANCE


@pytest.mark.parametrize("version", ["2.4.0", "2.11.0", "2.15.0"])
@pytest.mark.parametrize("mode", ["concat", "mul"])
def test_bidirectional_of_keras_2_zeroes_masked_outputs(
    mode: str, version: str, tmp_path: Path
) -> None:
    x = masked_steps()
    layer = layers.Bidirectional(layers.LSTM(4, return_sequences=True), merge_mode=mode)
    model = model_with(layer, x, masked=True)
    # Keras 2 writes the layer as it was given, before it is forced to zero.
    inner = keras.saving.serialize_keras_object(layers.LSTM(4, return_sequences=True))
    del inner["config"]["zero_output_for_mask"]
    path = written_by_keras_2(
        model,
        tmp_path / "model.h5",
        version=version,
        layer=inner,
        backward_layer=None,
    )

    assert largest_error(path, x, model.predict(x, verbose=0)) < TOLERANCE


@pytest.mark.parametrize("version", ["2.2.4", "2.2.4-tf", "2.3.1", "2.11.0"])
@pytest.mark.parametrize("kind", [layers.SimpleRNN, layers.GRU])
def test_first_masked_steps_give_the_initial_state_unless_tensorflow_wrote_the_file(
    *, kind: Any, version: str, tmp_path: Path  # noqa: ANN401 - Keras is untyped
) -> None:
    x, state = masked_steps()[:1], np.full((1, 4), 0.5, np.float32)
    sequences, initial = keras.Input(x.shape[1:]), keras.Input((4,))
    layer = kind(4, return_sequences=True)
    y = layer(layers.Masking()(sequences), initial_state=initial)
    model = keras.Model([sequences, initial], y)
    randomise(model)
    path = written_by_keras_2(model, tmp_path / "model.h5", version=version)
    by_tensorflow = version in ("2.2.4-tf", "2.11.0")

    (lowered,) = import_model(read(path)).evaluate(x, state)
    interpreted = Interpreter(path).predict(x, state)

    # Keras 3 drops the mask beside an initial state: it judges what isn't masked.
    after = np.asarray(layer(x[:, 2:], initial_state=state))
    for actual in (lowered, interpreted):
        assert np.all(actual[:, :2] == (0.0 if by_tensorflow else 0.5))
        assert np.max(np.abs(actual[:, 2:] - after)) < TOLERANCE


@pytest.mark.parametrize("unroll", [False, True])
def test_unrolled_keras_3_forgets_to_zero_masked_outputs(
    *, unroll: bool, tmp_path: Path
) -> None:
    x = masked_steps()
    layer = layers.GRU(
        4, return_sequences=True, zero_output_for_mask=True, unroll=unroll
    )
    model = model_with(layer, x, masked=True)
    path = tmp_path / "model.keras"
    model.save(path)
    expected = model.predict(x, verbose=0)

    assert largest_error(path, x, expected) < TOLERANCE
    assert np.all(expected[2, -2:] == 0) != unroll
