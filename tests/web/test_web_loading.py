"""How a package's files come to the page, and what runs where WebGL 2 can't."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from hashlib import sha256
from importlib.resources import as_file
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from web.browser import ask, program

from keramos import compile_model, examples

ZEROS = "new Float32Array(28 * 28)"
# Shaders don't count: there are as many as the plan has programs.
FILES = ["plan.json", "weights.safetensors"]


@pytest.fixture(scope="module", autouse=True)
def _package(root: Path) -> None:
    """Compile ``loading/`` and the same below a folder."""
    with as_file(examples.digits("digits.keras")) as model:
        compile_model(model, root, name="loading", cam="auto")
        compile_model(model, root / "deep" / "er", name="loading", cam="auto")


def names(paths: list[str]) -> list[str]:
    """Return the names of files that aren't shaders."""
    found = [path.rpartition("/")[2] for path in paths]
    return sorted(name for name in found if not name.endswith(".frag"))


def test_a_cache_keeps_the_files(page: Page) -> None:
    first, second, outputs = ask(
        page,
        f"""async () => {{
            await caches.delete("models");
            const asked = [];
            const load = async () => {{
                const names = [];
                asked.push(names);
                return harness.load("loading", {{
                    cache: "models",
                    fetch: (url, init) => {{
                        names.push(new URL(url).pathname);
                        return fetch(url, init);
                    }},
                }});
            }};
            const outputs = [];
            for (let i = 0; i < 2; ++i) {{
                const model = await load();
                outputs.push(Array.from(await model.predict({ZEROS})));
                model.dispose();
            }}
            return [...asked, outputs];
        }}""",
    )

    assert names(first) == FILES
    assert second == []
    assert outputs[0] == outputs[1]


def test_cached_files_of_an_older_compilation_are_fetched_anew(page: Page) -> None:
    asked, device = ask(
        page,
        """async () => {
            await caches.delete("stale");
            const cache = await caches.open("stale");
            const stale = new URL("loading/weights.safetensors", location);
            await cache.put(stale, new Response(new Uint8Array(64)));
            const asked = [];
            const model = await harness.load("loading", {
                cache: "stale",
                fetch: (url, init) => {
                    asked.push(new URL(url).pathname);
                    return fetch(url, init);
                },
            });
            const { device } = model;
            model.dispose();
            return [asked, device];
        }""",
    )

    assert names(asked) == FILES
    assert device == "webgl2"


def test_headers_and_signals_go_with_every_request(page: Page) -> None:
    requests = ask(
        page,
        """async () => {
            const requests = [];
            const { signal } = new AbortController();
            const model = await harness.load("loading", {
                headers: { Authorization: "Bearer 7" },
                signal,
                fetch: (url, init) => {
                    const header = new Headers(init.headers).get("Authorization");
                    requests.push([header, init.signal === signal]);
                    return fetch(url, init);
                },
            });
            model.dispose();
            return requests;
        }""",
    )

    assert len(requests) > len(FILES)
    assert all(request == ["Bearer 7", True] for request in requests)


@pytest.mark.parametrize(
    "base",
    [
        "'deep/er/loading'",
        "'deep/er/loading/'",
        "new URL('deep/er/loading/', location)",
    ],
)
def test_files_may_lie_elsewhere(page: Page, base: str) -> None:
    asked = ask(
        page,
        f"""async () => {{
            const asked = [];
            const model = await harness.load("loading", {{
                base: {base},
                fetch: (url, init) => {{
                    asked.push(new URL(url).pathname);
                    return fetch(url, init);
                }},
            }});
            await model.verify();
            model.dispose();
            return asked;
        }}""",
    )

    assert asked
    assert all(path.startswith("/deep/er/loading/") for path in asked)


