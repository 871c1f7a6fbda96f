"""Emitted NumPy gives what the graph means."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from emitted import arrays, assert_close, files, package, tolerances
from hypothesis import given
from hypothesis import strategies as st
from strategies_graphs import LENGTHS, graphs, inputs_for

from keramos.graph import Graph


@given(
    graph=graphs(),
    n=st.sampled_from([1, 3, 0]),
    length=st.sampled_from(LENGTHS),
    seed=st.integers(0, 2**16),
)
def test_a_package_agrees_with_its_graph(
    graph: Graph, n: int, length: int, seed: int
) -> None:
    inputs = inputs_for(graph, n, np.random.default_rng(seed), length=length)
    expected = graph.evaluate(*inputs)
    bounds = tolerances(graph, inputs) if n else [0.0] * len(expected)

    with TemporaryDirectory() as folder:
        module = package(graph, Path(folder))
        actual = arrays(module.predict(*inputs))

    assert_close(actual, expected, bounds)


@given(graph=graphs())
def test_a_package_verifies_itself(graph: Graph) -> None:
    with TemporaryDirectory() as folder:
        report = package(graph, Path(folder)).verify()

    assert report.stages == len(graph.nodes)


@given(graph=graphs())
def test_inputs_are_never_written_to(graph: Graph) -> None:
    inputs = inputs_for(graph, 2, np.random.default_rng(0))
    before = [x.copy() for x in inputs]

    with TemporaryDirectory() as folder:
        outputs = arrays(package(graph, Path(folder)).predict(*inputs))
        for y in outputs:
            y[...] = 0

    for x, old in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x, old)


@given(graph=graphs())
def test_the_same_graph_gives_the_same_bytes(graph: Graph) -> None:
    assert files(graph, name="model") == files(graph, name="model")
