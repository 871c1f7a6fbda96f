"""Pictures are inputs, from wherever a page has them, on both devices."""

from __future__ import annotations

import json
import struct
import subprocess
import zlib
from importlib.resources import as_file
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page
from web.browser import ask, program
from web.web_package import write_package

from keramos import compile_model, examples
from keramos.expr import operand
from keramos.graph import Graph, Value, apply
from keramos.plan.layout import Limits
from keramos.primitives import Map, Spec
from keramos.verification import imported

Array = NDArray[Any]

HEIGHT, WIDTH = 9, 7
# Each gives a picture of the pixels `data`, which are opaque.
SOURCES = {
    "pixels": "({data, width, height})",
    "ImageData": "image",
    "canvas": "canvas",
    "OffscreenCanvas": "offscreen",
    "ImageBitmap": "await createImageBitmap(image)",
    "VideoFrame": "new VideoFrame(canvas, {timestamp: 0})",
}
PREPARE = f"""
    const [width, height] = [{WIDTH}, {HEIGHT}];
    const data = new Uint8ClampedArray(bytes);
    const image = new ImageData(data, width, height);
    const canvas = Object.assign(document.createElement("canvas"), {{width, height}});
    canvas.getContext("2d").putImageData(image, 0, 0);
    const offscreen = new OffscreenCanvas(width, height);
    offscreen.getContext("2d").putImageData(image, 0, 0);
"""


def pixels(n: int = 1, height: int = HEIGHT, width: int = WIDTH) -> Array:
    """Return opaque pictures."""
    levels = np.random.default_rng(4).integers(0, 256, (n, height, width, 4))
    levels[..., 3] = 255
    return levels.astype(np.uint8)


def grey(levels: Array) -> Array:
    """Return what Pillow makes of them in mode L."""
    r, g, b = (levels[..., c].astype(np.int64) for c in range(3))
    return (r * 19595 + g * 38470 + b * 7471 + 32768) >> 16


def plain(root: Path, shape: tuple[int, ...], *, batch: int = 1) -> str:
    """Write a package whose output is its input; return its folder."""
    name = f"plain_{'_'.join(map(str, shape))}_{batch}"
    x = Value(Spec(shape), name="picture")
    graph = Graph((x,), apply(Map(operand(0) * 1.0), x), ("y",))
    write_package(graph, root / name, limits=Limits(texture_size=64), batch=batch)
    return name


def predict(
    page: Page, folder: str, picture: str, levels: Array, options: str
) -> Any:  # noqa: ANN401
    """Return what the model makes of the expression *picture*."""
    return ask(
        page,
        f"""async ([folder, bytes]) => {{
            {PREPARE}
            const model = await harness.load(folder);
            try {{
                return Array.from(await model.predict({picture}, {options}));
            }} catch (error) {{
                return `${{error.name}}: ${{error.message}}`;
            }} finally {{
                model.dispose();
            }}
        }}""",
        [folder, levels.ravel().tolist()],
    )


@pytest.mark.parametrize("source", SOURCES)
def test_pictures_arrive_level_by_level(page: Page, root: Path, source: str) -> None:
    folder, levels = plain(root, (HEIGHT, WIDTH, 3)), pixels()

    found = predict(page, folder, SOURCES[source], levels, "{}")

    assert np.array_equal(found, levels[..., :3].ravel())


