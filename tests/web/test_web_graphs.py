"""Drawn graphs give their numbers in Chromium: on both devices, in page and worker."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray
from playwright.sync_api import Page, Playwright
from strategies_cells import cells
from strategies_graphs import graphs, inputs_for
from strategies_products import always, products
from web.browser import ask, opened
from web.web_package import write_package

from keramos.graph import Graph
from keramos.plan.layout import Profile
from keramos.plan.profile import PROFILES, limits

TOLERANCE = 1e-5
# The outputs of a package on both devices, in the page and in a worker.
RUNS = """async ([folder, input]) => {
    const answers = [];
    for (const device of ["webgl2", "cpu"]) {
        answers.push(await harness.predict(folder, input, { device }));
        const there = await harness.predictInWorker(folder, input, { device });
        answers.push(there.outputs);
    }
    return answers;
}"""

Array = NDArray[Any]


def named(graph: Graph, inputs: Sequence[Array]) -> dict[str, list[float]]:
    return {
        value.name: x.astype(np.float32).ravel().tolist()
        for value, x in zip(graph.inputs, inputs, strict=True)
    }


def agree(actual: Sequence[list[float]], expected: Sequence[Array]) -> bool:
    return all(
        np.abs(np.array(a) - e.ravel()).max(initial=0)
        <= TOLERANCE * max(1.0, np.abs(e).max(initial=0))
        for a, e in zip(actual, expected, strict=True)
    )


def evaluate(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    return [y.astype(np.float64) for y in graph.evaluate(*inputs)]


def check_in(page: Page, root: Path, graph: Graph, profile: Profile) -> None:
    """Raise AssertionError where the page's numbers aren't the graph's."""
    folder = Path(mkdtemp(prefix="graph_", dir=root)).name
    write_package(graph, root / folder, limits=limits(64, profile), batch=2, cpu=True)
    inputs = inputs_for(graph, 3, np.random.default_rng(0))

    answers = ask(page, RUNS, [folder, named(graph, inputs)])

    expected = evaluate(graph, inputs)
    assert [agree(answer, expected) for answer in answers] == [True] * 4


@pytest.mark.parametrize("profile", PROFILES)
@given(graph=graphs(free=False))
def test_drawn_graphs_agree_on_llvmpipe(
    root: Path, browser_page: Page, profile: Profile, graph: Graph
) -> None:
    check_in(browser_page, root, graph, profile)


@given(graph=cells())
def test_drawn_cells_agree_on_llvmpipe(
    root: Path, browser_page: Page, graph: Graph
) -> None:
    check_in(browser_page, root, graph, "gpu")


@given(graph=products())
def test_drawn_products_of_one_input_agree_on_llvmpipe(
    root: Path, browser_page: Page, graph: Graph
) -> None:
    with always():
        check_in(browser_page, root, graph, "gpu")


@pytest.mark.parametrize("profile", PROFILES)
def test_drawn_graphs_agree_on_swiftshader(
    playwright: Playwright, tmp_path: Path, profile: Profile
) -> None:
    with opened(playwright, tmp_path, gpu="swiftshader") as page:

        @given(graph=graphs(free=False))
        def check(graph: Graph) -> None:
            check_in(page, tmp_path, graph, profile)

        check()


@pytest.mark.usefixtures("small")
def test_the_browser_compiles_the_texts_of_the_package(
    root: Path, page: Page, images: list[float]
) -> None:
    page.evaluate("sources.length = 0")
    ask(page, "(x) => harness.predict('small', x)", images)
    texts = page.evaluate("sources")
    compiled = {
        sha256(text.removeprefix("#version 300 es\n").encode()).hexdigest()
        for text in texts
    }

    stored = {
        sha256(path.read_bytes()).hexdigest()
        for path in (root / "small" / "shaders").glob("*.frag")
    }

    assert stored
    assert stored <= compiled
    assert len(compiled) == len(stored) + 1  # the vertex shader
