"""One package, several limits: the page takes the highest plan that the device fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page
from web.browser import ask
from web.web_package import write_package

from keramos.expr import operand
from keramos.graph import Graph, Value, apply, literal
from keramos.plan.layout import Limits
from keramos.primitives import Conv, Map, Spec

LADDER = (64, 256, 4096)


@pytest.fixture(scope="module")
def convolution(root: Path) -> Graph:
    """Write ``ladder/`` with a plan for each limit; return its graph."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3, 4, 32)).astype(np.float32)
    x = Value(Spec((24, 24, 4)), name="x")
    plain = Conv((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1))
    (y,) = apply(plain, x, literal(kernel, name="kernel"))
    graph = Graph((x,), apply(Map(operand(0) * operand(0)), y), ("y",))
    ladder = [Limits(texture_size=size) for size in LADDER]
    write_package(graph, root / "ladder", limits=ladder)
    return graph


def run(
    page: Page, x: np.ndarray[Any, Any], options: dict[str, int]
) -> Any:  # noqa: ANN401
    return ask(
        page,
        """async ([x, options]) => {
            const asked = [];
            const load = (url, init) => {
                asked.push(new URL(url).pathname);
                return fetch(url, init);
            };
            const model = await harness.load("ladder", {...options, fetch: load});
            const output = Array.from(await model.predict(x));
            const {textureSize} = model;
            model.dispose();
            return [textureSize, output, asked];
        }""",
        [x.ravel().tolist(), options],
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 4096),
        ({"maxTextureSize": 4096}, 4096),
        ({"maxTextureSize": 2048}, 256),
        ({"maxTextureSize": 100}, 64),
    ],
)
def test_the_highest_plan_that_fits_is_run(
    page: Page, convolution: Graph, options: dict[str, int], expected: int
) -> None:
    x = np.random.default_rng(1).standard_normal((1, 24, 24, 4)).astype(np.float32)
    (y,) = convolution.evaluate(x)

    size, output, asked = run(page, x, options)

    assert size == expected
    assert np.allclose(output, y.ravel(), rtol=1e-4, atol=1e-3)
    assert sum(path.endswith("weights.safetensors") for path in asked) == 1


@pytest.mark.usefixtures("convolution")
def test_only_shaders_of_the_plan_are_fetched(root: Path, page: Page) -> None:
    x = np.zeros((1, 24, 24, 4), np.float32)

    _, _, asked = run(page, x, {"maxTextureSize": 100})

    fetched = {path.rpartition("/")[2] for path in asked if path.endswith(".frag")}
    stored = {path.name for path in (root / "ladder" / "shaders").glob("*.frag")}
    assert fetched < stored
