"""The examples of users' own layers: they compile, and agree with Keras' record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from packages import compiled, outputs

from keramos import CompileError, compile_model
from keramos.verification import verify_package

FOLDER = Path(__file__).parents[2] / "examples" / "custom"
LAYERS = FOLDER / "layers.py"
MODELS = ("lambda", "attention", "cell")
# Outputs are around 1, made of sums of at most 10 products: some float32 roundings.
TOLERANCE = 2e-6


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("name", MODELS)
def test_packages_agree_with_keras(name: str, tmp_path: Path) -> None:
    package = compiled(FOLDER / f"{name}.keras", tmp_path, custom=LAYERS)
    with np.load(FOLDER / f"{name}.npz") as record:
        inputs, expected = record["inputs"], record["outputs"]

    for device in ("cpu", "gl"):
        (found,) = outputs(package, [inputs], device=device)

        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < TOLERANCE, device


@pytest.mark.usefixtures("egl")
def test_a_package_is_verified_by_its_sample_not_by_the_interpreter(
    tmp_path: Path,
) -> None:
    model = FOLDER / "attention.keras"
    package = compile_model(model, tmp_path, name="attended", custom=LAYERS)

    said: list[str] = []
    comparisons = verify_package(
        package.path, None, weights_file=None, report=said.append
    )
    with pytest.raises(CompileError) as caught:
        verify_package(package.path, model, weights_file=None, report=said.append)

    assert [(each.target, each.problem) for each in comparisons] == [
        ("cpu", None),
        ("gl", None),
    ]
    assert str(caught.value) == (
        "attention.keras: layer 'pooling' (AttentionPooling): this layer is unknown "
        "(the interpreter doesn't know custom layers; compile the model with --custom, "
        "and `keramos verify PACKAGE` compares the package with its recorded sample)"
    )


def test_without_the_definitions_each_model_is_refused(tmp_path: Path) -> None:
    for name in MODELS:
        with pytest.raises(CompileError, match=r"pass --custom FILE\.py"):
            compile_model(FOLDER / f"{name}.keras", tmp_path)

    assert list(tmp_path.iterdir()) == []


# A layer of a published model of splicing: the mean of the steps that the sequence has.
POOLING = """
import keramos
from keramos import Definition, ops


@keramos.custom_layer("PoolingWhereSequence")
def pooling(layer: Definition, inputs: list[ops.Value]) -> ops.Value:
    features, sequence = inputs
    counted = ops.cast(ops.greater(ops.sum(sequence, -1), 0.0), "float32")
    total = ops.sum(features * ops.expand_dims(counted, -1), 0)
    return total / ops.sum(counted, 0)
"""


@keras.saving.register_keras_serializable("tests")
class PoolingWhereSequence(keras.layers.Layer):  # type: ignore[misc]  # untyped
    """The mean of the features where a sequence isn't 0: a layer of two inputs."""

    def call(self, inputs: Any) -> Any:  # noqa: ANN401  tensors of any backend
        """Return the mean."""
        features, sequence = inputs
        counted = keras.ops.cast(keras.ops.sum(sequence, -1) > 0, "float32")
        total = keras.ops.sum(features * counted[..., None], 1)
        return total / keras.ops.sum(counted, 1)[:, None]


def test_a_layer_of_two_inputs_and_free_length_agrees_with_keras(
    tmp_path: Path,
) -> None:
    x = keras.Input((None, 4))
    y = keras.layers.Conv1D(6, 3, padding="same")(x)
    y = keras.layers.Activation("relu")(keras.layers.BatchNormalization()(y))
    model = keras.Model(x, keras.layers.Dense(1)(PoolingWhereSequence()([y, x])))
    path, custom = tmp_path / "exon.keras", tmp_path / "layers.py"
    model.save(path)
    custom.write_text(POOLING)
    sequences = np.eye(4, dtype=np.float32)[np.arange(18).reshape(2, 9) % 4]
    sequences[1, 5:] = 0
    package = compiled(path, tmp_path, targets=("cpu",), custom=custom)

    (found,) = outputs(package, [sequences], device="cpu")

    assert np.abs(found - np.asarray(model(sequences))).max() < TOLERANCE
