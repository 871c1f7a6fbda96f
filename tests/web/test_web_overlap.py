"""Shaders are compiled while the weights are on their way, whatever goes wrong then."""

from __future__ import annotations

from importlib.resources import as_file
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from web.browser import ask

from keramos import compile_model, examples

# In each test: `hold()` gives a fetch that keeps the weights back until `release` is
# called, or `refuse`; `compiled` is a promise that all programs are compiled, with
# `onProgress` telling; `asked` the names of the files that were fetched.
HELD = """
    const asked = [];
    let release, refuse, compile;
    const held = new Promise((...settle) => { [release, refuse] = settle; });
    held.catch(() => {});
    const compiled = new Promise((resolve) => { compile = resolve; });
    const onProgress = ({ phase, done, total }) => {
        if (phase === "compile" && done === total) compile();
    };
    const hold = async (url, init) => {
        asked.push(url.pathname.split("/").at(-1));
        if (url.pathname.endsWith("weights.safetensors")) {
            const { signal } = init;
            const stop = new Promise((_, reject) => {
                signal?.addEventListener("abort", () => reject(signal.reason));
            });
            await Promise.race([held, stop]);
        }
        return fetch(url, init);
    };
    const told = (error) => `${error.name}: ${error.message}`;
    const ZEROS = new Float32Array(28 * 28);
"""
TURN = "await new Promise((resolve) => setTimeout(resolve));"
# Shaders that no driver takes; `abandoned` is a promise that the GPU was given back.
BROKEN = """
    const { shaderSource, getExtension } = WebGL2RenderingContext.prototype;
    const abandoned = new Promise((resolve) => {
        WebGL2RenderingContext.prototype.getExtension = function (name) {
            if (name === "WEBGL_lose_context") resolve();
            return getExtension.call(this, name);
        };
    });
    WebGL2RenderingContext.prototype.shaderSource = function (shader, text) {
        shaderSource.call(this, shader, text.replace("void main()", "void main("));
    };
    const restore = () => {
        Object.assign(WebGL2RenderingContext.prototype, { shaderSource, getExtension });
    };
"""


@pytest.fixture(scope="module", autouse=True)
def _package(root: Path) -> None:
    """Compile ``overlap/``."""
    with as_file(examples.digits("digits.keras")) as model:
        compile_model(model, root, name="overlap", cam="auto")


def in_page(page: Page, body: str) -> Any:  # noqa: ANN401
    """Return what *body* returns, which has what HELD declares."""
    return ask(page, f"async () => {{ {HELD} {body} }}")


@pytest.mark.parametrize("parallel", ["true", "false"])
def test_all_programs_are_compiled_before_the_weights_arrive(
    page: Page, parallel: str
) -> None:
    device, error = in_page(
        page,
        f"""
        const {{ getExtension }} = WebGL2RenderingContext.prototype;
        WebGL2RenderingContext.prototype.getExtension = function (name) {{
            const asked = {parallel} || name !== "KHR_parallel_shader_compile";
            return asked ? getExtension.call(this, name) : null;
        }};
        const loading = harness.load("overlap", {{ fetch: hold, onProgress }});
        await compiled.then(release);
        const model = await loading;
        WebGL2RenderingContext.prototype.getExtension = getExtension;
        const {{ device }} = model;
        const {{ error, allowed }} = await model.verify();
        model.dispose();
        return [device, error / allowed];""",
    )

    assert device == "webgl2"
    assert error <= 1


def test_every_program_draws_before_the_weights_arrive(page: Page) -> None:
    drawn, programs = in_page(
        page,
        """
        const { drawArrays } = WebGL2RenderingContext.prototype;
        const drawn = new Set();
        let draw;
        const all = new Promise((resolve) => { draw = resolve; });
        WebGL2RenderingContext.prototype.drawArrays = function (...details) {
            drawn.add(this.getParameter(this.CURRENT_PROGRAM));
            if (drawn.size === living.Program) draw();
            drawArrays.apply(this, details);
        };
        const loading = harness.load("overlap", { fetch: hold });
        await all;
        WebGL2RenderingContext.prototype.drawArrays = drawArrays;
        release();
        const model = await loading;
        const { Program } = model.counts;
        model.dispose();
        return [drawn.size, Program];""",
    )

    assert drawn == programs > 1


