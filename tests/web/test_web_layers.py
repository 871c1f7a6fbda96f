"""Layers and class activation maps in the browser and in Node are Python's."""

from __future__ import annotations

import json
import subprocess
from importlib.resources import as_file
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page
from web.browser import ask, program

from keramos import compile_model, examples
from keramos.verification import imported

TAPS = ("conv2d", "flatten", "dense_1")
DEVICES = ("webgl2", "cpu")
NODE = """
import { readFile } from "node:fs/promises";
const { load } = await import(process.argv[2]);
const x = JSON.parse(await readFile(process.argv[3], "utf8"));
const model = await load({ device: "cpu" });
const { shape, data } = await model.classActivationMap(x, { classIndex: [3, 1, 4] });
console.log(JSON.stringify({ shape, data: Array.from(data) }));
"""


@pytest.fixture(scope="module")
def tapped(root: Path) -> ModuleType:
    """Compile ``tapped/``; return it."""
    with as_file(examples.digits("digits.keras")) as model:
        package = compile_model(model, root, name="tapped", taps=TAPS, cam="auto")
    return imported(package.path)


@pytest.fixture(scope="module")
def digits() -> NDArray[Any]:
    """Return three digits."""
    with examples.digits("test.npz").open("rb") as file, np.load(file) as arrays:
        return np.asarray(arrays["images"][:3, ..., None] / np.float32(255))


def in_page(page: Page, body: str, x: NDArray[Any], device: str) -> Any:  # noqa: ANN401
    return ask(
        page,
        f"""async ([x, device]) => {{
            const model = await harness.load("tapped", {{device}});
            const plain = (outputs) => Object.fromEntries(
                Object.entries(outputs).map(([name, {{shape, data}}]) =>
                    [name, {{shape, data: Array.from(data)}}]));
            const run = async () => {{ {body} }};
            return run().finally(() => model.dispose());
        }}""",
        [x.ravel().tolist(), device],
    )


@pytest.mark.parametrize("device", DEVICES)
def test_tapped_layers_come_by_their_names_in_keras(
    page: Page, tapped: ModuleType, digits: NDArray[Any], device: str
) -> None:
    body = f"return plain(await model.layerOutputs(x, {[*TAPS]}))"

    found = in_page(page, body, digits, device)

    with tapped.Model() as model:
        expected = model.layer_outputs(digits)
    # JavaScript sorts nothing: they come in the order of the model.
    assert list(found) == list(TAPS)
    for name, array in expected.items():
        assert found[name]["shape"] == [*array.shape[1:]]
        actual = np.reshape(found[name]["data"], array.shape)
        assert np.allclose(actual, array, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_predictions_give_the_model_s_outputs_alone(
    page: Page, tapped: ModuleType, digits: NDArray[Any], device: str
) -> None:
    body = "return Array.from(await model.predict(x))"

    found = in_page(page, body, digits, device)

    assert np.allclose(np.reshape(found, (3, 10)), tapped.predict(digits), atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_stages_come_beside_taps(
    page: Page, tapped: ModuleType, digits: NDArray[Any], device: str
) -> None:
    names = in_page(
        page,
        """const outputs = await model.layerOutputs(x);
        const stages = model.stages.map(({name}) => name);
        const known = [...model.taps, ...model.stages].map(({name}) => name);
        const some = await model.layerOutputs(x, [stages[2], "flatten"]);
        const right = Object.keys(outputs).every((name) => known.includes(name));
        return [right, Object.keys(some).length];""",
        digits,
        device,
    )

    assert tapped.TAPS
    assert names == [True, 2]


def test_unknown_layers_are_refused_in_a_sentence(
    page: Page, tapped: ModuleType, digits: NDArray[Any]
) -> None:
    body = """try { await model.layerOutputs(x, ["conv"]); }
        catch (error) { return `${error.name}: ${error.message}`; }"""

    text = in_page(page, body, digits, "cpu")

    assert tapped.TAPS
    assert text.startswith('TypeError: there is no layer or stage "conv"; there are ')
    assert "conv2d, flatten, dense_1" in text


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("index", [None, 7, [3, 1, 4]])
def test_class_activation_maps_are_python_s(
    page: Page,
    tapped: ModuleType,
    digits: NDArray[Any],
    index: int | list[int] | None,
    device: str,
) -> None:
    options = "{}" if index is None else f"{{classIndex: {index}}}"
    body = f"return plain({{map: await model.classActivationMap(x, {options})}}).map"

    found = in_page(page, body, digits, device)

    with tapped.Model() as model:
        expected = model.class_activation_map(digits, index)
    assert found["shape"] == [24, 24]
    assert np.allclose(np.reshape(found["data"], expected.shape), expected, atol=1e-5)
    assert expected.max() == 1


def test_maps_free_what_they_made(
    page: Page, tapped: ModuleType, digits: NDArray[Any]
) -> None:
    # The page's fixture counts what lives on.
    device = in_page(
        page,
        """await model.classActivationMap(x);
        await model.use("cpu");
        await model.classActivationMap(x);
        return model.device;""",
        digits,
        "webgl2",
    )

    assert tapped.TAPS
    assert device == "cpu"


def test_maps_that_are_asked_for_at_once_share_their_programs(
    page: Page, tapped: ModuleType, digits: NDArray[Any]
) -> None:
    counts = in_page(
        page,
        """await model.predict(x);
        const before = living.Program;
        await Promise.all([1, 2, 3].map(() => model.classActivationMap(x)));
        const after = living.Program;
        await model.classActivationMap(x);
        return [before, after, living.Program];""",
        digits,
        "webgl2",
    )

    plan = json.loads((tapped.HERE / "shaders" / "cam" / "plan.json").read_text())
    assert counts[1] - counts[0] == len(plan["programs"])
    assert counts[2] == counts[1]


def test_a_class_that_is_not_there_is_an_error(
    page: Page, tapped: ModuleType, digits: NDArray[Any]
) -> None:
    body = """try { await model.classActivationMap(x, {classIndex: 10}); }
        catch (error) { return `${error.name}: ${error.message}`; }"""

    text = in_page(page, body, digits, "cpu")

    assert tapped.TAPS
    assert text == "RangeError: the classes are 0 to 9, not 10"


@pytest.mark.usefixtures("small")
def test_packages_without_maps_say_so(page: Page) -> None:
    text = ask(
        page,
        """async () => {
            const model = await harness.load("small");
            try {
                await model.classActivationMap([]);
            } catch (error) {
                return `${error.name}: ${error.message}`;
            } finally {
                model.dispose();
            }
        }""",
    )

    assert text == "TypeError: the package was compiled without class activation maps"


def test_node_makes_the_same_maps(
    tapped: ModuleType, tmp_path: Path, digits: NDArray[Any]
) -> None:
    (tmp_path / "digits.json").write_text(json.dumps(digits.tolist()))
    (tmp_path / "maps.mjs").write_text(NODE)
    module = tapped.HERE / "web" / "model.js"

    answer = subprocess.run(
        [
            *(program("node"), str(tmp_path / "maps.mjs"), module.as_uri()),
            str(tmp_path / "digits.json"),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout

    with tapped.Model() as model:
        expected = model.class_activation_map(digits, [3, 1, 4])
    found = json.loads(answer)
    assert np.allclose(np.reshape(found["data"], expected.shape), expected, atol=1e-5)
