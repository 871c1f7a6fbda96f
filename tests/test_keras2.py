"""What Keras 2.15 wrote and computed, recorded by fixtures/record_keras2.py."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from packages import compiled, outputs
from tolerance import reference, tolerances

from keramos.layers.activation import ACTIVATIONS
from keramos.layers.registry import LAYERS
from keramos.source.translation import CUDNN

Array = NDArray[Any]

RECORDED = Path(__file__).parent / "fixtures" / "keras2.zip"
# Rounding units of the largest sums: TensorFlow adds in an order of its own, and has
# functions good for a few units in the last place.
FACTOR = 16
# exp, log and tanh of GPUs are good for a few units, not for half of one.
GL_FACTOR = 64
# Bases of others, and what has no place in a file.
ABSTRACT = {"InputLayer", "Layer", "Wrapper", "AbstractRNNCell", "PreprocessingLayer"}
OWN_CODE = {"Lambda"}


def names() -> list[str]:
    """Return the recorded model files."""
    with zipfile.ZipFile(RECORDED) as archive:
        return [each for each in archive.namelist() if each.endswith((".h5", ".keras"))]


def recorded(name: str, folder: Path) -> tuple[Path, list[Array], list[Array]]:
    """Return a model's file, its inputs, and what Keras 2 made of them."""
    with zipfile.ZipFile(RECORDED) as archive:
        path = Path(archive.extract(name, folder))
        content = archive.read(f"{path.stem}.npz")
    with np.load(io.BytesIO(content)) as stored:
        kinds = [
            [stored[each] for each in stored.files if each.startswith(kind)]
            for kind in ("input", "output")
        ]
    return path, kinds[0], kinds[1]


def largest_excess(
    actual: Sequence[Array], expected: Sequence[Array], bounds: Sequence[float]
) -> dict[int, float]:
    """Return by how much outputs are off that are off by more than their bound."""
    assert [y.shape for y in actual] == [y.shape for y in expected]
    errors = [
        float(np.abs(a.astype(np.float64) - b).max(initial=0))
        for a, b in zip(actual, expected, strict=True)
    ]
    return {
        number: error
        for number, (error, bound) in enumerate(zip(errors, bounds, strict=True))
        if not error <= bound
    }


@pytest.mark.parametrize("name", names())
def test_the_interpreter_computes_what_keras_2_computed(
    name: str, tmp_path: Path
) -> None:
    path, inputs, expected = recorded(name, tmp_path)

    actual = reference(path, inputs)

    bounds = tolerances(path, inputs, factor=FACTOR)
    assert largest_excess(actual, expected, bounds) == {}


@pytest.mark.parametrize("name", names())
def test_the_package_computes_what_keras_2_computed(name: str, tmp_path: Path) -> None:
    path, inputs, expected = recorded(name, tmp_path)
    module = compiled(path, tmp_path, targets=("cpu",))

    actual = outputs(module, inputs, device="cpu")

    bounds = tolerances(path, inputs, factor=FACTOR)
    assert largest_excess(actual, expected, bounds) == {}


@pytest.mark.slow
@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("name", [each for each in names() if each.endswith(".h5")])
def test_the_package_computes_on_the_gpu_what_keras_2_computed(
    name: str, tmp_path: Path
) -> None:
    path, inputs, expected = recorded(name, tmp_path)
    module = compiled(path, tmp_path, targets=("cpu", "gl"))

    actual = outputs(module, inputs, device="gl")

    bounds = tolerances(path, inputs, factor=GL_FACTOR)
    assert largest_excess(actual, expected, bounds) == {}


def classes() -> dict[str, list[str]]:
    """Return the names of Keras 2's layers and activations."""
    with zipfile.ZipFile(RECORDED) as archive:
        found: dict[str, list[str]] = json.loads(archive.read("classes.json"))
    return found


def test_every_layer_of_keras_2_is_known() -> None:
    assert {*classes()["layers"]} - {*LAYERS, *CUDNN} == ABSTRACT | OWN_CODE


def test_every_activation_of_keras_2_is_known() -> None:
    assert {*classes()["activations"]} - set(ACTIVATIONS) == set()
