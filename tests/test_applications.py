"""Networks of the size that people ship: all of keras.applications, weights drawn."""

from __future__ import annotations

import inspect
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
from strategies_models import randomise

from keramos import source
from keramos.compiler import TARGETS
from keramos.importer import describe
from keramos.verification import imported

pytestmark = pytest.mark.slow

APPLICATIONS = {
    "mobilenet_v2": keras.applications.MobileNetV2,
    "resnet50": keras.applications.ResNet50,
}
EVERY = {
    name: make
    for name, make in vars(keras.applications).items()
    if inspect.isfunction(make)
}
# The smallest images that Keras allows.
SIZES = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}
SMALLEST = 32
# One of each family.
FAMILIES = (
    *("ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0"),
    *("InceptionResNetV2", "InceptionV3", "MobileNetV3Small", "NASNetMobile"),
    *("ResNet50V2", "VGG16", "Xception"),
)
MOST_SECONDS = 20
MOST_BYTES = 2_000_000_000
# Relative to the largest output, as the issue of these networks' users would be.
TOLERANCE = 1e-4
# ru_maxrss of a child starts at what its parent has: the kernel's own mark doesn't.
MEASURED = """
import re, sys
from pathlib import Path
from keramos import compile_model
compile_model(sys.argv[1], sys.argv[2], name=sys.argv[3], targets=sys.argv[4:])
status = Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024)
"""


def saved(
    make: Callable[..., Any], folder: Path, *, size: int
) -> tuple[Path, NDArray[np.float32], NDArray[np.float32]]:
    """Return a model's file, an image, and what Keras makes of it."""
    rng = np.random.default_rng(1)
    model = make(weights=None, input_shape=(size, size, 3), classifier_activation=None)
    randomise(model, rng)
    path = folder / "network.keras"
    model.save(path)
    x = rng.uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    return path, x, np.asarray(model(x, training=False))


def error(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference, relative to the largest expected value."""
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", APPLICATIONS)
def test_a_network_compiles_fast_in_little_memory_and_agrees_with_keras(
    name: str, tmp_path: Path
) -> None:
    path, x, expected = saved(APPLICATIONS[name], tmp_path, size=224)
    command = [sys.executable, "-c", MEASURED, str(path), str(tmp_path), name]

    start = time.perf_counter()
    done = subprocess.run(
        [*command, *TARGETS], capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - start

    assert seconds < MOST_SECONDS
    assert int(done.stdout) < MOST_BYTES
    assert error(imported(tmp_path / name).predict(x), expected) < TOLERANCE


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("name", APPLICATIONS)
def test_a_network_agrees_with_keras_on_the_gpu(name: str, tmp_path: Path) -> None:
    path, x, expected = saved(APPLICATIONS[name], tmp_path, size=96)
    command = [sys.executable, "-c", MEASURED, str(path), str(tmp_path), name]

    start = time.perf_counter()
    subprocess.run([*command, "cpu", "gl"], capture_output=True, check=True)
    seconds = time.perf_counter() - start
    with imported(tmp_path / name).Model(device="gl") as model:
        actual = model.predict(x)

    assert seconds < MOST_SECONDS
    assert error(actual, expected) < TOLERANCE


def compiled(path: Path, folder: Path, *targets: str) -> float:
    """Compile a model to *folder*/package, and return how much CPU time that took."""
    command = [sys.executable, "-c", MEASURED, str(path), str(folder), "package"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, *targets], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("name", EVERY)
def test_every_application_compiles_and_agrees_with_keras(name: str) -> None:
    # Some weigh more than a gigabyte: nothing stays behind.
    with TemporaryDirectory() as folder:
        size = SIZES.get(name, SMALLEST)
        path, x, expected = saved(EVERY[name], Path(folder), size=size)

        problems = describe(source.read(path)).problems
        seconds = compiled(path, Path(folder), "cpu")
        actual = imported(Path(folder) / "package").predict(x)

    assert problems == ()
    assert error(actual, expected) < TOLERANCE
    assert seconds < MOST_SECONDS


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("name", FAMILIES)
def test_an_application_of_each_family_agrees_with_keras_on_the_gpu(name: str) -> None:
    with TemporaryDirectory() as folder:
        size = SIZES.get(name, SMALLEST)
        path, x, expected = saved(EVERY[name], Path(folder), size=size)

        seconds = compiled(path, Path(folder), "cpu", "gl")
        with imported(Path(folder) / "package").Model(device="gl") as model:
            actual = model.predict(x)

    assert error(actual, expected) < TOLERANCE
    assert seconds < MOST_SECONDS
