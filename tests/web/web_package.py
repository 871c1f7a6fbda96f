"""Packages of graphs, as far as the web target reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keramos.emit.gl import emit_gl
from keramos.emit.javascript import emit_javascript
from keramos.emit.sample import Sample, emit_sample, sample
from keramos.emit.web import emit_web
from keramos.emit.weights import weights
from keramos.graph import Graph
from keramos.plan.layout import Limits
from keramos.plan.names import constant_names


def write_package(  # noqa: PLR0913 - options, each by its name
    graph: Graph,
    folder: Path,
    *,
    limits: Limits | Sequence[Limits] | None = None,
    batch: int = 1,
    given: Sample | None = None,
    cpu: bool = False,
) -> dict[str, bytes]:
    """Write the gl and web targets of *graph* into *folder*; return the files.

    With *cpu* the web target runs without a GPU, too.
    """
    names = constant_names(graph)
    gl = emit_gl(
        graph, names=names, limits=limits or Limits(), batch=batch, where="model"
    )
    files = dict(gl.files)
    files["weights.safetensors"] = weights(graph, gl.constants)
    files["sample.safetensors"] = emit_sample(graph, given or sample(graph))
    if cpu:
        files["web/cpu.js"] = emit_javascript(graph, names=names).encode()
    files |= emit_web(
        graph, name=folder.name, version="0", provenance="", files=files, cpu=cpu
    )
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return files
