"""A compiled model as the files of one self-contained Python package."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

from keramos.emit.activation import Activation
from keramos.emit.cpu.module import module, tidy
from keramos.emit.describe import layers, shape_text
from keramos.emit.halves import Halves
from keramos.emit.javascript import WebAssembly
from keramos.emit.precision import Precision
from keramos.emit.report import PlanReport
from keramos.emit.sample import Sample, emit_sample, sample
from keramos.emit.web import emit_web
from keramos.emit.weights import weights
from keramos.graph import Graph, Node, Value
from keramos.plan.names import stage_names
from keramos.runtime_min import vendored
from keramos.templates import render
from keramos.text import comment, identifier, literal

MANIFEST = "manifest.json"
ALWAYS_VENDORED = ("_signature", "_tensors", "_verification")
LICENCE = "This output is released under CC0: copy it anywhere, no attribution needed."
COLUMN = 26
LINE = 88
LONGEST_LITERAL = 60


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a model comes from: its file's name without folders, and its sha256."""

    source: str
    sha256: str
    version: str
    keras_version: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output, as the templates want it."""

    name: str
    text: str


def emit_package(  # noqa: PLR0913 - options, each by its name
    graph: Graph,
    *,
    name: str,
    options: Mapping[str, object],
    provenance: Provenance,
    gl: Mapping[str, bytes] | None = None,
    constants: Mapping[str, Value] | None = None,
    javascript: str | None = None,
    kernels: WebAssembly | None = None,
    given: Sample | None = None,
    taps: Sequence[str] = (),
    activation: Activation | None = None,
    precision: Sequence[Precision] = (),
    halves: Halves | None = None,
    plans: Sequence[PlanReport] = (),
) -> dict[str, bytes]:
    """Return the files of package *name*, by path in its folder.

    *graph* is optimised already. *gl* are the files of the gl target, *constants* the
    constants that only it stores, by name. *javascript* is the graph as an ES module,
    *kernels* are the same in WebAssembly:
    with it, the package has the web target. *options* are JSON; they stand in the
    manifest, as do *precision*, what they cost, and the reports of the *plans*. *given*
    is the sample to verify with; without one it is made up, and *halves* what gl gives
    for it if it stores results as halves. Behind its own outputs the graph has those of
    the layers *taps*, then what the graph of *activation* takes.
    """
    if identifier(name) != name:
        raise ValueError(f"{name!r} can't be the name of a package")
    given = given or sample(graph)
    features = 0 if activation is None else len(activation.graph.inputs) - 1
    own = len(graph.public_outputs) - len(taps) - features
    names = [*graph.output_names[:own], *taps]
    lines = header(provenance)
    cpu = module(graph, header=lines)
    more = {} if activation is None else activation.constants
    stored = weights(graph, {**(constants or {}), **more})
    arguments = [f"given[{place}]" for place in range(len(graph.inputs))]
    if cpu.has_weights:
        arguments.append("self._weights")
    skeleton = {
        "name": name,
        "title": f"{name}: " if len(name) <= COLUMN else "",
        "header": lines,
        "source": _string(provenance.source),
        "sha256": literal(provenance.sha256),
        "inputs": _ports(graph.public_inputs),
        "outputs": _ports(graph.outputs[:own], names),
        "states": _ports(graph.state_inputs),
        "batch": graph.batch,
        "taps": _ports(graph.outputs[own : own + len(taps)], taps),
        "activation": activation,
        "features": features,
        "map_shape": "" if activation is None else _map_shape(activation),
        "map_has_weights": activation is not None and activation.cpu.has_weights,
        "call": ", ".join(arguments),
        "free": _free_length(graph, given),
        "kinds": [_kind(y) for y in graph.outputs[:own]],
        "has_weights": cpu.has_weights,
        "has_gl": gl is not None,
        "weights": options.get("weights", "float32"),
        "halves": halves is not None,
    }
    table = _table(graph)
    texts = {
        "__init__.py": tidy(render("package.py.j2", **skeleton, table=table)),
        "__main__.py": tidy(render("main.py.j2", **skeleton)),
        "cpu.py": cpu.text,
        f"test_{name}.py": tidy(render("test.py.j2", **skeleton)),
        "py.typed": "",
    }
    vendored_too = frozenset() if activation is None else activation.cpu.vendored
    for vendor in sorted({*ALWAYS_VENDORED, *cpu.vendored, *vendored_too}):
        texts[f"{vendor}.py"] = vendored.source(f"{vendor.removeprefix('_')}.py")
    files = {path: text.encode() for path, text in texts.items()}
    files["sample.safetensors"] = emit_sample(
        graph,
        given,
        outputs=own,
        more=None if halves is None else halves.tensors(names[:own]),
    )
    files["weights.safetensors"] = stored
    files.update(gl or {})
    files.update({} if activation is None else activation.files)
    if javascript is not None:
        files["web/cpu.js"] = javascript.encode()
        if kernels is not None:
            files["web/wasm.js"] = kernels.text.encode()
            files["web/cpu.wasm"] = kernels.binary
        files |= emit_web(
            graph,
            name=name,
            version=provenance.version,
            provenance="\n".join(lines),
            files=files,
            cpu=True,
            taps=taps,
            activation=None if activation is None else activation.graph,
        )
    files = dict(sorted(files.items()))
    files[MANIFEST] = _manifest(
        files,
        name,
        options,
        provenance,
        precision=precision,
        halves=halves,
        plans=plans,
    )
    return files


def _map_shape(activation: Activation) -> str:
    return shape_text(activation.graph.output_specs[0].shape)


def _free_length(graph: Graph, given: Sample) -> int:
    """Return a length that free dimensions can have."""
    for x, array in zip(graph.inputs, given.inputs, strict=True):
        for wanted, found in zip(x.shape, array.shape[1:], strict=True):
            if wanted is None:
                return int(found)
    return 1


def header(provenance: Provenance) -> list[str]:
    """Return the lines that every emitted module begins with."""
    source = comment(provenance.source)
    text = (
        f"Generated by keramos {provenance.version} from {source}; "
        f"rerun keramos instead of editing. Source sha256 {provenance.sha256}."
    )
    return [*wrap(text, LINE), LICENCE]


def _kind(value: Value) -> str:
    kinds = {"float32": "np.float32", "int32": "np.int32", "bool": "np.bool_"}
    return f"NDArray[{kinds[value.dtype]}]"


def _string(text: str) -> str:
    """Return a literal of *text*, in pieces that fit a line."""
    whole = literal(text)
    if len(whole) <= LONGEST_LITERAL:
        return whole
    # A character takes at most ten, as in "\\U0001f600".
    step = LONGEST_LITERAL // 10
    parts = [literal(text[at : at + step]) for at in range(0, len(text), step)]
    return f"({' '.join(parts)})"


def _ports(values: Sequence[Value], names: Sequence[str] = ()) -> list[Port]:
    """Return the ports under *names*, or under the values' own."""
    return [
        Port(
            _string(name),
            f"Tensor({_string(name)}, {literal(value.shape)}, {literal(value.dtype)})",
        )
        for name, value in zip(names or [x.name for x in values], values, strict=False)
    ]


