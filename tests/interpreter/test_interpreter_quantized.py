"""Quantized layers agree with Keras, read from files that Keras saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from calibrated_models import CALIBRATED, calibrated_model
from interpreter.live_models import (
    Array,
    as_list,
    assert_agrees,
    fill_weights,
    hand_built_file,
    noise,
    through_layer,
)
from keras import layers

from keramos.errors import CompileError
from keramos.runtime_min.interpreter import Interpreter

# Whole numbers up to 127 lie on the grid to which int8 and int4 layers round their
# inputs: no rounding there depends on the last digit.
ON_GRID = np.random.default_rng(0).integers(-127, 128, (3, 4, 6)).astype(np.float32)
ON_GRID[..., 0] = 127


def check_saved(model: keras.Model, mode: str, x: Array, path: Path) -> None:
    """Hold the interpreter to Keras on a file of the quantized model."""
    fill_weights(model, 0)
    model.quantize(mode)
    model.save(path / "model.keras")
    expected = np.asarray(model(x))

    actual = Interpreter(path / "model.keras").predict(x)

    assert np.allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize`")
@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.Dense(5, activation="relu"),
        lambda: layers.Dense(4, use_bias=False),
        lambda: layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d"),
        lambda: layers.EinsumDense("abc,cde->abde", (None, 3, 2), bias_axes="de"),
        lambda: layers.EinsumDense("abc,bcd->ad", (5,)),
    ],
)
def test_quantized_product_agrees_with_keras(
    layer: Any, mode: str, tmp_path: Path  # noqa: ANN401 - makes a layer
) -> None:
    check_saved(through_layer(layer(), (4, 6)), mode, ON_GRID, tmp_path)


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize`")
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_quantized_embedding_agrees_with_keras(mode: str, tmp_path: Path) -> None:
    model = through_layer(layers.Embedding(9, 5), (4,), dtype="int32")

    check_saved(model, mode, np.array([[1, 8, 0, 3]]), tmp_path)


@pytest.mark.parametrize("tied", [True, False])
def test_reversible_embedding_agrees_with_keras(*, tied: bool) -> None:
    table = layers.ReversibleEmbedding(9, 5, tie_weights=tied, logit_soft_cap=3.0)
    tokens = keras.Input((4,), dtype="int32")
    scores = table(layers.Dense(5)(table(tokens)), reverse=True)

    assert_agrees(keras.Model(tokens, scores), np.array([[1, 8, 0, 3]]))


def test_ternary_dense_keeps_signs_of_large_weights() -> None:
    kernel = np.array([[1.0, -3.0], [0.1, 2.0]])
    file = hand_built_file(
        "TernaryDense",
        {"units": 2, "use_bias": False},
        (2,),
        weights=[kernel],
        keras_version="3.16.0",
    )

    y = Interpreter(file).predict(np.array([[1.0, 10.0]]))

    # mean |kernel| = 1.525: the 0.1 is below half of it and counts as 0.
    assert np.allclose(y, [[1.525, 1.525 * 9]])


def test_other_quantizations_are_refused() -> None:
    policy = {"class_name": "DTypePolicy", "config": {"name": "ternary_from_float32"}}
    file = hand_built_file("Dense", {"units": 2, "dtype": policy}, (2,))

    with pytest.raises(CompileError) as caught:
        Interpreter(file)

    assert str(caught.value) == (
        "made.h5: layer 'tested' (Dense): its weights are quantized as 'ternary' (use "
        "one of int8, int4, float8, gptq, awq, or no quantization)"
    )


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("mode", CALIBRATED)
def test_calibrated_layers_agree_with_keras(mode: str, tmp_path: Path) -> None:
    model = calibrated_model(mode)
    model.save(tmp_path / "model.h5")
    x = noise((2, 4, 6))

    found = as_list(Interpreter(tmp_path / "model.h5").predict(x))

    for y, expected in zip(found, as_list(model(x)), strict=True):
        assert np.allclose(y, expected, atol=1e-5)


def test_zeros_that_keras_forgot_are_missed(tmp_path: Path) -> None:
    calibrated_model("gptq/4/3").save(tmp_path / "model.keras")

    with pytest.raises(CompileError, match="lacks the zeros of its weights"):
        Interpreter(tmp_path / "model.keras")


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64")
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_policies_of_precision_change_the_result_by_their_rounding_only(
    policy: str,
) -> None:
    model = through_layer(layers.Dense(5, dtype=policy), (6,))
    fill_weights(model, 0)
    units = {"mixed_float16": 2**-10, "mixed_bfloat16": 2**-7, "float64": 2**-23}

    assert_agrees(model, noise((3, 6)), factor=16 * units[policy] / 2**-23)
