"""One page for all tests of the web target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import (
    ConsoleMessage,
    Error,
    Page,
    Playwright,
    sync_playwright,
)
from small_graphs import value, weight
from web.browser import opened, violations
from web.web_package import write_package

from keramos.expr import call, operand
from keramos.graph import Graph, apply
from keramos.primitives import Conv, Map, Reshape, Softmax


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the page's server serves."""
    return tmp_path_factory.mktemp("web")


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Return what drives browsers; there can be one in a process."""
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser_page(playwright: Playwright, root: Path) -> Iterator[Page]:
    """Return a page in Chromium on llvmpipe."""
    with opened(playwright, root, gpu="llvmpipe") as page:
        yield page


@pytest.fixture
def page(browser_page: Page) -> Iterator[Page]:
    """Return that page; the test fails if it violates the policy, leaks or warns.

    Promises whose rejection nobody handles count as warnings.
    """
    warnings: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "warning":
            warnings.append(message.text)

    def uncaught(error: Error) -> None:
        warnings.append(str(error))

    browser_page.on("console", note)
    browser_page.on("pageerror", uncaught)
    reset = "for (const kind of Object.keys(living)) living[kind] = 0"
    browser_page.evaluate(reset)
    yield browser_page
    browser_page.remove_listener("console", note)
    browser_page.remove_listener("pageerror", uncaught)
    assert warnings == []
    assert violations(browser_page) == []
    living = browser_page.evaluate("living")
    assert living == dict.fromkeys(living, 0)


@pytest.fixture(scope="session")
def small(root: Path) -> Graph:
    """Write ``small/``, a convolution and a softmax; return its graph."""
    x = value(6, 6, 3, name="image")
    valid = ((0, 0), (0, 0))
    conv = Conv((1, 1), valid, (1, 1), (1, 1))
    (y,) = apply(conv, x, weight("conv/kernel", 3, 3, 3, 8))
    (y,) = apply(Map(call("tanh", operand(0))), y)
    (y,) = apply(Reshape((128,)), y)
    (y,) = apply(Softmax(0), y)
    graph = Graph((x,), (y,), ("scores",), "small")
    write_package(graph, root / "small", batch=2)
    return graph


@pytest.fixture(scope="session")
def images() -> list[float]:
    """Return three samples for ``small/``, as flat numbers."""
    numbers = np.random.default_rng(0).uniform(-1, 1, 3 * 6 * 6 * 3)
    return [float(x) for x in numbers.astype(np.float32)]


@pytest.fixture(scope="session")
def scores(small: Graph, images: list[float]) -> list[float]:
    """Return what ``small/`` makes of these samples."""
    x = np.array(images, np.float32).reshape(3, 6, 6, 3)
    (y,) = small.evaluate(x)
    return [float(v) for v in y.ravel()]
