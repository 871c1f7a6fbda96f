"""Whatever is an output as well stays what it is, on the CPU and on the GPU."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from emitted import assert_close, predict, tolerances
from gl.device import run
from hypothesis import given
from strategies_graphs import graphs, inputs_for

from keramos.graph import Graph
from keramos.passes import optimise
from keramos.plan.layout import Limits


def tapped(graph: Graph) -> Graph:
    """Return *graph* with every result that is a number as a further output."""
    results = [
        y for node in graph.nodes for y in node.results() if y.dtype == "float32"
    ]
    names = [f"tap_{place}" for place in range(len(results))]
    outputs = (*graph.outputs, *results)
    return Graph(graph.inputs, outputs, (*graph.output_names, *names), graph.name)


@given(graph=graphs(free=False))
def test_taps_keep_their_values_on_the_cpu(graph: Graph) -> None:
    whole = tapped(graph)
    inputs = inputs_for(graph, 3, np.random.default_rng(0))

    found = predict(optimise(whole), inputs)

    assert_close(found, whole.evaluate(*inputs), tolerances(whole, inputs))


@pytest.mark.parametrize("size", [64, 4096])
@given(graph=graphs(free=False))
def test_taps_keep_their_values_on_the_gpu(size: int, graph: Graph) -> None:
    whole = tapped(graph)
    inputs = inputs_for(graph, 2, np.random.default_rng(0))
    limits = Limits(texture_size=size, layers=256, draw_buffers=4)

    with TemporaryDirectory() as folder:
        found, _ = run(optimise(whole), inputs, Path(folder), limits=limits, batch=1)

    expected = whole.evaluate(*inputs)
    bounds = tolerances(whole, inputs)
    for a, b, bound in zip(found, expected, bounds, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b.astype(np.float64)).max(initial=0) <= bound
