"""The pages of examples/web do what they promise."""

from __future__ import annotations

import importlib.util
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Playwright
from web.browser import launched, served

WEB = Path(__file__).parents[2] / "examples" / "web"
PAGES = ("digits", "latent", "emotion", "masks", "upscale", "domains", "sentiment")
FACE = "document.querySelector('#face').toDataURL()"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the site as ``make web`` does, and serve it."""
    spec = importlib.util.spec_from_file_location("serve", WEB / "serve.py")
    assert spec is not None
    assert spec.loader is not None
    serve = importlib.util.module_from_spec(spec)
    sys.modules["serve"] = serve  # dataclasses look their module up
    spec.loader.exec_module(serve)
    folder = tmp_path_factory.mktemp("site")
    serve.build(folder)
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")
def tab(playwright: Playwright) -> Iterator[Page]:
    """Return an empty page."""
    with launched(playwright, gpu="llvmpipe") as page:
        yield page


@pytest.fixture
def demo(tab: Page) -> Iterator[Page]:
    """Return that page; the test fails where it complains."""
    complaints: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda message: complaints.append(message.text))
    yield tab
    tab.goto("about:blank")
    assert complaints == []


def visit(demo: Page, address: str, name: str, device: str) -> None:
    """Open a page, and wait until its model is ready on *device*."""
    demo.goto(f"{address}/{name}.html?device={device}")
    demo.wait_for_selector("html[data-ready]")
    assert demo.input_value("#panel select") == device


def draw_seven(demo: Page) -> None:
    box = demo.locator("#pad").bounding_box()
    assert box is not None
    points = [(0.3, 0.25), (0.7, 0.25), (0.6, 0.45), (0.5, 0.65), (0.45, 0.82)]
    places = [
        (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points
    ]
    demo.mouse.move(*places[0])
    demo.mouse.down()
    for place in places[1:]:
        demo.mouse.move(*place, steps=3)
    demo.mouse.up()


@pytest.mark.parametrize("device", ["webgl2", "cpu"])
def test_a_drawn_seven_is_read_as_a_seven(
    demo: Page, address: str, device: str
) -> None:
    visit(demo, address, "digits", device)
    draw_seven(demo)

    demo.wait_for_function(
        "() => document.querySelector('#answer').textContent === '7'"
    )

    demo.wait_for_selector("#maps figure")
    assert demo.locator("#diagram rect").count() > 1


def test_a_digit_can_be_drawn_with_the_keyboard(demo: Page, address: str) -> None:
    visit(demo, address, "digits", "webgl2")
    demo.focus("#pad")
    for _ in range(18):
        demo.keyboard.press("ArrowDown")

    demo.wait_for_function(
        "() => document.querySelector('#answer').textContent === '1'"
    )


def test_another_device_reads_the_same(demo: Page, address: str) -> None:
    visit(demo, address, "digits", "webgl2")
    demo.select_option("#panel select", "cpu")
    demo.wait_for_selector("#panel select:enabled")
    draw_seven(demo)

    demo.wait_for_function(
        "() => document.querySelector('#answer').textContent === '7'"
    )

    assert "JavaScript" in demo.inner_text("#panel dl")


def test_points_of_the_plane_give_other_digits(demo: Page, address: str) -> None:
    visit(demo, address, "latent", "webgl2")
    pixels = "document.querySelector('#digit').toDataURL()"
    before = demo.evaluate(pixels)
    demo.focus("#plane")
    for _ in range(4):
        demo.keyboard.press("Shift+ArrowLeft")

    demo.wait_for_function(f"before => {pixels} !== before", arg=before)

    assert demo.inner_text("#point") == "z = (-1.50, -0.50)"


def test_a_smile_is_read_as_happy(demo: Page, address: str) -> None:
    visit(demo, address, "emotion", "webgl2")

    demo.wait_for_function(
        "() => document.querySelector('#answer').textContent === 'happy'"
    )


@pytest.mark.parametrize("device", ["webgl2", "cpu"])
def test_drawn_faces_are_read_with_and_without_masks(
    demo: Page, address: str, device: str
) -> None:
    visit(demo, address, "masks", device)
    expected = {"Bare": "no mask", "White mask": "mask", "Blue mask": "mask"}

    for button, text in expected.items():
        demo.get_by_role("button", name=button).click()
        demo.wait_for_function(
            "text => document.querySelector('#answer').textContent === text", arg=text
        )


def overlay(demo: Page) -> list[int]:
    """Return how much each of the picture's rows is changed by the map over it."""
    changes: list[int] = demo.evaluate("""() => {
        const { width, height } = face;
        const copy = new OffscreenCanvas(width, height);
        const context = copy.getContext("2d", { willReadFrequently: true });
        const pixels = (opacity) => {
            const input = document.querySelector("#opacity");
            input.value = opacity;
            input.dispatchEvent(new Event("input"));
            context.drawImage(face, 0, 0);
            return context.getImageData(0, 0, width, height).data;
        };
        const [plain, covered] = [pixels(0), pixels(1)];
        return Array.from({ length: height }, (_, i) => {
            let sum = 0;
            for (let k = 4 * width * i; k < 4 * width * (i + 1); ++k) {
                sum += Math.abs(covered[k] - plain[k]);
            }
            return sum;
        });
    }""")
    return changes


def test_a_mask_is_seen_where_it_is(demo: Page, address: str) -> None:
    visit(demo, address, "masks", "webgl2")
    demo.wait_for_selector("#face[data-shown='0']")

    changes = overlay(demo)

    middle = sum(i * x for i, x in enumerate(changes)) / sum(changes)
    assert middle > 0.5 * len(changes)


