"""Weights in fewer bits give in Chromium what they give in the graph."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from playwright.sync_api import Page
from strategies_graphs import graphs
from web.browser import ask
from web.test_web_graphs import check_in

from keramos import compile_model
from keramos.graph import Graph, Storage
from keramos.passes.round_weights import round_weights

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.keras"
STORAGES: tuple[Storage, ...] = ("float16", "uint8")
VERIFY = """async ([name, device]) => {
    const model = await harness.load(name, {device});
    return model.verify().finally(() => model.dispose());
}"""
# Devices that render to halves alone, and the browser's own way back.
HALVES_ALONE = """() => {
    const gl = WebGL2RenderingContext.prototype;
    window.extension ??= gl.getExtension;
    gl.getExtension = function (name) {
        return name === "EXT_color_buffer_float" ? null : extension.call(this, name);
    };
}"""
FLOATS_TOO = "() => { WebGL2RenderingContext.prototype.getExtension = extension; }"


@pytest.mark.parametrize("storage", STORAGES)
def test_drawn_graphs_agree_when_rounded(
    root: Path, browser_page: Page, storage: Storage
) -> None:
    @settings(max_examples=10)
    @given(graph=graphs(free=False, kinds=("conv", "contract", "gather", "scan")))
    def check(graph: Graph) -> None:
        check_in(
            browser_page, root, round_weights(graph, storage, fewest=1, terms=1), "gpu"
        )

    check()


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("device", ["webgl2", "cpu"])
def test_digits_verify_themselves(
    root: Path, page: Page, storage: Storage, device: str
) -> None:
    name = f"digits_{storage}"
    compile_model(DIGITS, root, name=name, weights=storage)

    report = ask(page, VERIFY, [name, device])

    assert report["device"] == device
    assert report["stages"] > 1


def test_results_stored_as_halves_verify_themselves(root: Path, page: Page) -> None:
    compile_model(DIGITS, root, name="halves", storage="float16")

    report = ask(page, VERIFY, ["halves", "webgl2"])

    assert report["allowed"] < 1e-2
    assert report["error"] <= report["allowed"]


def test_devices_that_render_to_halves_alone_run_packages_of_halves(
    root: Path, page: Page
) -> None:
    compile_model(DIGITS, root, name="floats")
    compile_model(DIGITS, root, name="halves", storage="float16")

    page.evaluate(HALVES_ALONE)
    try:
        report = ask(page, VERIFY, ["halves", "webgl2"])
        text = ask(page, "() => harness.load('floats').catch(({message}) => message)")
    finally:
        page.evaluate(FLOATS_TOO)

    assert report["device"] == "webgl2"
    assert text == "this GPU can't render to float textures"
