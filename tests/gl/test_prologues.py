"""What a stage computes while it reads has no stage, and the same result."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from unittest.mock import patch

import numpy as np
import pytest
from gl.device import run
from hypothesis import given
from hypothesis import strategies as st

from keramos.expr import call, operand
from keramos.graph import Graph, Storage, Value, apply, literal
from keramos.plan import prologues
from keramos.plan.gl import plan
from keramos.plan.layout import Limits
from keramos.plan.profile import limits
from keramos.plan.stages import Stage
from keramos.primitives import Contract, Conv, Map, Reduce, Spec

Kind = Literal["sum", "mean", "max"]

# Halves have 11 bits, and a few of the roundings add up.
TOLERANCES: dict[Storage, float] = {"float32": 1e-5, "float16": 2.0**-7}
LIMITS = [
    Limits(texture_size=16, layers=64, draw_buffers=4),
    Limits(texture_size=64, draw_buffers=1),
    limits(4096),
    limits(16384),
    limits(4096, "software"),
]


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """Draw elementwise stages in front of what computes them."""
    size, depth = draw(st.integers(2, 7)), draw(st.sampled_from([2, 4, 5, 8, 20]))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    x = Value(Spec((size, size, depth)), name="x")
    (given_,) = apply(Map(operand(0) * 2.0), x)
    kind = draw(st.sampled_from([*MAPS]))
    if kind == "shifted":
        # By one value for each row, which reductions over h find changing.
        (row,) = apply(Reduce("max", (1, 2), keepdims=True), given_)
        (y,) = apply(Map(call("tanh", operand(0) - operand(1))), given_, row)
    else:
        y = MAPS[kind](given_, rng)
    outputs = [draw(takers(y, rng)) for _ in range(draw(st.integers(1, 2)))]
    names = tuple(f"z{k}" for k in range(len(outputs)))
    return Graph((x,), tuple(outputs), names)


def normalised(x: Value, rng: np.random.Generator) -> Value:
    """Return x scaled and shifted by channel, its positive part."""
    depth = x.shape[-1] or 0
    scale = literal(rng.uniform(0.5, 2, depth).astype(np.float32), name="scale")
    offset = literal(rng.standard_normal(depth).astype(np.float32), name="offset")
    expr = call("max", operand(0) * operand(1) + operand(2), 0.0 * operand(0))
    return apply(Map(expr), x, scale, offset)[0]


def excited(x: Value, _: np.random.Generator) -> Value:
    """Return x scaled by what is computed of each channel."""
    (mean,) = apply(Reduce("mean", (0, 1), keepdims=True), x)
    return apply(Map(operand(0) * call("sigmoid", operand(1))), x, mean)[0]


def swapped(x: Value, rng: np.random.Generator) -> Value:
    """Return what is left of a constant, the main operand coming last."""
    offset = rng.standard_normal(x.shape[-1] or 0).astype(np.float32)
    (y,) = apply(Map(operand(0) - operand(1)), literal(offset, name="offset"), x)
    return y


def centred(x: Value, _: np.random.Generator) -> Value:
    """Return x with the mean of each pixel taken off, scaled by a single number."""
    (mean,) = apply(Reduce("mean", (2,), keepdims=True), x)
    (top,) = apply(Reduce("max", (0, 1, 2)), x)
    expr = (operand(0) - operand(1)) * call("rsqrt", call("abs", operand(2)) + 1.0)
    return apply(Map(expr), x, mean, top)[0]


def weighed(x: Value, rng: np.random.Generator) -> Value:
    """Return a softmax over the channels, which isn't 0 in lanes beyond them."""
    (top,) = apply(Reduce("max", (2,), keepdims=True), x)
    scale = literal(rng.uniform(0.5, 2, x.shape[-1] or 0).astype(np.float32))
    expr = call("exp", operand(0) - operand(1)) * operand(2)
    return apply(Map(expr), x, top, scale)[0]


MAPS = {
    "normalised": normalised,
    "excited": excited,
    "swapped": swapped,
    "centred": centred,
    "weighed": weighed,
    "shifted": normalised,
}


