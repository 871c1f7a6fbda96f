"""Time the first prediction of a page while its weights come slowly: medians in ms.

    python tests/bench/loading.py [NETWORK...] [--megabits 20]

Once as packages load, shaders compiled while the weights are on their way, and once
with shaders that are kept back until the weights are there, in turn, each on a page of
its own without a shader cache. Needs Keras, for the networks of pages.py.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import BinaryIO

from pages import HERE, NETWORKS, opened, prepare
from playwright.sync_api import sync_playwright

CHUNK = 1 << 14
FIRST = """async ([name, overlapping]) => {
    const { load, INPUTS } = await import(`./${name}/web/model.js`);
    let arrived;
    const weights = new Promise((resolve) => { arrived = resolve; });
    const inTurn = async (url, init) => {
        const response = await fetch(url, init);
        const bytes = await response.arrayBuffer();
        if (url.pathname.endsWith(".safetensors")) arrived();
        else await weights;
        return new Response(bytes);
    };
    const options = overlapping ? {} : { fetch: inTurn };
    const x = new Float32Array(INPUTS[0].shape.reduce((a, b) => a * b, 1));
    const start = performance.now();
    const model = await load({ device: "webgl2", ...options });
    await model.predict(x);
    return performance.now() - start;
}"""


class Slow(SimpleHTTPRequestHandler):
    """Serves a folder, the weights in it at so many bytes a second."""

    rate = 0.0

    def copyfile(self, source: BinaryIO, outputfile: BinaryIO) -> None:  # type: ignore[override]
        """Send a file."""
        start, sent = time.perf_counter(), 0
        while chunk := source.read(CHUNK):
            outputfile.write(chunk)
            sent += len(chunk)
            if self.path.endswith(".safetensors"):
                due = start + sent / self.rate
                time.sleep(max(0, due - time.perf_counter()))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def main() -> None:
    """Print a row per network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabits", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    options = parser.parse_args()
    Slow.rate = options.megabits * 1e6 / 8
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = Path(folder)
        for page in ("pages.html", "pages.js"):
            shutil.copyfile(HERE / page, site / page)
        handler = partial(Slow, directory=folder)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        for build in NETWORKS:
            name = build.__name__
            if options.networks and name not in options.networks:
                continue
            prepare(name, build, site, profile="gpu")
            times: dict[bool, list[float]] = {True: [], False: []}
            for _ in range(options.rounds):
                for overlapping, found in times.items():
                    browser = opened(playwright, address, "llvmpipe")
                    page = browser.contexts[0].pages[0]
                    found.append(page.evaluate(FIRST, [name, overlapping]))
                    browser.close()
            size = (site / name / "weights.safetensors").stat().st_size / 1e6
            fast, slow = (statistics.median(found) for found in times.values())
            sys.stdout.write(
                f"{name:11} {size:5.1f} MB  overlapping {fast:6.0f} ms  "
                f"in turn {slow:6.0f} ms  {fast / slow:.2f}\n"
            )
            sys.stdout.flush()
        server.shutdown()


if __name__ == "__main__":
    main()
