"""Compile time and peak memory against the number of layers and of parameters.

Each point is compiled in a process of its own. Prints a table and writes a plot:

    python tests/bench/growth.py growth.svg
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

LAYERS = (10, 30, 100, 300, 1000)
PARAMETERS = (100_000, 1_000_000, 10_000_000, 100_000_000)
# What a point of the other series has.
FILTERS, DENSE_LAYERS = 8, 10
MEGABYTE = 1024**2

# Sides and margins of one plot, in pixels.
WIDTH, HEIGHT, MARGIN = 320, 220, 48


@dataclass(frozen=True)
class Point:
    """What compiling a model of some *size* took: seconds, and bytes at the peak."""

    size: int
    seconds: float
    peak: int


@dataclass(frozen=True)
class Series:
    """Points of models that differ in one thing, which is *named*."""

    named: str
    points: tuple[Point, ...]

    def slope(self, value: Callable[[Point], float]) -> float:
        """Return by which power of the size a value grows between the last points."""
        a, b = self.points[-2:]
        return math.log(value(b) / value(a)) / math.log(b.size / a.size)


def make(kind: str, size: int, path: Path) -> None:
    """Save a model: *size* convolutions with sums, or *size* parameters."""
    import keras

    if kind == "layers":
        x = keras.Input((16, 16, FILTERS))
        y = x
        for number in range(size // 2):
            z = keras.layers.Conv2D(FILTERS, 3, padding="same", activation="relu")(y)
            y = keras.layers.Add()([y, z]) if number % 2 else z
            if number % 2 == 0:
                y = keras.layers.BatchNormalization()(y)
    else:
        width = math.isqrt(size // DENSE_LAYERS)
        x = keras.Input((width,))
        y = x
        for _ in range(DENSE_LAYERS):
            y = keras.layers.Dense(width, activation="relu")(y)
    keras.Model(x, y).save(path)


def measure(path: Path, folder: Path) -> None:
    """Compile the model and print the seconds and the peak of this process' memory."""
    import time

    from keramos import compile_model

    start = time.perf_counter()
    compile_model(path, folder, name="model")
    seconds = time.perf_counter() - start
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    document = {"seconds": seconds, "peak": int(peak.split()[1]) * 1024}
    sys.stdout.write(json.dumps(document))


def point(kind: str, size: int) -> Point:
    """Make and compile a model, each in a fresh process."""
    with TemporaryDirectory() as name:
        path = Path(name) / "model.keras"
        command = [sys.executable, __file__]
        environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
        subprocess.run(
            [*command, "--make", kind, str(size), path], check=True, env=environment
        )
        done = subprocess.run(
            [*command, "--measure", path, name],
            check=True,
            capture_output=True,
            text=True,
        )
    found = json.loads(done.stdout)
    return Point(size, found["seconds"], found["peak"])


def series(kind: str, sizes: Sequence[int]) -> Series:
    """Measure models of *sizes*, and print each."""
    points = []
    for size in sizes:
        points.append(point(kind, size))
        seconds, megabytes = points[-1].seconds, points[-1].peak / MEGABYTE
        sys.stdout.write(
            f"| {size:,} {kind} | {seconds:.1f} s | {megabytes:.0f} MB |\n"
        )
        sys.stdout.flush()
    return Series(kind, tuple(points))


def plot(measured: Sequence[Series]) -> str:
    """Return an SVG picture: seconds above, megabytes below, both axes logarithmic."""
    values: tuple[tuple[str, Callable[[Point], float]], ...] = (
        ("seconds", lambda p: p.seconds),
        ("megabytes", lambda p: p.peak / MEGABYTE),
    )
    parts = [
        f'<g transform="translate({column * WIDTH} {row * HEIGHT})">'
        f"{_panel(each, label, value)}</g>"
        for column, each in enumerate(measured)
        for row, (label, value) in enumerate(values)
    ]
    size = f"{WIDTH * len(measured)} {HEIGHT * len(values)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}"'
        ' font-family="sans-serif" font-size="11">\n'
        '<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _panel(each: Series, label: str, value: Callable[[Point], float]) -> str:
    """Return one plot: the points, and a dashed line that grows in proportion."""
    xs = [math.log10(p.size) for p in each.points]
    ys = [math.log10(value(p)) for p in each.points]
    top = max(ys)
    # The line that ends at the last point; flat parts lie above it.
    low = min(*ys, top - (xs[-1] - xs[0]))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - xs[0]) / (xs[-1] - xs[0])
        up = (y - low) / (top - low)
        return (
            MARGIN + across * (WIDTH - 1.5 * MARGIN),
            HEIGHT - MARGIN - up * (HEIGHT - 1.7 * MARGIN),
        )

    dots = [place(x, y) for x, y in zip(xs, ys, strict=True)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
    (x0, y0), (x1, y1) = place(xs[0], top - (xs[-1] - xs[0])), dots[-1]
    texts = [
        _text(WIDTH / 2, 16, f"{label}, by number of {each.named}"),
        (
            f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
            ' stroke="#999" stroke-dasharray="4 3"/>'
        ),
        f'<polyline points="{line}" fill="none" stroke="#0868ac" stroke-width="2"/>',
    ]
    for p, (x, y) in zip(each.points, dots, strict=True):
        texts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#0868ac"/>',
            _text(x, y - 7, f"{value(p):.3g}"),
            _text(x, HEIGHT - MARGIN + 18, f"{p.size:.0e}".replace("e+0", "e")),
        ]
    return "".join(texts)


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{text}</text>'


def main() -> None:
    """Measure everything, or be one of the processes that do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plot", type=Path, nargs="?", default=Path("growth.svg"))
    parser.add_argument("--make", nargs=3, metavar=("KIND", "SIZE", "FILE"))
    parser.add_argument("--measure", nargs=2, type=Path, metavar=("FILE", "DIR"))
    arguments = parser.parse_args()
    if arguments.make:
        kind, size, path = arguments.make
        make(kind, int(size), Path(path))
        return
    if arguments.measure:
        measure(*arguments.measure)
        return
    measured = [series("layers", LAYERS), series("parameters", PARAMETERS)]
    for each in measured:
        time, memory = (
            each.slope(value) for value in (lambda p: p.seconds, lambda p: p.peak)
        )
        sys.stdout.write(
            f"{each.named}: seconds grow like n^{time:.2f}, bytes like n^{memory:.2f}\n"
        )
    arguments.plot.write_text(plot(measured))


if __name__ == "__main__":
    main()
