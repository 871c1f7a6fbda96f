"""The model that a page loads: its interface, its manners, what it survives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, Playwright
from web.browser import ask, opened, violations
from web.web_package import write_package

from keramos.emit.sample import Sample, sample
from keramos.graph import Graph

pytestmark = pytest.mark.usefixtures("small")


def in_page(page: Page, body: str, *arguments: object) -> Any:  # noqa: ANN401
    """Return what *body* returns, with a loaded ``model`` and ``x``, ``y``, ..."""
    names = ", ".join(["x", "y", "z"][: len(arguments)])
    return ask(
        page,
        f"""async ([{names}]) => {{
            const model = await harness.load("small");
            const run = async () => {{ {body} }};
            return run().finally(() => model.dispose());
        }}""",
        list(arguments),
    )


def message(page: Page, body: str, *arguments: object) -> str:
    """Return name and text of the error that *body* throws."""
    caught = "catch (error) { return `${error.name}: ${error.message}`; }"
    text: str = in_page(page, f"try {{ {body} }} {caught}", *arguments)
    return text


def close(actual: list[float], expected: list[float]) -> bool:
    return bool(np.allclose(actual, expected, rtol=0, atol=1e-6))


def test_a_worker_without_a_page_gives_the_same(
    page: Page, images: list[float], scores: list[float]
) -> None:
    result = ask(page, "(x) => harness.predictInWorker('small', x)", images)

    assert (result["page"], result["device"]) == (False, "webgl2")
    assert close(result["outputs"][0], scores)


def test_nested_arrays_and_names_mean_the_same(
    page: Page, images: list[float], scores: list[float]
) -> None:
    nested = np.array(images).reshape(3, 6, 6, 3).tolist()

    results = in_page(
        page,
        """return Promise.all([
            model.predict(x), model.predict({image: x}),
            model.predict(y), model.predict(new Float32Array(x)),
        ].map(async (output) => Array.from(await output)));""",
        images,
        nested,
    )

    assert all(close(result, scores) for result in results)


def test_no_samples_give_no_numbers(page: Page) -> None:
    assert in_page(page, "return (await model.predict([])).length") == 0


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (
            "new Float32Array(5)",
            (
                'TypeError: input "image" holds 5 numbers, which isn\'t a multiple '
                "of 108, the size of one sample (6, 6, 3)"
            ),
        ),
        (
            "[[[1, 2]]]",
            'TypeError: input "image" must have the shape (n, 6, 6, 3)',
        ),
        (
            "'digits'",
            (
                'TypeError: input "image" must be a Float32Array, nested arrays or a '
                "picture, not String"
            ),
        ),
        (
            "{picture: []}",
            'TypeError: there is no input "picture"; the inputs are "image"',
        ),
        (
            "{}",
            'TypeError: the input "image" is missing; the inputs are "image"',
        ),
    ],
)
def test_wrong_inputs_are_refused_in_a_sentence(
    page: Page, expression: str, text: str
) -> None:
    assert message(page, f"await model.predict({expression})") == text


def test_a_lost_context_is_survived(
    page: Page, images: list[float], scores: list[float]
) -> None:
    results = ask(
        page,
        """async (x) => {
            const canvas = document.createElement("canvas");
            const model = await harness.load("small", {canvas});
            const loss = canvas.getContext("webgl2").getExtension("WEBGL_lose_context");
            const results = [];
            for (const options of [{}, {sliceMs: 0}]) {
                const early = model.predict(x, options);
                await 0;
                loss.loseContext();
                setTimeout(() => loss.restoreContext(), 100);
                const late = model.predict(x);
                results.push(Array.from(await early), Array.from(await late));
            }
            model.dispose();
            // What was lost couldn't be deleted.
            for (const kind of Object.keys(living)) living[kind] = 0;
            return results;
        }""",
        images,
    )

    assert [close(result, scores) for result in results] == [True] * 4


def test_a_context_that_never_comes_back_is_an_error(
    page: Page, images: list[float]
) -> None:
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_function("() => window.harness")
    ask(
        other,
        """async () => {
            window.canvas = document.createElement("canvas");
            window.model = await harness.load("small", {canvas});
        }""",
    )
    other.clock.install()
    other.evaluate(
        """(x) => {
            canvas.getContext("webgl2").getExtension("WEBGL_lose_context").loseContext();
            window.late = model.predict(x).catch(({message}) => message);
        }""",
        images,
    )
    other.clock.run_for(10_000)

    text = other.evaluate("late")

    other.close()
    assert text == "the browser took the GPU away and kept it"


def test_a_hundred_predictions_create_nothing(page: Page, images: list[float]) -> None:
    before, after, counts = in_page(
        page,
        """await model.predict(x);
        const before = {...living};
        for (let i = 0; i < 100; ++i) await model.predict(x);
        return [before, {...living}, model.counts];""",
        images,
    )

    assert before == after
    assert {kind: after[kind] for kind in counts} == counts
    assert counts["Texture"] > 0


def test_a_policy_violation_is_seen(playwright: Playwright, tmp_path: Path) -> None:
    with opened(playwright, tmp_path, gpu="llvmpipe") as page:
        ask(
            page,
            """() => {
                const script = document.createElement("script");
                script.textContent = "window.ran = true";
                document.body.append(script);
            }""",
        )
        page.wait_for_function("() => violations.length > 0")

        assert violations(page) == ["script-src-elem inline"]


def test_an_aborted_prediction_stops_between_draws(
    page: Page, images: list[float]
) -> None:
    text = message(
        page,
        """const controller = new AbortController();
        const prediction = model.predict(x, {
            sliceMs: 0,
            signal: controller.signal,
            onProgress: () => controller.abort(),
        });
        await prediction;""",
        images,
    )

    assert text.startswith("AbortError: ")


def test_slices_give_the_same_numbers(
    page: Page, images: list[float], scores: list[float]
) -> None:
    body = "return Array.from(await model.predict(x, {sliceMs: 0}))"

    assert close(in_page(page, body, images), scores)


def test_progress_ends_with_all_done(page: Page, images: list[float]) -> None:
    last = ask(
        page,
        """async (x) => {
            const last = {};
            const onProgress = ({phase, done, total}) => {
                last[phase] = [done, total];
            };
            const model = await harness.load("small", {onProgress});
            await model.predict(x, {sliceMs: 1, onProgress});
            model.dispose();
            return last;
        }""",
        images,
    )

    assert list(last) == ["download", "compile", "predict"]
    assert all(done == total > 0 for done, total in last.values())


def test_statistics_are_milliseconds(page: Page, images: list[float]) -> None:
    stats = in_page(page, "await model.predict(x); return model.stats", images)

    assert sorted(stats) == ["build", "draws", "load", "readback", "upload"]
    assert stats["load"] > stats["build"] > 0
    assert all(value >= 0 for value in stats.values())


def test_layer_outputs_come_by_name(page: Page, images: list[float]) -> None:
    shapes = in_page(
        page,
        """const outputs = await model.layerOutputs(x);
        return Object.values(outputs).map(({shape, data}) => [shape, data.length]);""",
        images,
    )

    # The compiled batch is 2.
    assert shapes
    assert all(length == 2 * np.prod(shape) for shape, length in shapes)


def test_verification_reports_the_stages(page: Page) -> None:
    report = in_page(page, "return model.verify()")

    assert report["device"] == "webgl2"
    assert report["stages"] >= 1
    assert 0 <= report["error"] < 1e-5


def test_verification_names_what_differs(root: Path, page: Page, small: Graph) -> None:
    wrong = Sample(sample(small).inputs, (np.ones((1, 128), np.float32),))
    write_package(small, root / "wrong", given=wrong)

    text = ask(
        page,
        """async () => {
            const model = await harness.load("wrong");
            const error = await model.verify().catch((error) => error);
            model.dispose();
            return `${error.name}: ${error.message}`;
        }""",
    )

    assert text.startswith(
        'VerificationError: output "scores" differs on webgl2: by 1.0e+0 of its '
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            "{maxTextureSize: 4}",
            (
                "DeviceError: this GPU is too small for the package: "
                "MAX_TEXTURE_SIZE is 4, needed "
            ),
        ),
        (
            "{device: 'cpu'}",
            "DeviceError: the package was compiled without a path in JavaScript",
        ),
        (
            "{device: 'gpu'}",
            "TypeError: device must be auto, webgl2, cpu, not gpu",
        ),
        (
            "{fetch: async () => new Response('', {status: 404})}",
            "LoadError: ",
        ),
        (
            "{fetch: async () => new Response('x')}",
            "LoadError: ",
        ),
        (
            "{fetch: async () => new Response(new Uint8Array(1e6))}",
            "LoadError: ",
        ),
        ("{signal: AbortSignal.abort()}", "AbortError: "),
    ],
)
def test_what_cannot_be_loaded_is_refused(page: Page, options: str, text: str) -> None:
    found = ask(
        page,
        f"""() => harness.load("small", {options})
            .then((model) => model.dispose())
            .catch((error) => `${{error.name}}: ${{error.message}}`)""",
    )

    assert found.startswith(text)