def _table(graph: Graph) -> list[str]:
    """Return the stages as lines of a table: name, layers, output, weights."""
    rows = [("stage", "layers", "output", "weights")]
    rows += [
        (
            name,
            layers(node),
            " ".join(shape_text(spec.shape) for spec in node.specs),
            str(_weight_count(node)),
        )
        for node, name in stage_names(graph).items()
    ]
    cut = [tuple(_cut(cell) for cell in row) for row in rows]
    widths = [max(len(row[k]) for row in cut) for k in range(3)]
    return [
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  "
        f"{row[2]:<{widths[2]}}  {row[3]}".rstrip()
        for row in cut
    ]


def _cut(cell: str) -> str:
    return cell if len(cell) <= COLUMN else f"{cell[: COLUMN - 3]}..."


def _weight_count(node: Node) -> int:
    """Return the number of constants that a stage reads."""
    total = 0
    for x in dict.fromkeys(node.inputs):
        if x.constant is not None:
            count = 1
            for d in x.shape:
                count *= d or 0
            total += count
    return total


def _manifest(  # noqa: PLR0913 - parts of one document
    files: Mapping[str, bytes],
    name: str,
    options: Mapping[str, object],
    provenance: Provenance,
    *,
    precision: Sequence[Precision],
    halves: Halves | None,
    plans: Sequence[PlanReport],
) -> bytes:
    document: dict[str, object] = {
        "name": name,
        "keramos": provenance.version,
        "source": {
            "file": provenance.source,
            "sha256": provenance.sha256,
            "keras_version": provenance.keras_version,
        },
        "options": dict(options),
        "files": {
            path: hashlib.sha256(content).hexdigest() for path, content in files.items()
        },
    }
    if plans:
        document["plans"] = [plan.document() for plan in plans]
    if precision:
        document["precision"] = [
            {
                "option": each.option,
                "output": each.output,
                "largest": _rounded(each.largest),
                "relative": _rounded(each.relative),
            }
            for each in precision
        ]
    if halves is not None and halves.warnings():
        document["warnings"] = list(halves.warnings())
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _rounded(number: float) -> float | None:
    """Return three digits, which are the same on every machine; None for infinity."""
    return float(f"{number:.2e}") if math.isfinite(number) else None
