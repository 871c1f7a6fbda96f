"""Emitted packages pass the linters that Keramos itself passes, whatever the names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import as_file
from itertools import cycle
from pathlib import Path
from typing import Any, get_args

import pytest
from emitted import PROVENANCE, files
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_graphs import graphs

from keramos import compile_model, examples
from keramos.graph import Graph, Node, Origin, Storage, Value

ROOT = Path(__file__).parents[2]
WITH_LAYERS: dict[str, dict[str, Any]] = {
    "tapped": {"taps": ("all",)},
    "mapped": {"cam": "auto"},
    "both": {"taps": ("conv2d",), "cam": "conv2d"},
    "alone": {"taps": ("conv2d",), "cam": "auto", "targets": ("cpu",)},
}
PACKAGES = 12
STORAGES = get_args(Storage)

HOSTILE = (
    '"""; import os #',
    "'''",
    "\\",
    "\n",
    "",
    "class",
    "match",
    "print",
    "None",
    "l",
    "x",
    "n",
    "np",
    "w",
    "weights",
    "Weights",
    "predict",
    "stages",
    "windows",
    "F32",
    "after_x",
    "self",
    "__init__",
    "_private",
    "1st",
    "conv/1:0",
    "{{ 7 * 7 }}",
    "{%s}",
    "\N{RIGHT-TO-LEFT OVERRIDE}cipot",
    "\N{GREEK SMALL LETTER ALPHA}",
    "\N{LATIN SMALL LETTER E WITH ACUTE}" * 90,
    "a" * 300,
    "a long name of words " * 20,
    "noqa",
    "type: ignore",
)


def renamed(graph: Graph, names: Sequence[str]) -> Graph:
    """Return *graph* with the names of everything taken from *names*, in turn."""
    source = cycle(names)
    values: dict[Value | tuple[Node, int], Value] = {}
    nodes: dict[Node, Node] = {}

    def value(x: Value) -> Value:
        if x.node is not None:
            return nodes[x.node].results()[x.index]
        if x not in values:
            values[x] = replace(x, name=next(source))
        return values[x]

    inputs = tuple(map(value, graph.inputs))
    for node in graph.nodes:
        origins = tuple(Origin(next(source), next(source)) for _ in range(3))
        nodes[node] = replace(
            node, inputs=tuple(map(value, node.inputs)), origins=origins
        )
    outputs = tuple(map(value, graph.outputs))
    labels = tuple(f"{next(source)}{place}" for place in range(len(outputs)))
    return Graph(inputs, outputs, labels)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with packages of drawn graphs, half of them with bad names."""
    folder = tmp_path_factory.mktemp("drawn")
    count = iter(range(1000))

    @settings(max_examples=PACKAGES)
    @given(graph=graphs(max_nodes=8), names=st.permutations(HOSTILE))
    def draw(graph: Graph, names: list[str]) -> None:
        number = next(count)
        drawn = renamed(graph, names) if number % 2 else graph
        name = f"drawn_{'long_' * (number % 3 * 5)}{number}"
        origin = replace(PROVENANCE, source=names[0] * (number % 2) + ".h5")
        weights = STORAGES[number % 3]
        content = files(drawn, name=name, provenance=origin, weights=weights)
        for path, text in content.items():
            target = folder / name / path
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(text)

    draw()
    with as_file(examples.digits("digits.keras")) as model:
        for name, options in WITH_LAYERS.items():
            compile_model(model, folder, name=name, **options)
    return folder


def run(folder: Path, *command: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout + result.stderr


def test_ruff_finds_nothing(folder: Path) -> None:
    found = run(
        folder,
        "ruff",
        "check",
        "--no-cache",
        "--config",
        str(ROOT / "pyproject.toml"),
        "--extend-per-file-ignores",
        "**/test_*.py:D103",
        "--extend-per-file-ignores",
        "**/test_*.py:S101",
        ".",
    )

    assert found == "All checks passed!\n"


def test_black_finds_nothing(folder: Path) -> None:
    assert "would reformat" not in run(folder, "black", "--check", ".")


def test_mypy_finds_nothing(folder: Path) -> None:
    cache = str(ROOT / ".mypy_cache")
    packages = sorted(path.name for path in folder.iterdir() if path.is_dir())

    found = run(folder, "mypy", "--strict", "--cache-dir", cache, *packages)

    assert found.startswith("Success: no issues found in ")


@given(
    graph=graphs(max_nodes=4),
    names=st.lists(st.text(max_size=30), min_size=1, max_size=20),
)
def test_names_of_any_characters_give_valid_modules(
    graph: Graph, names: list[str]
) -> None:
    content = files(renamed(graph, names), name="model")

    for path, text in content.items():
        if path.endswith(".py"):
            compile(text, path, "exec")
            assert text.isascii()