def test_a_package_in_a_sub_folder_finds_its_files(page: Page) -> None:
    report = ask(
        page,
        """async () => {
            const model = await harness.load("deep/er/loading");
            const report = await model.verify();
            model.dispose();
            return report;
        }""",
    )

    assert report["stages"] > 1


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "shaders/plan.json", "shaders/conv2d.frag"]
)
def test_a_changed_file_is_refused(page: Page, name: str) -> None:
    text = ask(
        page,
        """(name) => harness.load("loading", {
            fetch: async (url, init) => {
                const response = await fetch(url, init);
                if (!url.pathname.endsWith(name)) return response;
                const bytes = new Uint8Array(await response.arrayBuffer());
                bytes[bytes.length - 3] ^= 1;
                return new Response(bytes);
            },
        }).then(() => "loaded", (error) => `${error.name}: ${error.message}`)""",
        name,
    )

    assert text == f"LoadError: {name} isn't the file that belongs to this package"


def without(extension: str) -> str:
    """Return JavaScript that hides an extension of WebGL 2, then gives it back."""
    return f"""
        const {{ getExtension }} = WebGL2RenderingContext.prototype;
        WebGL2RenderingContext.prototype.getExtension = function (name) {{
            return name === "{extension}" ? null : getExtension.call(this, name);
        }};
        const restore = () => {{
            WebGL2RenderingContext.prototype.getExtension = getExtension;
        }};
    """


def loaded_without_floats(page: Page, device: str) -> Any:  # noqa: ANN401
    return ask(
        page,
        f"""async (device) => {{
            {without("EXT_color_buffer_float")}
            try {{
                const model = await harness.load("loading", {{device}});
                const {{ fallback }} = model;
                const taken = model.device;
                const map = await model.classActivationMap({ZEROS});
                const output = await model.predict({ZEROS});
                model.dispose();
                return [taken, fallback, output.length, map.shape];
            }} catch (error) {{
                return `${{error.name}}: ${{error.message}}`;
            }} finally {{
                restore();
            }}
        }}""",
        device,
    )


def test_a_gpu_without_float_textures_means_javascript(page: Page) -> None:
    device, fallback, count, shape = loaded_without_floats(page, "auto")

    assert device == "cpu"
    assert fallback == "this GPU can't render to float textures"
    assert (count, shape) == (10, [24, 24])


def test_a_gpu_without_float_textures_is_an_error_where_it_was_asked_for(
    page: Page,
) -> None:
    text = loaded_without_floats(page, "webgl2")

    assert text == "DeviceError: this GPU can't render to float textures"


def test_a_browser_without_webgl_2_means_javascript(page: Page) -> None:
    device, fallback = ask(
        page,
        """async () => {
            const { getContext } = HTMLCanvasElement.prototype;
            HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
                return kind === "webgl2" ? null : getContext.call(this, kind, ...rest);
            };
            try {
                const model = await harness.load("loading", {device: "auto"});
                const { device, fallback } = model;
                model.dispose();
                return [device, fallback];
            } finally {
                HTMLCanvasElement.prototype.getContext = getContext;
            }
        }""",
    )

    assert device == "cpu"
    assert fallback == "this browser has no WebGL 2 to give"


def test_runs_that_lose_the_gpu_together_go_on_without(page: Page) -> None:
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_function("() => window.harness")
    ask(
        other,
        """async () => {
            window.canvas = document.createElement("canvas");
            window.model = await harness.load("loading", {device: "auto", canvas});
        }""",
    )
    other.clock.install()
    other.evaluate("""() => {
            const x = new Float32Array(model.inputs[0].shape.reduce((a, b) => a * b));
            canvas.getContext("webgl2").getExtension("WEBGL_lose_context").loseContext();
            window.late = Promise.allSettled([0, 1, 2].map(() => model.predict(x)));
        }""")
    for _ in range(3):  # each run waits for the context on its own
        other.clock.run_for(10_000)

    answers, device, fallback = other.evaluate("""async () => {
            const answers = (await late).map(({status, value, reason}) =>
                status === "fulfilled" ? Array.from(value) : String(reason));
            return [answers, model.device, model.fallback];
        }""")

    other.close()
    assert (device, fallback) == ("cpu", "the browser took the GPU away and kept it")
    assert [len(answer) for answer in answers] == [10, 10, 10]
    assert answers[0] == answers[1] == answers[2]


