"""Layers whose outputs were kept give what Keras' layers give, by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import model_files as files
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray
from packages import compiled

from keramos import CompileError, compile_model
from keramos.compiler import silent
from keramos.verification import check_directory

Array = NDArray[Any]
DEVICES = ("cpu", "gl")


def network() -> Any:  # noqa: ANN401 - Keras has no types
    """Return a model whose layers would be fused, with a shared layer and a model."""
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, name="inner_dense")], name="inner"
    )
    image = keras.Input((6, 6, 2), name="image")
    x = layers.Conv2D(4, 3, name="conv")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    shared = layers.Conv2D(4, 1, name="shared")
    x = layers.Add(name="add")([shared(x), shared(shared(x))])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, layers.Softmax(name="softmax")(inner(x)))


def images(n: int = 3) -> Array:
    return np.random.default_rng(1).uniform(-1, 1, (n, 6, 6, 2)).astype(np.float32)


def kept_by_keras(model: Any, *names: str) -> dict[str, Array]:  # noqa: ANN401
    outputs = [model.get_layer(name).output for name in names]
    arrays = keras.Model(model.inputs, outputs).predict(images(), verbose=0)
    return dict(zip(names, arrays, strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_taps_give_what_the_layers_of_keras_give(tmp_path: Path, device: str) -> None:
    names = ("conv", "norm", "relu", "add", "pool")
    model = network()
    path = files.saved(tmp_path / "network.keras", model)
    package = compiled(path, tmp_path, taps=names)

    with package.Model(device) as running:
        found = running.layer_outputs(images())
        y = running.predict(images())

    expected = kept_by_keras(model, *names)
    assert list(found) == list(names)
    for name, array in expected.items():
        assert np.allclose(found[name], array, rtol=1e-4, atol=1e-5)
    assert np.allclose(y, model.predict(images(), verbose=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_a_tapped_package_verifies(tmp_path: Path, device: str) -> None:
    path = files.saved(tmp_path / "network.keras", network())
    package = compiled(path, tmp_path, taps=("all",))

    with package.Model(device) as running:
        assert running.verify().stages > 1


def test_all_are_the_layers_calls_and_inner_layers(tmp_path: Path) -> None:
    path = files.saved(tmp_path / "network.keras", network())
    package = compiled(path, tmp_path, taps=("all",), targets=("cpu",))

    assert [tap.name for tap in package.TAPS] == [
        *("conv", "norm", "relu", "shared:0", "shared:1", "shared:2", "add", "pool"),
        *("inner/inner_dense", "inner", "softmax"),
    ]


def test_some_of_the_taps_can_be_asked_for(tmp_path: Path) -> None:
    path = files.saved(tmp_path / "network.keras", network())
    package = compiled(path, tmp_path, taps=("shared", "pool"), targets=("cpu",))

    with package.Model() as running:
        found = running.layer_outputs({"image": images()}, ["shared:1"])

    assert {name: array.shape for name, array in found.items()} == {
        "shared:1": (3, 4, 4, 4)
    }


def test_other_layers_are_refused_by_name(tmp_path: Path) -> None:
    path = files.saved(tmp_path / "network.keras", network())
    package = compiled(path, tmp_path, taps=("pool",), targets=("cpu",))

    with (
        package.Model() as running,
        pytest.raises(ValueError, match=r"has no tap 'conv' \(it has 'pool'\)$"),
    ):
        running.layer_outputs(images(), ["conv"])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("cnov", "--taps: there is no layer 'cnov' that is called (is it 'conv'?)"),
        (
            "nothing like it",
            (
                "--taps: there is no layer 'nothing like it' that is called "
                "(keramos inspect lists them)"
            ),
        ),
    ],
)
def test_unknown_taps_are_refused_in_a_line(
    tmp_path: Path, name: str, line: str
) -> None:
    path = files.saved(tmp_path / "network.keras", network())

    with pytest.raises(CompileError) as error:
        compile_model(path, tmp_path / "out", taps=(name,))

    assert str(error.value) == line
    assert not (tmp_path / "out").exists()


def test_without_taps_nothing_of_them_is_emitted(tmp_path: Path) -> None:
    path = files.saved(tmp_path / "network.keras", network())
    package = compiled(path, tmp_path, targets=("cpu",))

    assert not hasattr(package, "TAPS")
    assert not hasattr(package.Model, "layer_outputs")


def test_taps_and_maps_are_what_check_compares_with(tmp_path: Path) -> None:
    files.saved(tmp_path / "network.keras", network())
    options = {"taps": ("conv", "pool"), "cam": "add", "targets": ("cpu",)}
    package = compiled(tmp_path / "network.keras", tmp_path / "generated", **options)

    names, problems = check_directory(
        tmp_path / "generated", models=tmp_path, report=silent
    )

    assert (names, problems) == ([package.NAME], [])
