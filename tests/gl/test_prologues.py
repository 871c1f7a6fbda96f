"""What a convolution computes while it reads has no stage, and the same result."""

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
from keramos.plan.stages import Stage
from keramos.primitives import Conv, Map, Reduce, Spec

TOLERANCE = 1e-5
LIMITS = [Limits(texture_size=64, draw_buffers=1), limits(4096), limits(16384)]


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """Draw a normalisation or an excitation in front of a convolution."""
    size, depth = draw(st.integers(2, 7)), draw(st.sampled_from([4, 8, 20]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    x = Value(Spec((size, size, depth)), name="x")
    (given_,) = apply(Map(operand(0) * 2.0), x)
    scale = literal(rng.uniform(0.5, 2, depth).astype(np.float32), name="scale")
    offset = literal(rng.standard_normal(depth).astype(np.float32), name="offset")
    match draw(st.sampled_from(["normalised", "excited", "swapped"])):
        case "normalised":
            expr = call("max", operand(0) * operand(1) + operand(2), 0.0 * operand(0))
            (y,) = apply(Map(expr), given_, scale, offset)
        case "excited":
            (mean,) = apply(Reduce("mean", (0, 1), keepdims=True), given_)
            (y,) = apply(Map(operand(0) * call("sigmoid", operand(1))), given_, mean)
        case _:
            (y,) = apply(Map(operand(0) - operand(1)), offset, given_)
    filters, stride = draw(st.sampled_from([4, 6, 32])), draw(st.integers(1, 2))
    kernel = rng.standard_normal((1, 1, depth, filters)).astype(np.float32)
    primitive = Conv((stride, stride), ((0, 0), (0, 0)), (1, 1), (1, 1))
    (z,) = apply(primitive, y, literal(kernel, name="kernel"))
    return Graph((x,), (z,), ("z",))


@pytest.mark.parametrize("allowed", LIMITS, ids=range(len(LIMITS)))
@given(graph=networks(), batch=st.sampled_from([1, 2]))
def test_prologues_give_what_the_graph_means(
    allowed: Limits, graph: Graph, batch: int
) -> None:
    x = np.random.default_rng(1).standard_normal(
        (2, *map(int, filter(None, graph.inputs[0].shape)))
    )
    (expected,) = graph.evaluate(x.astype(np.float32))

    with TemporaryDirectory() as folder:
        given_ = [x.astype(np.float32)]
        (y,), gl = run(graph, given_, Path(folder), limits=allowed, batch=batch)

    assert any(isinstance(x, Stage) and x.prologue is not None for x in gl.stages)
    scale = max(1.0, float(np.abs(expected).max()))
    assert np.abs(y - expected).max() <= TOLERANCE * scale


def test_what_others_read_too_has_a_stage() -> None:
    x = Value(Spec((4, 4, 8)), name="x")
    (y,) = apply(Map(call("exp", operand(0))), x)
    kernel = literal(np.ones((1, 1, 8, 8), np.float32))
    primitive = Conv((1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1))
    (z,) = apply(primitive, y, kernel)
    graph = Graph((x,), (y, z), ("y", "z"))

    gl = plan(graph, batch=1, limits=limits(4096), where="model")

    assert gl.stages[0].family == "map"
