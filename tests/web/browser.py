"""Headless Chromium on a page that a strict content security policy guards."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, Playwright

GPU = Literal["llvmpipe", "swiftshader"]
GPUS: dict[GPU, list[str]] = {
    "llvmpipe": ["--use-gl=angle", "--use-angle=gl-egl"],
    "swiftshader": ["--use-angle=swiftshader"],
}
FLAGS = [
    "--no-sandbox",
    "--disable-quic",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    # A camera, which pages may use if a test grants it.
    "--use-fake-device-for-media-stream",
]
# What packages promise to work under.
POLICY = "default-src 'self'"
DEADLINE_MS = 60_000
PAGE = Path(__file__).parent / "page"


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder under a content security policy."""

    policy = POLICY

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", self.policy)
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401
        """Say nothing."""


@contextmanager
def served(folder: Path, *, policy: str = POLICY) -> Iterator[str]:
    """Serve *folder* on this machine alone; yield its address."""
    served_under = type("Handler", (_Handler,), {"policy": policy})
    handler = partial(served_under, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def program(*names: str) -> str:
    """Return the path of the first of *names*; skip without any, and fail in CI."""
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    reason = f"no {' or '.join(names)} on this machine"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def launched(playwright: Playwright, *, gpu: GPU) -> Iterator[Page]:
    """Yield an empty page in a browser of its own."""
    browser = playwright.chromium.launch(
        executable_path=program("chromium", "chromium-browser", "google-chrome"),
        args=FLAGS + GPUS[gpu],
    )
    try:
        yield browser.new_context().new_page()
    finally:
        browser.close()


@contextmanager
def opened(playwright: Playwright, folder: Path, *, gpu: GPU) -> Iterator[Page]:
    """Yield a page on a copy of ``page/`` in *folder*, which is served."""
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    with served(folder) as address, launched(playwright, gpu=gpu) as page:
        page.goto(f"{address}/index.html")
        page.wait_for_function("() => window.harness")
        yield page


def violations(page: Page) -> list[str]:
    """Return what the policy forbade so far."""
    found: list[str] = page.evaluate("window.violations")
    return found


def ask(page: Page, function: str, argument: object = None) -> Any:  # noqa: ANN401
    """Return what a JavaScript function gives; raise where it takes too long."""
    late = f"new Error('the page took more than {DEADLINE_MS} ms')"
    return page.evaluate(
        f"""(argument) => {{
            let timer;
            const deadline = new Promise((_, reject) => {{
                timer = setTimeout(() => reject({late}), {DEADLINE_MS});
            }});
            return Promise.race([({function})(argument), deadline])
                .finally(() => clearTimeout(timer));
        }}""",
        argument,
    )