def test_the_map_of_the_other_class_is_another(demo: Page, address: str) -> None:
    visit(demo, address, "masks", "webgl2")
    demo.wait_for_selector("#face[data-shown='0']")
    first = overlay(demo)
    demo.select_option("#shown", "1")
    demo.wait_for_selector("#face[data-shown='1']")

    assert overlay(demo) != first


def test_a_photo_of_a_mask_is_read_as_one(
    demo: Page, address: str, tmp_path: Path
) -> None:
    visit(demo, address, "masks", "webgl2")
    demo.fill("#opacity", "0")
    photo = demo.evaluate(FACE)
    (tmp_path / "photo.png").write_bytes(b64decode(photo.partition(",")[2]))
    demo.get_by_role("button", name="Bare").click()
    answered = "text => document.querySelector('#answer').textContent === text"
    demo.wait_for_function(answered, arg="no mask")

    demo.set_input_files("#file", tmp_path / "photo.png")

    demo.wait_for_function(answered, arg="mask")


@pytest.mark.parametrize("name", ["emotion", "masks"])
def test_a_photo_can_be_chosen(demo: Page, address: str, name: str) -> None:
    visit(demo, address, name, "webgl2")
    before = demo.evaluate(FACE)
    demo.set_input_files("#file", WEB / "latent.png")

    demo.wait_for_function(f"before => {FACE} !== before", arg=before)

    assert demo.inner_text("#problem") == ""


@pytest.mark.parametrize("name", ["emotion", "masks"])
def test_the_camera_is_read_until_it_is_stopped(
    demo: Page, address: str, name: str
) -> None:
    demo.context.grant_permissions(["camera"])
    visit(demo, address, name, "webgl2")
    demo.get_by_role("button", name="Camera").click()
    demo.get_by_role("button", name="Stop").wait_for()
    for _ in range(2):
        before = demo.evaluate(FACE)
        demo.wait_for_function(f"before => {FACE} !== before", arg=before)
    demo.get_by_role("button", name="Stop").click()
    demo.get_by_role("button", name="Camera").wait_for()

    problem = demo.inner_text("#problem")

    demo.context.clear_permissions()
    assert problem == ""


@pytest.mark.parametrize("name", ["emotion", "masks"])
def test_without_a_camera_the_page_says_so(demo: Page, address: str, name: str) -> None:
    visit(demo, address, name, "webgl2")
    demo.get_by_role("button", name="Camera").click()
    demo.wait_for_selector("#problem:not(:empty)")

    text = demo.inner_text("#problem")

    assert text == "There is no camera to use: Permission denied"
    assert demo.get_by_role("button", name="Camera").is_enabled()


@pytest.mark.parametrize("name", ["emotion", "masks"])
def test_what_is_no_photo_is_refused(demo: Page, address: str, name: str) -> None:
    visit(demo, address, name, "webgl2")
    demo.set_input_files("#file", WEB / "serve.py")
    demo.wait_for_selector("#problem:not(:empty)")

    text = demo.inner_text("#problem")

    assert text == "This file isn't a picture that the browser can read."


def test_a_picture_is_enlarged(demo: Page, address: str) -> None:
    visit(demo, address, "upscale", "webgl2")
    demo.wait_for_selector("html[data-enlarged]")

    images = demo.evaluate(
        "['#before', '#after'].map((id) => document.querySelector(id).toDataURL())"
    )

    assert images[0] != images[1]


@pytest.mark.parametrize(
    ("name", "answer"),
    [("wikipedia.org", "genuine"), ("lyuxqbwtkbpkfda.net", "made up")],
)
def test_made_up_names_are_told_from_genuine_ones(
    demo: Page, address: str, name: str, answer: str
) -> None:
    visit(demo, address, "domains", "webgl2")
    demo.fill("#name", name)

    demo.wait_for_function(
        """([name, answer]) =>
            document.querySelector("#letters").textContent === name &&
            document.querySelector("#answer").textContent === answer""",
        arg=[name, answer],
    )


@pytest.mark.parametrize(
    ("example", "answer", "word"),
    [("Good service", "positive", "热情"), ("Losses", "negative", "惨重")],
)
def test_text_is_coloured_word_by_word(
    demo: Page, address: str, example: str, answer: str, word: str
) -> None:
    visit(demo, address, "sentiment", "cpu")
    demo.get_by_role("button", name=example).click()
    text = demo.input_value("#text")

    demo.wait_for_function(
        "(text) => document.querySelector('#words').dataset.read === text", arg=text
    )

    assert demo.inner_text("#answer") == answer
    shade = "good" if answer == "positive" else "bad"
    assert word in demo.locator(f"#words .{shade}").all_inner_texts()


def test_both_devices_read_text_alike(demo: Page, address: str) -> None:
    scores = []
    for device in ("cpu", "webgl2"):
        visit(demo, address, "sentiment", device)
        demo.wait_for_function(
            "() => document.querySelector('#answer').textContent.length > 1"
        )
        scores.append(demo.locator("#bars output").all_inner_texts())

    assert scores[0] == scores[1]


def test_the_index_links_every_page(demo: Page, address: str) -> None:
    demo.goto(f"{address}/index.html")

    links = demo.eval_on_selector_all(".pages a", "all => all.map((a) => a.href)")

    assert links == [f"{address}/{name}.html" for name in PAGES]


@pytest.mark.parametrize("name", ["index", *PAGES])
def test_pages_fit_a_phone(demo: Page, address: str, name: str) -> None:
    demo.set_viewport_size({"width": 360, "height": 740})
    demo.goto(f"{address}/{name}.html")
    demo.wait_for_load_state()
    width = demo.evaluate("document.documentElement.scrollWidth")
    demo.set_viewport_size({"width": 1100, "height": 900})

    assert width <= 360
