"""Emitted modules run in one Node process for all tests."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keramos.emit.javascript import emit_javascript, emit_webassembly
from keramos.graph import Graph
from keramos.plan.names import constant_names

Array = NDArray[Any]
_PROGRAM = Path(__file__).parent / "run_modules.mjs"


# What is stored between stages is rounded to float32, relative to the largest value;
# sums are double, those of kernels float32 but as short as drawn graphs have them.
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Results:
    """The outputs of a batch, and the stages of its first sample by name."""

    outputs: list[Array]
    stages: dict[str, Array]


class Node:
    """A running Node; modules come to it as files in a folder that it leaves behind."""

    def __init__(self) -> None:
        """Start the process."""
        self._folder = TemporaryDirectory()
        self._numbers = itertools.count()
        self._process = subprocess.Popen(
            ["/usr/bin/env", "node", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        text: str,
        tensors: dict[str, Array],
        inputs: Sequence[Array],
        n: int,
        *,
        binary: bytes = b"",
    ) -> Any:  # noqa: ANN401 - JSON
        """Return what the module *text* answers, with the kernels *binary* if any."""
        path = Path(self._folder.name) / f"cpu{next(self._numbers)}.mjs"
        path.write_text(text)
        request = {
            "module": str(path),
            "kernels": base64.b64encode(binary).decode(),
            "tensors": {name: _encoded(x) for name, x in tensors.items()},
            "inputs": [_encoded(x.astype(np.float32)) for x in inputs],
            "n": n,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, f"{answer['error']}\n{text}"
        return answer


@cache
def node() -> Node:
    """Return the process that all tests share."""
    return Node()


def _encoded(array: Array) -> tuple[str, str]:
    return str(array.dtype), base64.b64encode(array.tobytes()).decode()


def _decoded(text: str) -> Array:
    return np.frombuffer(base64.b64decode(text), np.float32)


def run(graph: Graph, inputs: Sequence[Array], *, kernels: bool = False) -> Results:
    """Emit *graph*, with *kernels* or without, and return what its module computes."""
    names = constant_names(graph)
    tensors = {
        name: value.constant.array()
        for value, name in names.items()
        if value.constant is not None
    }
    n = len(inputs[0])
    vectors = emit_webassembly(graph, names=names) if kernels else None
    if vectors is None:
        answer = node().run(emit_javascript(graph, names=names), tensors, inputs, n)
    else:
        text, binary = vectors.text, vectors.binary
        answer = node().run(text, tensors, inputs, n, binary=binary)
    shapes = [tuple(d or 0 for d in spec.shape) for spec in graph.output_specs]
    outputs = [
        _decoded(text).reshape(n, *shape)
        for text, shape in zip(answer["outputs"], shapes, strict=True)
    ]
    stages = {
        name: _decoded(text).reshape(shape) for name, shape, text in answer["stages"]
    }
    return Results(outputs, stages)


def numbers(graph: Graph, n: int) -> list[Array]:
    """Return a batch of *n* samples between -1 and 1 for each input."""
    rng = np.random.default_rng(0)
    shapes = [[n, *(d or 0 for d in spec.shape)] for spec in graph.input_specs]
    return [rng.uniform(-1, 1, shape).astype(np.float32) for shape in shapes]


def check(graph: Graph, inputs: Sequence[Array] | None = None) -> None:
    """Hold the module of *graph* to what it means, in double precision."""
    inputs = numbers(graph, 2) if inputs is None else inputs
    wide = [x.astype(np.float64) if x.dtype == np.float32 else x for x in inputs]
    expected = graph.evaluate(*wide)

    for kernels in (False, True):
        actual = run(graph, inputs, kernels=kernels).outputs

        for a, e in zip(actual, expected, strict=True):
            assert a.shape == e.shape
            scale = max(1.0, np.abs(e).max(initial=0))
            assert np.abs(a - e).max(initial=0) <= TOLERANCE * scale