def png(levels: Array) -> bytes:
    """Return a picture as a PNG file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    height, width, _ = levels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    header = struct.pack(">2I5B", width, height, 8, 6, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks.items())


def test_image_elements_are_pictures(page: Page, root: Path) -> None:
    folder, levels = plain(root, (HEIGHT, WIDTH, 3)), pixels()
    (root / "picture.png").write_bytes(png(levels[0]))

    found = ask(
        page,
        """async (folder) => {
            const image = new Image();
            image.src = "picture.png";
            await image.decode();
            const model = await harness.load(folder);
            const output = await model.predict(image);
            model.dispose();
            return Array.from(output);
        }""",
        folder,
    )

    assert np.array_equal(found, levels[..., :3].ravel())


def test_videos_are_pictures(page: Page, root: Path) -> None:
    folder, levels = plain(root, (HEIGHT, WIDTH, 3)), pixels()
    levels[..., :3] = [200, 100, 50]
    found = ask(
        page,
        f"""async ([folder, bytes]) => {{
            {PREPARE}
            const video = document.createElement("video");
            video.muted = true;
            video.srcObject = canvas.captureStream();
            await video.play();
            const model = await harness.load(folder);
            const output = await model.predict(video, {{fit: "fill"}});
            model.dispose();
            video.srcObject.getTracks().forEach((track) => track.stop());
            return Array.from(output);
        }}""",
        [folder, levels.ravel().tolist()],
    )

    # Videos store colours in another space.
    assert np.abs(np.reshape(found, (HEIGHT, WIDTH, 3)) - [200, 100, 50]).max() <= 6


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH, 1), (HEIGHT, WIDTH)])
def test_one_channel_is_grey_as_pillow_has_it(
    page: Page, root: Path, shape: tuple[int, ...]
) -> None:
    levels = pixels()

    found = predict(page, plain(root, shape), "image", levels, "{}")

    assert np.array_equal(found, grey(levels).ravel())


def test_four_channels_have_their_opacity(page: Page, root: Path) -> None:
    folder, levels = plain(root, (HEIGHT, WIDTH, 4)), pixels()
    levels[..., 3] = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)

    found = predict(page, folder, SOURCES["pixels"], levels, "{}")

    assert np.array_equal(found, levels.ravel())


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_several_pictures_are_a_batch(page: Page, root: Path, batch: int) -> None:
    folder, levels = plain(root, (HEIGHT, WIDTH, 3), batch=batch), pixels(3)
    size = HEIGHT * WIDTH * 4
    parts = f"""[0, 1, 2].map((k) =>
        ({{data: data.slice(k * {size}, (k + 1) * {size}), width, height}}))"""

    found = ask(
        page,
        f"""async ([folder, bytes]) => {{
            const [width, height] = [{WIDTH}, {HEIGHT}];
            const data = new Uint8ClampedArray(bytes);
            const model = await harness.load(folder);
            const output = await model.predict({parts});
            model.dispose();
            return Array.from(output);
        }}""",
        [folder, levels.ravel().tolist()],
    )

    assert np.array_equal(found, levels[..., :3].ravel())


def test_levels_are_scaled_and_shifted(page: Page, root: Path) -> None:
    folder, levels = plain(root, (HEIGHT, WIDTH, 3)), pixels()

    found = predict(page, folder, "image", levels, "{scale: 1 / 127.5, offset: -1}")

    assert np.allclose(found, levels[..., :3].ravel() / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("fit", "expected"), [("fill", [50, 100, 200]), ("cover", [100, 100, 100])]
)
def test_pictures_of_another_size_are_resized_on_request(
    page: Page, root: Path, fit: str, expected: list[int]
) -> None:
    # Three stripes, the middle one as wide as the input.
    found = ask(
        page,
        f"""async (folder) => {{
            const canvas = new OffscreenCanvas({3 * WIDTH}, {HEIGHT});
            const paint = canvas.getContext("2d");
            for (const [k, level] of [50, 100, 200].entries()) {{
                paint.fillStyle = `rgb(${{level}} ${{level}} ${{level}})`;
                paint.fillRect(k * {WIDTH}, 0, {WIDTH}, {HEIGHT});
            }}
            const model = await harness.load(folder);
            const output = await model.predict(canvas, {{fit: "{fit}"}});
            model.dispose();
            return Array.from(output);
        }}""",
        plain(root, (HEIGHT, WIDTH, 1)),
    )

    row = np.reshape(found, (HEIGHT, WIDTH))[4]
    assert np.abs(row[[0, 3, 6]] - expected).max() <= 2


@pytest.mark.parametrize(
    ("shape", "arguments", "text"),
    [
        (
            (HEIGHT, WIDTH, 3),
            ("new OffscreenCanvas(20, 10)", "{}"),
            (
                'TypeError: the picture for input "picture" is 20 x 10, not 7 x 9; '
                'fit: "fill" or "cover" resizes it'
            ),
        ),
        (
            (HEIGHT, WIDTH, 3),
            ("canvas", "{fit: 'contain'}"),
            "TypeError: fit must be fill or cover, not contain",
        ),
        (
            (HEIGHT, WIDTH, 5),
            ("canvas", "{}"),
            (
                'TypeError: input "picture" is (9, 7, 5); '
                "pictures need (h, w, 1, 3 or 4)"
            ),
        ),
    ],
)
def test_pictures_that_do_not_fit_are_refused_in_a_sentence(
    page: Page,
    root: Path,
    shape: tuple[int, ...],
    arguments: tuple[str, str],
    text: str,
) -> None:
    picture, options = arguments
    folder = plain(root, shape)

    assert predict(page, folder, picture, pixels(), options) == text


def test_predictions_from_pictures_create_nothing_anew(page: Page, root: Path) -> None:
    before, after = ask(
        page,
        f"""async ([folder, bytes]) => {{
            {PREPARE}
            const model = await harness.load(folder);
            await model.predict(canvas);
            const before = {{...living}};
            for (let i = 0; i < 20; ++i) await model.predict(canvas);
            const after = {{...living}};
            model.dispose();
            return [before, after];
        }}""",
        [plain(root, (HEIGHT, WIDTH, 3)), pixels().ravel().tolist()],
    )

    assert before == after


def test_pictures_survive_a_lost_context(page: Page, root: Path) -> None:
    levels = pixels()
    found = ask(
        page,
        f"""async ([folder, bytes]) => {{
            {PREPARE}
            const surface = document.createElement("canvas");
            const model = await harness.load(folder, {{canvas: surface}});
            await model.predict(canvas);
            const gl = surface.getContext("webgl2");
            const loss = gl.getExtension("WEBGL_lose_context");
            loss.loseContext();
            setTimeout(() => loss.restoreContext(), 50);
            const output = await model.predict(canvas);
            model.dispose();
            for (const kind of Object.keys(living)) living[kind] = 0;
            return Array.from(output);
        }}""",
        [plain(root, (HEIGHT, WIDTH, 3)), levels.ravel().tolist()],
    )

    assert np.array_equal(found, levels[..., :3].ravel())


@pytest.fixture(scope="module")
def digits(root: Path) -> str:
    """Compile the digits model; return its folder."""
    with as_file(examples.digits("digits.keras")) as model:
        compile_model(model, root, name="pictured")
    return "pictured"


def test_both_devices_see_the_same_picture(page: Page, digits: str) -> None:
    levels = pixels(1, 28, 28)

    found = ask(
        page,
        """async ([folder, bytes]) => {
            const image = new ImageData(new Uint8ClampedArray(bytes), 28, 28);
            const outputs = [];
            for (const device of ["webgl2", "cpu"]) {
                const model = await harness.load(folder, {device});
                const output = await model.predict(image, {scale: 1 / 255});
                outputs.push(Array.from(output));
                model.dispose();
            }
            return outputs;
        }""",
        [digits, levels.ravel().tolist()],
    )

    assert np.allclose(found[0], found[1], atol=1e-5)


def test_devices_that_render_halves_alone_take_pictures(page: Page, root: Path) -> None:
    with as_file(examples.digits("digits.keras")) as model:
        compile_model(model, root, name="halved", storage="float16")
    levels = pixels(1, 28, 28)

    found = ask(
        page,
        """async (bytes) => {
            const gl = WebGL2RenderingContext.prototype;
            const { getExtension } = gl;
            gl.getExtension = function (name) {
                const hidden = name === "EXT_color_buffer_float";
                return hidden ? null : getExtension.call(this, name);
            };
            try {
                const image = new ImageData(new Uint8ClampedArray(bytes), 28, 28);
                const model = await harness.load("halved");
                const output = await model.predict(image, {scale: 1 / 255});
                const { device } = model;
                model.dispose();
                return [device, Array.from(output)];
            } finally {
                gl.getExtension = getExtension;
            }
        }""",
        levels.ravel().tolist(),
    )

    expected = imported(root / "halved").predict(grey(levels)[..., None] / 255)
    assert found[0] == "webgl2"
    assert np.allclose(found[1], expected[0], atol=1e-2)


def test_workers_take_pictures(page: Page, digits: str) -> None:
    result = ask(
        page,
        """async (folder) => {
            const canvas = new OffscreenCanvas(28, 28);
            canvas.getContext("2d").fillRect(4, 4, 9, 20);
            const bitmap = canvas.transferToImageBitmap();
            const here = await harness.predict(folder, bitmap);
            const there = await harness.predictInWorker(folder, bitmap);
            return [here[0], there];
        }""",
        digits,
    )

    assert result[1]["page"] is False
    assert np.allclose(result[0], result[1]["outputs"][0], atol=1e-6)


def test_node_takes_pixels(digits: str, root: Path, tmp_path: Path) -> None:
    levels = pixels(1, 28, 28)
    (tmp_path / "pixels.mjs").write_text("""
        const { load } = await import(process.argv[2]);
        const data = Uint8Array.from(JSON.parse(process.argv[3]));
        const model = await load();
        const picture = { data, width: 28, height: 28 };
        console.log(JSON.stringify([...await model.predict(picture)]));
        """)
    module = root / digits / "web" / "model.js"

    answer = subprocess.run(
        [
            *(program("node"), str(tmp_path / "pixels.mjs"), module.as_uri()),
            json.dumps(levels.ravel().tolist()),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout

    expected = imported(root / digits).predict(grey(levels)[..., None])
    assert np.allclose(json.loads(answer), expected[0], atol=1e-5)