def test_npm_packs_what_node_imports(root: Path, tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm on this machine")
    command = [npm, "pack", "--json", "--offline", "--pack-destination", str(tmp_path)]
    done = subprocess.run(
        command, cwd=root / "loading", check=True, capture_output=True, text=True
    )
    (packed,) = json.loads(done.stdout)
    with tarfile.open(tmp_path / packed["filename"]) as archive:
        archive.extractall(tmp_path / "node_modules", filter="data")
    (tmp_path / "node_modules" / "package").rename(tmp_path / "node_modules/loading")
    (tmp_path / "main.mjs").write_text("""import { load } from "loading";
        const model = await load();
        console.log((await model.verify()).device);""")

    output = subprocess.run(
        [program("node"), "main.mjs"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert output == "cpu\n"
    assert not [file for file in packed["files"] if file["path"].endswith(".py")]


@pytest.fixture(scope="module")
def told(root: Path) -> Any:  # noqa: ANN401
    """Return what a model in Node tells."""
    command = [program("node"), str(Path(__file__).parent / "progress.mjs")]
    output = subprocess.run(
        [*command, str(root / "loading")], check=True, capture_output=True, text=True
    ).stdout
    return json.loads(output)


def test_node_tells_how_much_of_the_weights_is_read(
    root: Path, told: Any  # noqa: ANN401
) -> None:
    weights = (root / "loading" / "weights.safetensors").stat().st_size
    kernels = (root / "loading" / "web" / "cpu.wasm").stat().st_size

    events = [e for e in told["events"] if e["phase"] == "download"]

    done = [event["done"] for event in events]
    parts = [after - before for before, after in pairwise([0, *done])]
    assert sorted(parts) == sorted([kernels, 1 << 20, weights - (1 << 20)])
    assert events[-1]["total"] == weights + kernels


def test_node_reads_large_files_in_parts(root: Path, tmp_path: Path) -> None:
    size = 2_500_000
    data = bytes(range(250)) * (size // 250)
    (tmp_path / "large.bin").write_bytes(data)
    digests = {"large.bin": {"bytes": size, "sha256": sha256(data).hexdigest()}}
    module = (root / "loading" / "web" / "files.js").as_uri()
    text = f"""import {{ Files }} from "{module}";
        const done = [];
        const onProgress = (event) => done.push(event.done);
        const base = "{tmp_path.as_uri()}";
        const files = new Files({json.dumps(digests)}, base, {{ onProgress }});
        await files.read("large.bin");
        console.log(JSON.stringify(done));"""

    output = subprocess.run(
        [program("node"), "--input-type=module", "--eval", text],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert json.loads(output) == [1 << 20, 2 << 20, size]


def test_a_connection_that_breaks_is_told_of(page: Page) -> None:
    text = ask(
        page,
        """() => harness.load("loading", {
            fetch: async (url, init) => {
                const response = await fetch(url, init);
                if (!url.pathname.endsWith("weights.safetensors")) return response;
                const bytes = new Uint8Array(await response.arrayBuffer());
                let begun = false;
                const pull = (controller) => {
                    if (begun) controller.error(new TypeError("network error"));
                    else controller.enqueue(bytes.subarray(0, 1000));
                    begun = true;
                };
                return new Response(new ReadableStream({ pull }));
            },
        }).then(() => "loaded", (error) => `${error.name}: ${error.message}`)""",
    )

    assert text.startswith("LoadError: ")
    assert text.endswith("weights.safetensors can't be fetched: network error")


def test_javascript_predicts_in_slices(told: Any) -> None:  # noqa: ANN401
    events = [e for e in told["events"] if e["phase"] == "predict"]

    assert events == [
        {"phase": "predict", "done": done, "total": 3} for done in (1, 2, 3)
    ]
    assert told["same"]
    assert told["none"] == 0


def test_predictions_and_loading_are_aborted_in_node(
    told: Any,  # noqa: ANN401
) -> None:
    messages = told["messages"][:2]

    assert [text.partition(":")[0] for text in messages] == ["AbortError"] * 2


def test_a_file_that_node_cannot_read_is_named(
    root: Path, told: Any  # noqa: ANN401
) -> None:
    url = (root / "loading" / "weights.safetensors").as_uri()

    text = told["messages"][2]

    assert text.startswith(f"LoadError: {url} can't be read: ENOENT: ")
