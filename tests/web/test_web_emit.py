"""What is emitted for the web stays what it is, whatever a model's names are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from playwright.sync_api import Page
from small_graphs import value
from web.browser import ask
from web.web_package import write_package

from keramos.expr import call, operand
from keramos.graph import Graph, apply
from keramos.primitives import Map

HOSTILE = '</script>"; throw "\u2028\\ */ `${1}` __proto__'


def hostile() -> Graph:
    x = value(3, name=HOSTILE)
    y = value(3, name="__proto__")
    (total,) = apply(Map(operand(0) + operand(1)), x, y)
    (larger,) = apply(Map(call("lt", operand(0), operand(1)), "bool"), y, x)
    return Graph((x, y), (total, larger), (f"{HOSTILE}!", "__proto__"))


def test_hostile_names_come_back_as_they_are(root: Path, page: Page) -> None:
    write_package(hostile(), root / "hostile")

    names, outputs, kinds = ask(
        page,
        """async () => {
            const model = await harness.load("hostile");
            const output = await model.predict([[1, 2, 3], [3, 2, 1]]);
            const inputs = model.inputs.map(({name}) => name);
            model.dispose();
            return [
                [...inputs, ...Object.keys(output)],
                Object.values(output).map((y) => Array.from(y)),
                Object.values(output).map((y) => y.constructor.name),
            ];
        }""",
    )

    assert names == [HOSTILE, "__proto__", f"{HOSTILE}!", "__proto__"]
    assert outputs == [[4, 4, 4], [0, 0, 1]]
    assert kinds == ["Float32Array", "Uint8Array"]


def test_the_same_graph_gives_the_same_files(tmp_path: Path) -> None:
    first, second = (
        write_package(hostile(), tmp_path / folder / "hostile") for folder in "ab"
    )

    assert first == second


def test_the_web_files_are_ascii(tmp_path: Path) -> None:
    files = write_package(hostile(), tmp_path / "hostile")

    assert all(data.isascii() for path, data in files.items() if "web/" in path)


def test_npm_publishes_what_the_module_fetches(tmp_path: Path) -> None:
    files = write_package(hostile(), tmp_path / "hostile")
    package = json.loads(files["package.json"])
    published = [
        path
        for path in files
        if path.startswith(tuple(entry for entry in package["files"]))
    ]

    assert set(files) - set(published) == {"_gl.py", "package.json"}
    assert package["exports"]["."]["default"] == "./web/model.js"


def test_weights_of_another_model_are_refused(root: Path, page: Page) -> None:
    files = write_package(hostile(), root / "swapped")
    (root / "swapped" / "weights.safetensors").write_bytes(
        np.frombuffer(files["weights.safetensors"], np.uint8)[::-1].tobytes()
    )

    text = ask(page, "() => harness.load('swapped').catch(({message}) => message)")

    assert text == ("weights.safetensors isn't the file that belongs to this package")
