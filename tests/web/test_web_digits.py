"""The digits package reads digits in Chromium and in Node."""

from __future__ import annotations

import json
import subprocess
from importlib.resources import as_file
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page
from web.browser import ask, program

from keramos import Interpreter, compile_model, examples

HERE = Path(__file__).parent
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def digits(root: Path) -> NDArray[Any]:
    """Compile ``digits/``; return digits."""
    with as_file(examples.digits("digits.keras")) as model:
        compile_model(model, root, name="digits")
    with examples.digits("test.npz").open("rb") as file, np.load(file) as arrays:
        return np.asarray(arrays["images"][:5, ..., None] / np.float32(255))


@pytest.fixture(scope="module")
def probabilities(digits: NDArray[Any]) -> NDArray[Any]:
    """Return what the interpreter makes of them."""
    with as_file(examples.digits("digits.keras")) as model:
        return np.asarray(Interpreter(model).predict(digits))


@pytest.mark.parametrize("device", ["webgl2", "cpu"])
def test_digits_are_read_in_the_browser(
    page: Page, digits: NDArray[Any], probabilities: NDArray[Any], device: str
) -> None:
    output, found, report = ask(
        page,
        """async ([x, device]) => {
            const model = await harness.load("digits", {device});
            const report = await model.verify();
            const output = Array.from(await model.predict(x));
            model.dispose();
            return [output, report.device, report];
        }""",
        [digits.ravel().tolist(), device],
    )

    assert found == device
    assert report["stages"] > 1
    assert np.allclose(np.reshape(output, (5, 10)), probabilities, atol=TOLERANCE)


def test_digits_are_read_in_node(
    root: Path, tmp_path: Path, digits: NDArray[Any], probabilities: NDArray[Any]
) -> None:
    (tmp_path / "digits.json").write_text(json.dumps(digits.tolist()))
    command = [program("node"), str(HERE / "predict.mjs")]

    answer = subprocess.run(
        [*command, str(root / "digits"), str(tmp_path / "digits.json")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    result = json.loads(answer)
    assert (result["device"], result["fallback"]) == (
        "cpu",
        "there is no canvas here, so no WebGL 2",
    )
    assert np.allclose(
        np.reshape(result["output"], (5, 10)), probabilities, atol=TOLERANCE
    )


def test_another_device_can_be_taken_later(page: Page, digits: NDArray[Any]) -> None:
    devices, equal = ask(
        page,
        """async (x) => {
            const model = await harness.load("digits");
            const first = await model.predict(x);
            const devices = [model.device];
            await model.use("cpu");
            const second = await model.predict(x);
            devices.push(model.device);
            model.dispose();
            const near = (value, index) => Math.abs(value - second[index]) < 1e-5;
            return [devices, first.every(near)];
        }""",
        digits.ravel().tolist(),
    )

    assert devices == ["webgl2", "cpu"]
    assert equal


def test_a_small_device_falls_back_to_javascript(
    page: Page, digits: NDArray[Any]
) -> None:
    device, fallback, count = ask(
        page,
        """async (x) => {
            const model = await harness.load(
                "digits", {device: "auto", maxTextureSize: 4});
            const {length} = await model.predict(x);
            return [model.device, model.fallback, length];
        }""",
        digits.ravel().tolist(),
    )

    assert (device, count) == ("cpu", 50)
    assert fallback.startswith("this GPU is too small for the package: ")
