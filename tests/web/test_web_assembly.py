"""The CPU path runs in WebAssembly where the page's policy allows it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from importlib.resources import as_file
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page
from web.browser import PAGE, POLICY, ask, program, served, violations

from keramos import compile_model, examples

ALLOWING = f"{POLICY}; script-src 'self' 'wasm-unsafe-eval'"


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    """Compile ``assembly/``, and return where it lies."""
    with as_file(examples.digits("digits.keras")) as model:
        compile_model(model, root, name="assembly")
    return root


@pytest.fixture
def allowed(browser_page: Page, folder: Path) -> Iterator[Page]:
    """Return a page under a policy that allows WebAssembly."""
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    with served(folder, policy=ALLOWING) as address:
        page = browser_page.context.new_page()
        page.goto(f"{address}/index.html")
        page.wait_for_function("() => window.harness")
        yield page
        assert violations(page) == []
        page.close()


def loaded(page: Page, options: dict[str, object]) -> Any:  # noqa: ANN401 - JSON
    """Return where the model runs on the CPU, and what it gives for two samples."""
    return ask(
        page,
        """async (options) => {
            const model = await harness.load("assembly", { device: "cpu", ...options });
            const { stages } = await model.verify();
            const pixels = Float32Array.from({ length: 1568 }, (_, k) => (k % 7) / 7);
            const output = await model.predict(pixels, { sliceMs: 1 });
            const { renderer } = model;
            model.dispose();
            return [renderer, stages, Array.from(output)];
        }""",
        options,
    )


@pytest.mark.usefixtures("folder")
def test_a_strict_policy_means_plain_javascript_without_a_violation(page: Page) -> None:
    renderer, _, _ = loaded(page, {})

    assert renderer == "JavaScript"


def test_kernels_run_where_the_policy_allows_them(allowed: Page) -> None:
    plain, stages, expected = loaded(allowed, {"wasm": False})
    renderer, same, actual = loaded(allowed, {})

    assert (plain, renderer, same) == ("JavaScript", "WebAssembly", stages)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


def test_a_meta_element_can_forbid_kernels(allowed: Page) -> None:
    allowed.evaluate(
        """(policy) => {
            const meta = document.createElement("meta");
            meta.httpEquiv = "Content-Security-Policy";
            meta.content = policy;
            document.head.append(meta);
        }""",
        POLICY,
    )

    assert loaded(allowed, {})[0] == "JavaScript"


@pytest.mark.usefixtures("folder")
def test_trying_without_asking_falls_back_where_it_is_refused(
    browser_page: Page,
) -> None:
    browser_page.evaluate("violations.length = 0")

    renderer, _, _ = loaded(browser_page, {"wasm": True})

    assert renderer == "JavaScript"
    reported = browser_page.evaluate("violations.splice(0)")
    assert reported == ["script-src wasm-eval"]


def test_a_browser_without_simd_runs_plain_javascript(allowed: Page) -> None:
    allowed.evaluate("WebAssembly.validate = () => false")

    assert loaded(allowed, {})[0] == "JavaScript"


def test_changed_kernels_are_refused(allowed: Page) -> None:
    text = ask(
        allowed,
        """() => harness.load("assembly", {
            device: "cpu",
            fetch: async (url, init) => {
                const response = await fetch(url, init);
                if (!url.pathname.endsWith(".wasm")) return response;
                const bytes = new Uint8Array(await response.arrayBuffer());
                bytes[bytes.length - 3] ^= 1;
                return new Response(bytes);
            },
        }).then(() => "loaded", (error) => `${error.name}: ${error.message}`)""",
    )

    assert text == "LoadError: web/cpu.wasm isn't the file that belongs to this package"


@pytest.mark.parametrize(
    ("options", "renderer"), [("{}", "WebAssembly"), ("{ wasm: false }", "JavaScript")]
)
def test_node_runs_kernels(folder: Path, options: str, renderer: str) -> None:
    path = folder / "assembly" / "web" / "model.js"
    script = f"""const {{ load }} = await import("{path.as_uri()}");
        const model = await load({options});
        await model.verify();
        console.log(JSON.stringify(model.renderer));"""
    command = [program("node"), "--input-type=module", "-e", script]

    done = subprocess.run(command, check=True, capture_output=True, text=True)

    assert json.loads(done.stdout) == renderer
