"""One OpenGL context for a test process, and graphs run on it as packages do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from keramos.emit.gl import emit_gl
from keramos.emit.weights import weights
from keramos.graph import Graph, Storage
from keramos.plan.layout import Limits
from keramos.plan.names import constant_names
from keramos.plan.stages import GlPlan
from keramos.runtime_min.vendored.gl import Executor
from keramos.runtime_min.vendored.tensors import read_tensors


@cache
def _context() -> moderngl.Context:
    settings: dict[str, Any] = {"backend": "egl"}
    return moderngl.create_standalone_context(require=330, **settings)


def context() -> moderngl.Context:
    """Return the process' context, made current; raise where there is no EGL.

    Packages that ran before have had contexts of their own.
    """
    own = _context()
    own.__enter__()  # type: ignore[no-untyped-call]  # as moderngl has it
    return own


@dataclass(frozen=True)
class Weights:
    """The constants of a graph by name."""

    arrays: dict[str, NDArray[Any]]


def run(  # noqa: PLR0913 - options, each by its name
    graph: Graph,
    inputs: Sequence[NDArray[Any]],
    folder: Path,
    *,
    limits: Limits,
    batch: int,
    storage: Storage = "float32",
) -> tuple[list[NDArray[np.float32]], GlPlan]:
    """Emit *graph* into *folder*, run it, and return the outputs and the plan."""
    names = constant_names(graph)
    gl = emit_gl(
        graph, names=names, limits=limits, batch=batch, where="model", storage=storage
    )
    for path, data in gl.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / "weights.safetensors").write_bytes(weights(graph, gl.constants))
    tensors = read_tensors(folder / "weights.safetensors")
    executor = Executor(folder, tensors, context=context())
    try:
        return executor.run([x.astype(np.float32) for x in inputs]), gl.plan
    finally:
        executor.release()
