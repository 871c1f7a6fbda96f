"""Compile the models of the demos and serve the pages: ``python serve.py [FOLDER]``.

FOLDER, by default ``build/web``, then holds a site that any web server can serve.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import keramos
from keramos.graph import Storage

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent
PORT = 8000
PAGES = (".html", ".css", ".js", ".png", ".svg")
# Nothing but the site's own files, and the camera's picture.
POLICY = "default-src 'self'"


@dataclass(frozen=True, slots=True)
class Model:
    """A model file below ``examples/``, and what its page needs besides.

    *input_shapes* pins the inputs' free dimensions, *taps* are layers to look into,
    *cam* is the layer to make class activation maps from, *weights* is how the weights
    are stored.
    """

    path: str
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    taps: tuple[str, ...] = ()
    cam: str | None = None
    weights: Storage = "float32"


MODELS = {
    "digits": Model(
        "digits/digits.keras",
        taps=("conv2d", "conv2d_1", "max_pooling2d", "dense", "dense_1"),
    ),
    "vae_decoder": Model("vae/vae_decoder.keras"),
    "emotion": Model("emotion/emotion.h5", cam="auto"),
    "masks": Model("masks/model.json", cam="auto", weights="uint8"),
    "upscale": Model("upscale/model.json", {"LR": (64, 64, 3)}),
    "domains": Model("domains/domains.h5"),
    "sentiment": Model("sentiment/sentiment.h5"),
}
# What pages read besides.
DATA = ("sentiment/vocabulary.txt",)


def build(folder: Path) -> None:
    """Write the pages and the compiled models into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    for page in sorted(HERE.iterdir()):
        if page.suffix in PAGES:
            shutil.copyfile(page, folder / page.name)
    for data in DATA:
        path = EXAMPLES / data
        shutil.copyfile(path, folder / path.name)
    for name, model in MODELS.items():
        keramos.compile_model(
            EXAMPLES / model.path,
            folder / "packages",
            name=name,
            input_shapes=model.input_shapes,
            taps=model.taps,
            cam=model.cam,
            weights=model.weights,
        )


class Handler(SimpleHTTPRequestHandler):
    """Serves files under a strict content security policy."""

    def end_headers(self) -> None:
        """Add the policy."""
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()


def main(folder: Path) -> None:
    """Build the site in *folder*, and serve it until interrupted."""
    build(folder)
    handler = partial(Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", PORT), handler) as server:
        print(f"http://127.0.0.1:{PORT}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/web"))