def test_waiting_for_weights_does_not_count_as_building(page: Page) -> None:
    load, build, waited = in_page(
        page,
        """
        const loading = harness.load("overlap", { fetch: hold, onProgress });
        await compiled;
        const start = performance.now();
        while (performance.now() - start < 300) await 0;
        release();
        const waited = performance.now() - start;
        const model = await loading;
        const { load, build } = model.stats;
        model.dispose();
        return [load, build, waited];""",
    )

    assert load - build > waited


def test_weights_that_fail_after_the_shaders_leave_nothing_behind(page: Page) -> None:
    text = in_page(
        page,
        """
        const loading = harness.load("overlap", {
            device: "auto", fetch: hold, onProgress,
        });
        await compiled;
        refuse(new Error("gone"));
        return loading.then(() => "loaded", told);""",
    )

    assert text.startswith("LoadError: ")
    assert text.endswith("/overlap/weights.safetensors can't be fetched: gone")
    assert page.evaluate("living.Program + living.Shader") == 0


def test_weights_that_fail_before_the_shaders_are_compiled_stop_it(page: Page) -> None:
    text = in_page(
        page,
        """
        const stop = ({ phase }) => phase === "compile" && refuse(new Error("gone"));
        const loading = harness.load("overlap", { fetch: hold, onProgress: stop });
        return loading.then(() => "loaded", told);""",
    )

    assert text.endswith(": gone")
    assert page.evaluate("living.Program + living.Shader") == 0


def test_weights_are_fetched_once_where_a_shader_fails(page: Page) -> None:
    device, fallback, count, asked = in_page(
        page,
        f"""{BROKEN}
        const loading = harness.load("overlap", {{ device: "auto", fetch: hold }});
        await abandoned;
        restore();
        release();
        const model = await loading;
        const {{ device, fallback }} = model;
        const output = await model.predict(ZEROS);
        model.dispose();
        return [device, fallback, output.length, asked];""",
    )

    assert (device, count) == ("cpu", 10)
    assert "doesn't compile here: " in fallback
    assert asked.count("weights.safetensors") == 1


def test_a_shader_and_then_the_weights_may_fail(page: Page) -> None:
    text = in_page(
        page,
        f"""{BROKEN}
        const loading = harness.load("overlap", {{ device: "auto", fetch: hold }});
        await abandoned;
        restore();
        refuse(new Error("gone"));
        return loading.then(() => "loaded", told);""",
    )

    assert text.startswith("LoadError: ")
    assert text.endswith(": gone")


def test_a_failing_shader_is_an_error_though_weights_are_late(page: Page) -> None:
    text = in_page(
        page,
        f"""{BROKEN}
        const loading = harness.load("overlap", {{ fetch: hold }});
        const text = await loading.then(() => "loaded", told);
        restore();
        refuse(new Error("gone"));
        {TURN}
        return text;""",
    )

    assert text.startswith("DeviceError: ")
    assert "doesn't compile here: " in text


@pytest.mark.parametrize("phase", ["download", "compile"])
def test_loading_is_aborted_in_each_phase(page: Page, phase: str) -> None:
    text = in_page(
        page,
        f"""
        const controller = new AbortController();
        const {{ signal }} = controller;
        const stop = (event) => event.phase === "{phase}" && controller.abort();
        const options = {{ device: "auto", fetch: hold, signal, onProgress: stop }};
        return harness.load("overlap", options).then(() => "loaded", told);""",
    )

    assert text.startswith("AbortError: ")
    assert page.evaluate("living.Program + living.Shader") == 0


