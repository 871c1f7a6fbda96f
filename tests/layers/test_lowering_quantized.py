"""Layers that Keras 3 quantised, against Keras."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from calibrated_models import CALIBRATED, calibrated_model
from keras import layers
from lowering_oracle import TOLERANCE, disagreement, graph_of, model_of

from keramos.errors import CompileError

# Keras says what it can't quantise: an InputLayer.
pytestmark = pytest.mark.filterwarnings("ignore:Layer InputLayer does not have")

# Whole numbers up to 127 lie on the grid to which layers round their inputs, so that
# nothing depends on the last digit.
ON_GRID = np.random.default_rng(0).integers(-127, 128, (3, 4, 6)).astype(np.float32)
ON_GRID[..., 0] = 127


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
@pytest.mark.parametrize(
    ("equation", "output_shape", "bias_axes"),
    [
        ("abc,cd->abd", (None, 5), "d"),
        ("abc,cde->abde", (None, 3, 2), "de"),
        ("abc,bcd->ad", (5,), None),
    ],
)
def test_quantised_einsum_dense_agrees_with_keras(
    mode: str, equation: str, output_shape: Any, bias_axes: str | None  # noqa: ANN401
) -> None:
    model = model_of(
        layers.EinsumDense(equation, output_shape, None, bias_axes), (4, 6)
    )
    model.quantize(mode)

    assert disagreement(model, [ON_GRID]) < TOLERANCE


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
@pytest.mark.parametrize("bias", [True, False])
def test_quantised_dense_agrees_with_keras(*, mode: str, bias: bool) -> None:
    model = model_of(layers.Dense(5, activation="relu", use_bias=bias), (4, 6))
    model.quantize(mode)

    assert disagreement(model, [ON_GRID]) < TOLERANCE


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_quantised_embeddings_agree_with_keras(mode: str) -> None:
    model = model_of(layers.Embedding(9, 5), (4,), dtype="int32")
    model.quantize(mode)

    assert disagreement(model, [np.array([[1, 8, 0, 3]], np.int32)]) < TOLERANCE


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("mode", CALIBRATED)
def test_calibrated_layers_agree_with_keras(mode: str) -> None:
    assert disagreement(calibrated_model(mode), suffix=".h5") < TOLERANCE


def test_zeros_that_keras_forgot_are_missed() -> None:
    with (
        pytest.raises(CompileError) as caught,
        graph_of(calibrated_model("gptq/4/3")),
    ):
        pass

    assert str(caught.value.problems[0]) == (
        "model.keras: layer 'dense' (Dense): its weights are quantized as 'gptq', and "
        "the file lacks their zeros, which Keras 3.15 doesn't write to .keras files "
        "(save the model as .h5)"
    )
