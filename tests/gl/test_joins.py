"""Concatenations that are written in place, with what the graph means."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from gl.device import run
from hypothesis import given
from hypothesis import strategies as st

from keramos.expr import call, operand
from keramos.graph import Graph, Value, apply, literal
from keramos.plan.gl import plan
from keramos.plan.layout import Limits
from keramos.plan.profile import limits
from keramos.primitives import Concat, Conv, Map, Slice, Spec

SIZE = 6
# Sums of up to a few hundred products in another order.
TOLERANCE = 1e-5
LIMITS = [
    Limits(texture_size=16, layers=64, draw_buffers=4),
    Limits(texture_size=4096, draw_buffers=1),
    limits(4096),
    limits(16384),
    limits(4096, "software"),
]


def conv(x: Value, filters: int, window: int, rng: np.random.Generator) -> Value:
    """Return a convolution of the same size."""
    shape = (window, window, x.shape[-1] or 1, filters)
    kernel = literal((rng.standard_normal(shape) * 0.1).astype(np.float32))
    pad = (window // 2, window // 2)
    return apply(Conv((1, 1), (pad, pad), (1, 1), (1, 1)), x, kernel)[0]


def relu(x: Value) -> Value:
    """Return the positive part."""
    return apply(Map(call("max", operand(0), 0.0 * operand(0))), x)[0]


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """Draw networks of convolutions, maps, slices and many concatenations."""
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    depth = draw(st.sampled_from([4, 8, 12]))
    x = Value(Spec((SIZE, SIZE, depth)), name="x")
    values = [relu(x)]
    for _ in range(draw(st.integers(2, 7))):
        source = draw(st.sampled_from(values))
        match draw(st.sampled_from(["1x1", "3x3", "relu", "slice", "join", "join"])):
            case "1x1" | "3x3" as kind:
                filters = draw(st.sampled_from([4, 8, 20, 6]))
                values.append(conv(source, filters, int(kind[0]), rng))
            case "relu":
                values.append(relu(source))
            case "slice" if (source.shape[-1] or 0) > LANES:
                whole = (None, None, 1)
                values.append(apply(Slice((whole, whole, (4, None, 1))), source)[0])
            case _:
                parts = draw(st.lists(st.sampled_from(values), min_size=2, max_size=4))
                values.append(apply(Concat(2), *parts)[0])
    outputs = tuple(dict.fromkeys([values[-1], draw(st.sampled_from(values))]))
    names = tuple(f"y{k}" for k in range(len(outputs)))
    return Graph((x,), outputs, names)


LANES = 4


@pytest.mark.parametrize("allowed", LIMITS, ids=range(len(LIMITS)))
@given(graph=networks(), batch=st.sampled_from([1, 2]))
def test_joins_give_what_the_graph_means(
    allowed: Limits, graph: Graph, batch: int
) -> None:
    x = np.random.default_rng(1).standard_normal(
        (2, *map(int, filter(None, graph.inputs[0].shape)))
    )
    expected = graph.evaluate(x.astype(np.float32))

    with TemporaryDirectory() as folder:
        given_ = [x.astype(np.float32)]
        actual, gl = run(graph, given_, Path(folder), limits=allowed, batch=batch)

    for a, e in zip(actual, expected, strict=True):
        assert np.abs(a - e).max() <= TOLERANCE * max(1.0, np.abs(e).max())
    for stage in gl.stages:
        read = {gl.texture(tensor) for tensor in stage.operands}
        assert not read.intersection(gl.texture(tensor) for tensor in stage.outputs)
    assert len({stage.name for stage in gl.stages}) == len(gl.stages)


def test_a_dense_block_has_no_stage_that_concatenates() -> None:
    rng = np.random.default_rng(0)
    x = Value(Spec((SIZE, SIZE, 16)), name="x")
    y = relu(x)
    for _ in range(4):
        y = apply(Concat(2), y, conv(conv(relu(y), 32, 1, rng), 8, 3, rng))[0]
    graph = Graph((x,), (relu(y),), ("y",))

    gl = plan(graph, batch=1, limits=limits(16384), where="model")

    families = [stage.family for stage in gl.stages]
    assert "move" not in families
    # At most an activation and two convolutions for each layer, and the two outside.
    assert len(families) <= 4 * 3 + 2


def test_what_reads_a_part_and_gives_another_is_copied() -> None:
    x = Value(Spec((SIZE, SIZE, 8)), name="x")
    y = relu(x)
    (joined,) = apply(Concat(2), y, relu(y))
    graph = Graph((x,), (joined,), ("y",))

    gl = plan(graph, batch=1, limits=limits(4096), where="model")

    assert len(gl.stages) == 3
