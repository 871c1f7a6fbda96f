"""The examples of users' own layers: they compile, and agree with Keras' record."""

from __future__ import annotations

from pathlib import Path

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
