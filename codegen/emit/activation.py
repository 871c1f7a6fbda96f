"""Class activation maps: a second graph in a package, on each of its targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from keramos.emit.cpu.module import Module, module
from keramos.emit.gl import emit_gl
from keramos.emit.javascript import emit_javascript
from keramos.graph import Graph, Value
from keramos.plan.layout import Limits
from keramos.plan.names import constant_names
from keramos.text import unique

# Where the programs lie, and below it their plans.
FOLDER = "shaders/cam/"


@dataclass(frozen=True, slots=True)
class Activation:
    """The graph's module for the CPU, its other files, and the constants to store."""

    graph: Graph
    cpu: Module
    files: dict[str, bytes]
    constants: dict[str, Value]


def emit_activation(  # noqa: PLR0913 - options, each by its name
    graph: Graph,
    *,
    stored: Mapping[Value, str],
    limits: Sequence[Limits],
    batch: int,
    javascript: bool,
    header: Sequence[str],
    where: str,
) -> Activation:
    """Return what the optimised *graph* of the map adds to a package.

    *stored* are the constants that the package has already, by name: equal ones aren't
    stored again. Without *limits* there is no gl target. Raises CompileError.
    """
    names = dict(_names(graph, stored))
    constants = {
        name: value for value, name in names.items() if name not in stored.values()
    }
    cpu = module(graph, header=header, constants=names)
    files = {"cam.py": cpu.text.encode()}
    if limits:
        known = {**stored, **names}
        gl = emit_gl(graph, names=known, limits=limits, batch=batch, where=where)
        files |= {
            path.replace("shaders/", FOLDER, 1): data
            for path, data in gl.files.items()
            if path.startswith("shaders/")
        }
        constants |= gl.constants
    if javascript:
        text = emit_javascript(graph, names=names, where=where)
        files["web/cam.js"] = text.encode()
    return Activation(graph, cpu, files, constants)


def _names(graph: Graph, stored: Mapping[Value, str]) -> Iterator[tuple[Value, str]]:
    """Yield the graph's constants with their names: those of equal ones, or new."""
    known = {
        value.constant.identity: name
        for value, name in stored.items()
        if value.constant is not None
    }
    own = constant_names(graph)
    taken = [*dict.fromkeys(stored.values())]
    fresh = unique([*taken, *(f"cam_{name}" for name in own.values())])[len(taken) :]
    for value, name in zip(own, fresh, strict=True):
        if value.constant is not None:
            yield value, known.get(value.constant.identity, name)
