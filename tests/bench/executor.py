"""What benchmarks on a GPU share: packages' executor, loaded from its file, and clocks.

A GPU machine needs no more than this, NumPy and moderngl.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

PATH = Path(__file__).parents[2] / "runtime_min" / "vendored" / "gl.py"
WARM_UP = 0.3  # seconds


@cache
def load() -> Any:
    """Return the module."""
    spec = importlib.util.spec_from_file_location("executor_gl", PATH)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Constants:
    """Weights by name."""

    arrays: dict[str, Any]


def parser(text: str | None, *, repeat: int) -> argparse.ArgumentParser:
    """Return the command line of programs that compile here and run there."""
    line = argparse.ArgumentParser(description=text)
    line.add_argument("command", choices=["compile", "run"])
    line.add_argument("folder", type=Path)
    line.add_argument("--repeat", type=int, default=repeat)
    return line


def write(files: Mapping[str, bytes], folder: Path) -> None:
    """Write *files* by their paths in *folder*."""
    for file, data in files.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def device() -> Any:
    """Return a context on the machine's GPU; print the GPU's name."""
    import moderngl

    options: dict[str, Any] = {"backend": "egl"}
    context = moderngl.create_standalone_context(require=330, **options)
    sys.stdout.write(f"{context.info['GL_RENDERER']}\n")
    return context


def opened(folder: Path, context: Any) -> Any:
    """Return the executor of the gl files in *folder*; all weights are ones."""
    plan = json.loads((folder / "shaders" / "plan.json").read_text())
    entries = plan["constants"] + plan["buffers"]
    arrays = {e["tensor"]: np.ones(e["view"], np.float32) for e in entries}
    return load().Executor(folder, Constants(arrays), context=context)


def drawing(executor: Any) -> Callable[[], None]:
    """Return a function that draws all stages but the first."""

    def draw() -> None:
        with executor._drawing():
            for stage in executor._stages[1:]:
                executor._draw(stage)

    return draw


def elapsed(context: Any, function: Callable[[], None]) -> float:
    """Return the microseconds of *function* on the GPU."""
    query = context.query(time=True)
    with query:
        function()
    return float(query.elapsed) / 1e3


def medians(
    context: Any, functions: Mapping[str, Callable[[], None]], repeat: int
) -> dict[str, float]:
    """Return the GPU's microseconds for each function, timed in turn."""
    start = time.perf_counter()
    while time.perf_counter() - start < WARM_UP:
        for function in functions.values():
            function()
        context.finish()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeat):
        for name, function in functions.items():
            times[name].append(elapsed(context, function))
    return {name: sorted(values)[repeat // 2] for name, values in times.items()}