@st.composite
def takers(draw: st.DrawFn, y: Value, rng: np.random.Generator) -> Value:
    """Draw what computes y: convolutions, reductions, products."""
    size, depth = y.shape[0] or 0, y.shape[-1] or 0
    match draw(st.sampled_from(["conv", "reduce", "product"])):
        case "conv":
            filters, stride = draw(st.sampled_from([4, 6, 32])), draw(st.integers(1, 2))
            kernel = rng.standard_normal((1, 1, depth, filters)).astype(np.float32)
            primitive = Conv((stride, stride), ((0, 0), (0, 0)), (1, 1), (1, 1))
            return apply(primitive, y, literal(kernel, name="kernel"))[0]
        case "reduce":
            axes = draw(st.sampled_from([(0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)]))
            how: Kind = draw(st.sampled_from(["sum", "mean", "max"]))
            return apply(Reduce(how, axes, keepdims=True), y)[0]
        case _:
            columns = draw(st.sampled_from([3, 8, 16]))
            across = draw(st.booleans())
            shape = (size, columns, depth) if across else (size, depth, columns)
            factors = literal(rng.standard_normal(shape).astype(np.float32))
            contract = Contract((2,), (2 if across else 1,), (0,), (0,))
            return apply(contract, y, factors)[0]


def always(*_: object) -> bool:
    """Return that it pays."""
    return True


@pytest.mark.parametrize("storage", ["float32", "float16"])
@pytest.mark.parametrize("allowed", LIMITS, ids=range(len(LIMITS)))
@given(graph=networks(), batch=st.sampled_from([1, 2]))
def test_prologues_give_what_the_graph_means(
    allowed: Limits, storage: Storage, graph: Graph, batch: int
) -> None:
    x = np.random.default_rng(1).standard_normal(
        (2, *map(int, filter(None, graph.inputs[0].shape)))
    )
    expected = graph.evaluate(x.astype(np.float32))

    # Also where a draw costs less.
    with TemporaryDirectory() as folder, patch.object(prologues, "_pays", always):
        given_ = [x.astype(np.float32)]
        actual, gl = run(
            graph, given_, Path(folder), limits=allowed, batch=batch, storage=storage
        )

    assert any(isinstance(x, Stage) and x.prologue is not None for x in gl.stages)
    for y, e in zip(actual, expected, strict=True):
        scale = max(1.0, float(np.abs(e).max()))
        assert np.abs(y - e).max() <= TOLERANCES[storage] * scale


def test_what_others_read_too_has_a_stage() -> None:
    x = Value(Spec((4, 4, 8)), name="x")
    (y,) = apply(Map(call("exp", operand(0))), x)
    kernel = literal(np.ones((1, 1, 8, 8), np.float32))
    primitive = Conv((1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1))
    (z,) = apply(primitive, y, kernel)
    graph = Graph((x,), (y, z), ("y", "z"))

    gl = plan(graph, batch=1, limits=limits(4096), where="model")

    assert gl.stages[0].family == "map"


def test_a_layer_normalization_and_a_product_are_two_stages() -> None:
    x = Value(Spec((64, 128)), name="x")
    gl = plan(_normalised_product(x), batch=1, limits=limits(4096), where="model")

    families = [stage.family for stage in gl.stages]

    assert len(families) == 2
    assert families[0] == "reduce_twice"


def test_an_expensive_map_is_not_computed_for_every_filter() -> None:
    x = Value(Spec((64, 64, 128)), name="x")
    (y,) = apply(Map(call("erf", call("exp", operand(0)))), x)
    kernel = literal(np.ones((1, 1, 128, 512), np.float32))
    primitive = Conv((1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1))
    graph = Graph((x,), apply(primitive, y, kernel), ("y",))

    gl = plan(graph, batch=1, limits=limits(4096), where="model")

    assert gl.stages[0].family == "map"


def test_what_only_maps_read_is_computed_again() -> None:
    x = Value(Spec((8, 8)), name="x")
    (mean,) = apply(Reduce("mean", (1,), keepdims=True), x)
    (y,) = apply(Map(operand(0) - operand(1)), x, mean)
    outputs = [apply(Map(call(name, operand(0))), y)[0] for name in ("exp", "tanh")]
    graph = Graph((x,), tuple(outputs), ("a", "b"))

    gl = plan(graph, batch=1, limits=limits(4096), where="model")

    assert [stage.family for stage in gl.stages] == ["reduce", "map", "map"]


def _normalised_product(x: Value) -> Graph:
    """Return the graph of a LayerNormalization and a Dense layer."""
    depth = x.shape[-1] or 0
    rng = np.random.default_rng(0)
    gamma, beta = (literal(rng.uniform(1, 2, depth).astype("float32")) for _ in "gb")
    (mean,) = apply(Reduce("mean", (1,), keepdims=True), x)
    centre = x - mean
    (variance,) = apply(Reduce("mean", (1,), keepdims=True), centre * centre)
    expr = operand(0) * call("rsqrt", operand(1) + 1e-3) * operand(2) + operand(3)
    (y,) = apply(Map(expr), centre, variance, gamma, beta)
    weights = literal(rng.standard_normal((depth, 8)).astype(np.float32))
    return Graph((x,), apply(Contract((1,), (0,)), y, weights), ("y",))
