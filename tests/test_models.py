"""Random models, from Keras' own files to the emitted package, held to each other."""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from packages import compiled, outputs
from strategies_models import NAMES, Drawn, keras_models
from tolerance import assert_close, reference, tolerances

from keramos import Package, compile_model

SUFFIXES = st.sampled_from(("h5", "keras"))
# Rounding units of difference that the largest sums may have: XLA and NumPy add in
# orders of their own, and each function has its own last digit.
KERAS_FACTOR = 16
CPU_FACTOR = 16
# exp, log and tanh of GPUs are good for a few units, not for half of one.
GL_FACTOR = 64
TEXTURE_SIZES = (16, 64, 256, 4096)


def finite(drawn: Drawn) -> bool:
    """Return whether the model stays where float32 has digits to compare."""
    return all(bool((np.abs(y) < 1e6).all()) for y in drawn.expected())


@given(drawn=keras_models(), suffix=SUFFIXES)
def test_the_interpreter_computes_what_keras_computes(
    drawn: Drawn, suffix: str
) -> None:
    assume(finite(drawn))
    with tempfile.TemporaryDirectory() as folder:
        path = drawn.save(Path(folder), suffix)

        actual = reference(path, drawn.inputs)

        bounds = tolerances(path, drawn.inputs, factor=KERAS_FACTOR)
        assert_close(actual, drawn.expected(), bounds)


@given(drawn=keras_models(), suffix=SUFFIXES)
def test_the_package_computes_on_the_cpu_what_the_interpreter_computes(
    drawn: Drawn, suffix: str
) -> None:
    assume(finite(drawn))
    with tempfile.TemporaryDirectory() as folder:
        path = drawn.save(Path(folder), suffix)
        module = compiled(path, Path(folder), targets=("cpu",))

        actual = outputs(module, drawn.inputs, device="cpu")

        bounds = tolerances(path, drawn.inputs, factor=CPU_FACTOR)
        assert_close(actual, reference(path, drawn.inputs), bounds)


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("size", TEXTURE_SIZES)
@settings(max_examples=max(settings().max_examples // 2, 1))
@given(drawn=keras_models(), suffix=SUFFIXES)
def test_the_package_computes_on_the_gpu_what_the_interpreter_computes(
    size: int, drawn: Drawn, suffix: str
) -> None:
    assume(finite(drawn))
    with tempfile.TemporaryDirectory() as folder:
        path = drawn.save(Path(folder), suffix)
        targets = ("cpu", "gl")
        module = compiled(path, Path(folder), targets=targets, max_texture_size=size)

        actual = outputs(module, drawn.inputs, device="gl")

        bounds = tolerances(path, drawn.inputs, factor=GL_FACTOR)
        assert_close(actual, reference(path, drawn.inputs), bounds)


@settings(max_examples=max(settings().max_examples // 5, 1))
@given(drawn=keras_models(most_layers=4), suffix=SUFFIXES)
def test_the_same_model_gives_the_same_bytes(drawn: Drawn, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = drawn.save(Path(folder), suffix)

        first = compile_model(path, Path(folder) / "first")
        second = compile_model(path, Path(folder) / "second")

        assert contents(first) == contents(second)


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("device", ["cpu", "gl"])
def test_layer_names_of_any_kind_are_harmless(device: str, tmp_path: Path) -> None:
    x = keras.Input((4,), name="()[0]")
    y = x
    for name in NAMES:
        y = keras.layers.Dense(4, activation="tanh", name=name)(y)
    model = keras.Model(x, y)
    drawn = Drawn(model, (np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4),))
    path = drawn.save(tmp_path, "keras")
    module = compiled(path, tmp_path)

    actual = outputs(module, drawn.inputs, device=device)

    bounds = tolerances(path, drawn.inputs, factor=GL_FACTOR)
    assert_close(actual, reference(path, drawn.inputs), bounds)


def contents(package: Package) -> dict[str, bytes]:
    """Return the files of a package as they lie on disk."""
    return {name: (package.path / name).read_bytes() for name in package.files}
