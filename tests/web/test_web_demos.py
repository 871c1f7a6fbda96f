"""The pages of examples/web do what they promise."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Playwright
from web.browser import launched, served

WEB = Path(__file__).parents[2] / "examples" / "web"
PAGES = ("digits", "latent", "emotion", "upscale", "domains", "sentiment")


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


def test_a_photo_can_be_chosen(demo: Page, address: str) -> None:
    visit(demo, address, "emotion", "webgl2")
    before = demo.evaluate("document.querySelector('#face').toDataURL()")
    demo.set_input_files("#file", WEB / "latent.png")

    demo.wait_for_function(
        "before => document.querySelector('#face').toDataURL() !== before", arg=before
    )

    assert demo.inner_text("#problem") == ""


def test_what_is_no_photo_is_refused(demo: Page, address: str) -> None:
    visit(demo, address, "emotion", "webgl2")
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
