"""Emitted NumPy gives what the graph means."""

from __future__ import annotations

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from emitted import assert_close, files, package, predict, tolerances
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_graphs import LENGTHS, graphs, inputs_for

from keramos.expr import const, operand
from keramos.graph import Graph, Node, Origin, Value, apply, literal
from keramos.passes import optimise
from keramos.primitives import Concat, Conv, Map, Reshape, Spec

# Small families, since each kernel is rare among graphs of everything.
FAMILIES = {
    "all": (),
    "windows": ("conv", "window"),
    "products": ("contract", "dot", "transpose"),
    "movements": ("gather", "concat", "slice", "pad", "reshape"),
    "resampling": ("resize", "reduce", "reshape"),
    "elementwise": ("map", "outer", "softmax"),
    "loops": ("scan", "slice"),
}


@pytest.mark.parametrize("kinds", FAMILIES.values(), ids=FAMILIES)
@given(
    data=st.data(),
    n=st.sampled_from([1, 3, 0]),
    length=st.sampled_from(LENGTHS),
    optimised=st.booleans(),
)
def test_emitted_code_agrees_with_the_graph(
    kinds: tuple[str, ...],
    data: st.DataObject,
    n: int,
    length: int,
    *,
    optimised: bool,
) -> None:
    graph = data.draw(graphs(kinds=kinds))
    graph = optimise(graph) if optimised else graph

    assert_agrees(graph, n, length=length)


def assert_agrees(graph: Graph, n: int, *, length: int = LENGTHS[0]) -> None:
    """Hold what is emitted for *graph* to what it means, on a batch of *n*."""
    inputs = inputs_for(graph, n, np.random.default_rng(n), length=length)
    # First: fresh memory must not hold what is expected by chance.
    actual = predict(graph, inputs)

    expected = graph.evaluate(*inputs)
    bounds = tolerances(graph, inputs) if n else [0.0] * len(expected)
    assert_close(actual, expected, bounds)


@st.composite
def convolutions(draw: st.DrawFn) -> Graph:
    """Draw a convolution: plain, transposed, of one tap, grouped or depthwise."""
    rank = draw(st.integers(1, 3))
    free = draw(st.booleans())

    def each(values: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(values) for _ in range(rank))

    kind = draw(st.sampled_from(["plain", "transposed", "one", "grouped", "depthwise"]))
    depth, multiplier = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    groups = {"grouped": 2, "depthwise": depth}.get(kind, 1)
    channels = depth * 2 if kind == "grouped" else depth
    filters = groups * multiplier
    window = (1,) * rank if kind == "one" else each(st.integers(1, 4))
    ones = (1,) * rank
    primitive = Conv(
        ones if kind == "transposed" else each(st.integers(1, 3)),
        tuple((draw(st.integers(0, 5)), draw(st.integers(0, 5))) for _ in range(rank)),
        each(st.integers(1, 2)),
        each(st.integers(1, 3)) if kind == "transposed" else ones,
        groups,
    )
    sizes = each(st.integers(5, 9))
    x = Value(Spec((*((None,) * rank if free else sizes), channels)), name="x")
    numbers = np.random.default_rng(depth).uniform(
        -1, 1, (*window, channels // groups, filters)
    )
    kernel = literal(numbers.astype(np.float32), name="kernel")
    return Graph((x,), apply(primitive, x, kernel), ("y",))


@settings(max_examples=100)
@given(graph=convolutions(), length=st.sampled_from(LENGTHS))
def test_every_kind_of_convolution_agrees(graph: Graph, length: int) -> None:
    assert_agrees(graph, 2, length=length)


def test_large_images_are_convolved_in_strips() -> None:
    x = Value(Spec((150, 40, 16)), name="x")
    numbers = np.random.default_rng(0).standard_normal((3, 3, 16, 8))
    kernel = literal(numbers.astype(np.float32), name="kernel")
    same = Conv((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1))

    assert_agrees(Graph((x,), apply(same, x, kernel), ("y",)), 2)


@settings(max_examples=12)
@given(graph=graphs())
def test_a_package_verifies_itself(graph: Graph) -> None:
    with TemporaryDirectory() as folder:
        report = package(graph, Path(folder)).verify()

    assert report.stages == len(graph.nodes)


@given(graph=graphs())
def test_outputs_have_memory_of_their_own(graph: Graph) -> None:
    inputs = inputs_for(graph, 2, np.random.default_rng(0))

    outputs = predict(graph, inputs)

    pairs = itertools.combinations([*inputs, *outputs], 2)
    assert not any(np.shares_memory(a, b) for a, b in pairs)
    assert all(y.flags.writeable for y in outputs)


X = Value(Spec((4, 3)), name="image")
TABLE = literal(np.arange(12, dtype=np.float32).reshape(4, 3), name="table")
ROW = literal(np.array([[1.0, 2.0, 3.0]], np.float32), name="row")


def fixed() -> Value:
    """Return a value that depends on constants alone: passes may leave such nodes."""
    doubled = Map(operand(0) * 2)
    node = Node(doubled, (TABLE,), (TABLE.spec,), (Origin("double", "Lambda"),))
    return node.results()[0]


@pytest.mark.parametrize(
    "outputs",
    [
        pytest.param((X,), id="an input"),
        pytest.param((X, X), id="an input twice"),
        pytest.param((TABLE,), id="a constant"),
        pytest.param((fixed(),), id="what depends on constants alone"),
        pytest.param(apply(Map(operand(0) + operand(1)), X, fixed()), id="both"),
        pytest.param(apply(Map(const(2.0)), X), id="a number"),
        pytest.param(apply(Map(operand(1)), X, ROW), id="a broadcast constant"),
        pytest.param(apply(Map(operand(0) * operand(2)), X, X, X), id="one thrice"),
        pytest.param(apply(Concat(0), X, TABLE, X), id="a constant in between"),
        pytest.param(apply(Reshape((12,)), X) * 2, id="a view twice"),
    ],
)
@pytest.mark.parametrize("n", [0, 1, 3])
def test_odd_graphs_agree(outputs: tuple[Value, ...], n: int) -> None:
    names = tuple(f"y{place}" for place in range(len(outputs)))

    assert_agrees(Graph((X,), outputs, names), n)


@settings(max_examples=8)
@given(graph=graphs())
def test_the_same_graph_gives_the_same_bytes(graph: Graph) -> None:
    assert files(graph, name="model") == files(graph, name="model")
