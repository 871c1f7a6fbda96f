"""The web target: an ES module beside the programs and weights that it shares."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from keramos.emit.describe import layers, shape_text
from keramos.graph import Graph
from keramos.plan.names import stage_names
from keramos.primitives import DType, Spec
from keramos.runtime_min import vendored
from keramos.templates import render
from keramos.text import comment, identifier, js_literal

VENDORED = (
    "files.js",
    "images.js",
    "loader.js",
    "samples.js",
    "tensors.js",
    "verification.js",
    "webassembly.js",
    "webgl.js",
)
# What the module fetches, beside its own code.
FETCHED = (".frag", ".json", ".safetensors", ".wasm")

ARRAYS: Mapping[DType, str] = {
    "float32": "Float32Array",
    "int32": "Int32Array",
    "bool": "Uint8Array",
}


@dataclass(frozen=True, slots=True)
class _Port:
    """An input or output as JavaScript literals, and as text for a comment."""

    name: str
    shape: str
    dtype: str
    array: str
    text: str


@dataclass(frozen=True, slots=True)
class _Stage:
    """A stage as JavaScript literals, for diagrams."""

    name: str
    layers: str
    inputs: str
    shape: str


@dataclass(frozen=True, slots=True)
class _File:
    """A file's path and digest as JavaScript literals."""

    path: str
    bytes: int
    sha256: str


def emit_web(  # noqa: PLR0913 - options, each by its name
    graph: Graph,
    *,
    name: str,
    version: str,
    provenance: str,
    files: Mapping[str, bytes],
    cpu: bool,
    taps: Sequence[str] = (),
    activation: Graph | None = None,
) -> dict[str, bytes]:
    """Return ``web/`` and ``package.json`` for a package that holds *files*.

    *name* is the package's import name, *version* the compiler's, *provenance* safe
    text that tells where the package comes from; *cpu* is whether there is a
    ``web/cpu.js``, which ``web/wasm.js`` replaces where there are kernels. Behind its
    own outputs the graph has those of the layers *taps*, then what the graph of the
    class *activation* map takes.
    """
    features = 0 if activation is None else len(activation.inputs) - 1
    own = len(graph.public_outputs) - len(taps) - features
    tapped = graph.output_specs[own : own + len(taps)]
    values: dict[str, object] = {
        "name": js_literal(name),
        "header": [
            f"{name}: inference in the browser and in Node, without dependencies.",
            "",
            *provenance.splitlines(),
        ],
        "inputs": [_port(x.name, x.spec) for x in graph.public_inputs],
        "outputs": list(map(_port, graph.output_names[:own], graph.output_specs[:own])),
        "states": [math.prod(d or 0 for d in x.shape) for x in graph.state_inputs],
        "batch": graph.batch,
        "taps": list(map(_port, taps, tapped)),
        "activation": None if activation is None else _map(activation),
        "stages": _stages(graph),
        "files": [_file(path, data) for path, data in files.items() if _fetched(path)],
        "cpu": cpu,
        "wasm": "web/cpu.wasm" in files,
    }
    result = {
        "web/model.js": render("web/model.js.j2", **values),
        "web/model.d.ts": render("web/model.d.ts.j2", **values),
        "package.json": _package(name, version),
    }
    result |= {f"web/{file}": vendored.source(file) for file in VENDORED}
    return {path: text.encode() for path, text in result.items()}


def _fetched(path: str) -> bool:
    return path.endswith(FETCHED)


def _port(name: str, spec: Spec) -> _Port:
    return _Port(
        name=js_literal(name),
        shape=js_literal(list(spec.shape)),
        dtype=js_literal(spec.dtype),
        array=ARRAYS[spec.dtype],
        text=f"{comment(name)}: {spec.dtype} {shape_text(spec.shape)}",
    )


def _map(activation: Graph) -> str:
    """Return what makes class activation maps: the number of classes, and the shape."""
    *features, label = activation.inputs
    (classes,) = label.shape
    shape = list(activation.output_specs[0].shape)
    described = {"classes": classes, "features": len(features), "shape": shape}
    return js_literal(described)


def _stages(graph: Graph) -> list[_Stage]:
    """Return the stages with what they read: names of inputs and of other stages."""
    names = stage_names(graph)
    return [
        _Stage(
            name=js_literal(name),
            layers=js_literal(layers(node)),
            inputs=js_literal(
                [
                    x.name if x.node is None else names[x.node]
                    for x in dict.fromkeys(node.inputs)
                    if x.constant is None
                ]
            ),
            shape=js_literal(list(node.specs[0].shape)),
        )
        for node, name in names.items()
    ]


def _file(path: str, data: bytes) -> _File:
    digest = sha256(data).hexdigest()
    return _File(js_literal(path), len(data), js_literal(digest))


def _package(name: str, version: str) -> str:
    """Return the package.json under which the whole folder goes to npm.

    It lies beside ``web/``: programs and weights, which Python reads too, stand once.
    """
    document = {
        "name": identifier(name).replace("_", "-"),
        "version": version,
        "description": "A compiled Keras model for the browser and for Node.",
        "license": "CC0-1.0",
        "type": "module",
        "sideEffects": False,
        "engines": {"node": ">=20.16"},
        "exports": {
            ".": {"types": "./web/model.d.ts", "default": "./web/model.js"},
            "./*": "./*",
        },
        "types": "./web/model.d.ts",
        "files": [
            "web/",
            "shaders/",
            "weights.safetensors",
            "sample.safetensors",
        ],
    }
    return json.dumps(document, indent=2) + "\n"
