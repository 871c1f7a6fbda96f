"""How a page waits for the GPU: it has turns, and sleeps no longer than it takes."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page
from web.browser import ask

pytestmark = pytest.mark.usefixtures("small")

# With a GPU that is done *y* ms after it was given all of the first runs, of which
# there are *z*; what runs take, and which of the page's own tasks have a turn.
PROGRAM = """async ([x, delay, slow]) => {
    const model = await harness.load("small");
    const gl = WebGL2RenderingContext.prototype;
    const { fenceSync, clientWaitSync } = gl;
    let runs = 0;
    let done = 0;
    gl.fenceSync = function (...details) {
        done = performance.now() + (runs < slow ? delay : 0);
        runs += 1;
        return fenceSync.apply(this, details);
    };
    gl.clientWaitSync = function (...details) {
        const late = performance.now() < done;
        return late ? this.TIMEOUT_EXPIRED : clientWaitSync.apply(this, details);
    };
    let turns = 0;
    const timer = setInterval(() => { turns += 1; }, 5);
    const times = [];
    for (let run = 0; run < slow + 8; ++run) {
        const start = performance.now();
        await model.predict(x);
        times.push([performance.now() - start, turns]);
        turns = 0;
    }
    clearInterval(timer);
    Object.assign(gl, { fenceSync, clientWaitSync });
    model.dispose();
    return times;
}"""


def runs(
    page: Page, images: list[float], *, delay: int, slow: int
) -> Any:  # noqa: ANN401
    """Return milliseconds and turns of the page of each run."""
    return ask(page, PROGRAM, [images[:108], delay, slow])


def test_the_page_has_turns_while_a_slow_gpu_works(
    page: Page, images: list[float]
) -> None:
    first, second, *_ = runs(page, images, delay=400, slow=2)

    # The second run may be waited for once it is nearly done.
    for (milliseconds, turns), least in ((first, 400), (second, 390)):
        assert milliseconds >= least
        assert turns >= 15


def test_what_was_slow_once_is_not_waited_for(page: Page, images: list[float]) -> None:
    slow, *others = runs(page, images, delay=2000, slow=1)

    assert slow[0] >= 2000
    assert sum(milliseconds for milliseconds, _ in others) < 1500
