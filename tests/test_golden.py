"""generated/ is what the compiler makes of examples/, byte for byte, and it works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from keramos import Interpreter
from keramos.compiler import Options, Sources, compile_file, package_files
from keramos.verification import imported

ROOT = Path(__file__).parent.parent
GENERATED = ROOT / "generated"
# Package in generated/: source in examples/.
DIGITS = ROOT / "examples" / "digits" / "digits.keras"
CUSTOM = ROOT / "examples" / "custom"
SOURCES = {
    "digits": Sources(DIGITS),
    **{
        f"custom_{name}": Sources(CUSTOM / f"{name}.keras", custom=CUSTOM / "layers.py")
        for name in ("attention", "cell", "lambda")
    },
}
ACCURACY = 0.973
# Keras, the interpreter, CPU and GPU may differ by this, in probability.
LARGEST_DIFFERENCE = 1e-5
# Runs `import digits` and a prediction where nothing but NumPy can be imported.
ALONE = """
import importlib.abc, sys
class OnlyNumpy(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] not in {*sys.stdlib_module_names, 'numpy', 'digits'}:
            raise ImportError(name)
sys.meta_path.insert(0, OnlyNumpy())
import numpy as np
import digits
print(digits.predict(np.zeros((2, 28, 28, 1), np.float32)).shape)
"""


@pytest.mark.parametrize("name", SOURCES)
def test_generated_packages_are_what_their_sources_give(
    name: str, *, update_golden: bool
) -> None:
    if update_golden:
        compile_file(SOURCES[name], GENERATED, name=name, options=Options())

    files = package_files(SOURCES[name], name=name, options=Options())

    found = {path: (GENERATED / name / path).read_bytes() for path in files}
    differing = [path for path in files if found[path] != files[path]]
    assert differing == []


def test_generated_holds_nothing_else() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "generated"],  # noqa: S607  the user's git
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    listed = {
        f"generated/{name}/{path}"
        for name in SOURCES
        for path in ("manifest.json", *manifest(name)["files"])
    }

    assert set(tracked) <= listed


def manifest(name: str) -> dict[str, dict[str, str]]:
    """Return the manifest of a package in generated/."""
    stored: dict[str, dict[str, str]] = json.loads(
        (GENERATED / name / "manifest.json").read_bytes()
    )
    return stored


def real_digits() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the thousand digits that the model hasn't seen, and their labels."""
    with np.load(ROOT / "examples" / "digits" / "test.npz") as arrays:
        return arrays["images"][..., None] / np.float32(255), arrays["labels"]


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("device", ["cpu", "gl"])
def test_digits_are_read_as_well_as_by_the_interpreter(device: str) -> None:
    x, labels = real_digits()
    expected = Interpreter(DIGITS).predict(x)

    with imported(GENERATED / "digits").Model(device=device) as model:
        actual = model.predict(x)

    assert (actual.argmax(axis=1) == labels).mean() == ACCURACY
    assert (expected.argmax(axis=1) == labels).mean() == ACCURACY
    assert np.abs(actual - expected).max() < LARGEST_DIFFERENCE


def test_both_formats_of_the_digits_model_hold_the_same_network() -> None:
    x, _ = real_digits()
    keras3 = Interpreter(DIGITS).predict(x[:50])

    hdf5 = Interpreter(DIGITS.with_suffix(".h5")).predict(x[:50])

    assert np.array_equal(keras3, hdf5)


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("device", ["cpu", "gl"])
def test_generated_packages_verify_themselves(device: str, name: str) -> None:
    with imported(GENERATED / name).Model(device=device) as model:
        report = model.verify()

    assert report.device == device


def test_a_package_needs_nothing_but_numpy(tmp_path: Path) -> None:
    shutil.copytree(GENERATED / "digits", tmp_path / "digits")

    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "(2, 10)\n"


def test_a_package_brings_its_own_tests() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "digits"],
        cwd=GENERATED,
        env=os.environ | {"KERAMOS_SOURCE": str(DIGITS)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


@pytest.mark.parametrize(
    ("device", "status", "line"),
    [
        ("gl", 1, "no OpenGL 3.3 context: "),
        ("auto", 0, ""),
    ],
)
def test_without_a_driver_gl_says_so_and_auto_takes_the_cpu(
    device: str, status: int, line: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "in.npy", real_digits()[0][:2])
    nothing = {"__EGL_VENDOR_LIBRARY_FILENAMES": "/dev/null", "DISPLAY": ""}
    command = [sys.executable, "-m", "digits", "predict", "--device", device]

    done = subprocess.run(
        [*command, tmp_path / "in.npy", "-o", tmp_path / "out.npy"],
        cwd=GENERATED,
        env=os.environ | nothing,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == status
    assert done.stderr.startswith(line)
    assert (tmp_path / "out.npy").exists() == (status == 0)


@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize(
    ("program", "line"),
    [
        (["read.py", "7"], "0: 99.8%"),
        (["read.py", "8", "--device", "gl"], "5: 98.7%"),
        (["measure.py"], "accuracy 0.973"),
    ],
)
def test_the_example_programs_run(program: list[str], line: str) -> None:
    script, *arguments = program

    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "digits" / script, *arguments],
        env=os.environ | {"PYTHONPATH": str(GENERATED)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert line in done.stdout