def test_a_signal_that_aborts_after_loading_changes_nothing(page: Page) -> None:
    length = in_page(
        page,
        """
        release();
        const controller = new AbortController();
        const { signal } = controller;
        const model = await harness.load("overlap", { fetch: hold, signal });
        controller.abort();
        const output = await model.predict(ZEROS);
        model.dispose();
        return output.length;""",
    )

    assert length == 10


# Right after programs were linked, or when everything waits for the weights.
@pytest.mark.parametrize(
    ("wait", "restored"), [("", True), (TURN, True), (TURN, False)]
)
def test_a_context_lost_while_weights_are_late_is_survived(
    page: Page, wait: str, *, restored: bool
) -> None:
    restore = "loss.restoreContext();" if restored else ""
    device, error = in_page(
        page,
        f"""
        const canvas = document.createElement("canvas");
        const loading = harness.load("overlap", {{
            device: "auto", canvas, fetch: hold, onProgress,
        }});
        await compiled;
        {wait}
        const gl = canvas.getContext("webgl2");
        const loss = gl.getExtension("WEBGL_lose_context");
        const lost = new Promise((resolve) =>
            canvas.addEventListener("webglcontextlost", resolve));
        loss.loseContext();
        await lost;
        {TURN}
        {restore}
        release();
        const model = await loading;
        const {{ device }} = model;
        const {{ error, allowed }} = await model.verify();
        model.dispose();
        // What was lost couldn't be deleted.
        for (const kind of Object.keys(living)) living[kind] = 0;
        return [device, error / allowed];""",
    )

    assert device == ("webgl2" if restored else "cpu")
    assert error <= 1


def test_a_context_that_is_lost_again_and_again_means_javascript(page: Page) -> None:
    device, fallback = in_page(
        page,
        """
        release();
        const canvas = document.createElement("canvas");
        const loss = canvas.getContext("webgl2").getExtension("WEBGL_lose_context");
        const { drawArrays } = WebGL2RenderingContext.prototype;
        WebGL2RenderingContext.prototype.drawArrays = function (...details) {
            drawArrays.apply(this, details);
            if (!this.isContextLost()) loss.loseContext();
        };
        canvas.addEventListener("webglcontextlost", (event) => {
            event.preventDefault(); // else it can't be restored
            setTimeout(() => loss.restoreContext());
        });
        const options = { device: "auto", canvas, fetch: hold };
        const model = await harness.load("overlap", options);
        WebGL2RenderingContext.prototype.drawArrays = drawArrays;
        const { device, fallback } = model;
        model.dispose();
        // What was lost couldn't be deleted.
        for (const kind of Object.keys(living)) living[kind] = 0;
        return [device, fallback];""",
    )

    assert device == "cpu"
    assert fallback == "the browser took the GPU away again and again"


@pytest.mark.parametrize("phase", ["download", "compile"])
def test_a_model_disposed_of_while_it_goes_to_the_gpu_stays_so(
    page: Page, phase: str
) -> None:
    text, device = in_page(
        page,
        f"""
        release();
        let model;
        const stop = ({{ phase }}) => phase === "{phase}" && model?.dispose();
        const options = {{ device: "cpu", fetch: hold, onProgress: stop }};
        model = await harness.load("overlap", options);
        const text = await model.use("auto").then(() => "used", told);
        return [text, model.device ?? null];""",
    )

    assert text == "DeviceError: the model was disposed of"
    assert device is None
    assert page.evaluate("living.Program + living.Shader") == 0


def test_the_last_of_several_devices_is_taken(page: Page) -> None:
    first, device, length = in_page(
        page,
        """
        release();
        const model = await harness.load("overlap", { device: "cpu", fetch: hold });
        const first = model.use("webgl2").then(() => "used", told);
        await model.use("cpu");
        const { device } = model;
        const output = await model.predict(ZEROS);
        model.dispose();
        return [await first, device, output.length];""",
    )

    assert first == "DeviceError: the model was disposed of"
    assert (device, length) == ("cpu", 10)
