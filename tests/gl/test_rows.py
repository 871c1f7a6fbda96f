"""Normalisations and attention, whose rows are reduced and then multiplied."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from gl.device import run
from hypothesis import given
from hypothesis import strategies as st

from keramos import ops
from keramos.graph import Graph, Storage, Value, literal
from keramos.passes import optimise
from keramos.plan.gl import plan
from keramos.plan.layout import Limits
from keramos.plan.profile import limits
from keramos.plan.stages import GlPlan
from keramos.primitives import Spec

# Sums of up to a few hundred products in another order; halves have 11 bits.
TOLERANCES: dict[Storage, float] = {"float32": 1e-5, "float16": 2.0**-7}
LIMITS = [
    Limits(texture_size=16, layers=64, draw_buffers=4),
    Limits(texture_size=64, draw_buffers=1),
    Limits(texture_size=256, draw_buffers=8),
    limits(4096, "software"),
    limits(16384),
]


def numbers(rng: np.random.Generator, *shape: int) -> Value:
    """Return random weights."""
    return literal((rng.standard_normal(shape) / 4).astype(np.float32))


def normalised(x: Value, rng: np.random.Generator) -> Value:
    """Return what a LayerNormalization gives."""
    depth = x.shape[-1] or 0
    mean, variance = ops.moments(x, [-1], keepdims=True)
    scale = ops.rsqrt(variance + 1e-3)
    return (x - mean) * scale * numbers(rng, depth) + numbers(rng, depth)


def attention(x: Value, y: Value, *, causal: bool, heads: int) -> Value:
    """Return what the keys of *y* that are like those of *x* have for values."""
    width = x.shape[-1] or 0
    rows, columns = x.shape[0] or 0, y.shape[0] or 0
    q, k = x, y
    scores, combine = "td,sd->ts", "ts,sd->td"
    if heads > 1:
        q = ops.reshape(x, [rows, heads, width // heads])
        k = ops.reshape(y, [columns, heads, width // heads])
        scores, combine = "shd,thd->hts", "hts,shd->thd"
        weights = ops.einsum(scores, k, q * 0.5)
    else:
        weights = ops.einsum(scores, q, k)
    if causal:
        hidden = np.triu(np.full((rows, columns), -1e9, np.float32), 1)
        weights = weights + literal(hidden)
    seen = ops.softmax(weights, -1)
    return ops.reshape(ops.einsum(combine, seen, k), [rows, width])


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """Draw rows that are normalised, projected, attended to, added and joined."""
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    rows, width = draw(st.sampled_from([3, 8, 21])), draw(st.sampled_from([6, 8, 20]))
    x = Value(Spec((rows, width)), name="x")
    values = [x]
    for _ in range(draw(st.integers(1, 5))):
        source, other = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        kinds = ["normal", "dense", "attention", "add", "join", "mean", "tanh"]
        match draw(st.sampled_from(kinds)):
            case "normal":
                values.append(normalised(source, rng))
            case "dense":
                values.append(ops.matmul(source, numbers(rng, width, width)))
            case "attention":
                heads, causal = draw(st.sampled_from([1, 2])), draw(st.booleans())
                values.append(attention(source, other, causal=causal, heads=heads))
            case "add":
                values.append(source + other)
            case "join":
                whole = ops.concatenate([source, ops.tanh(other)], -1)
                values.append(ops.matmul(whole, numbers(rng, 2 * width, width)))
            case "mean":
                values.append(source - ops.mean(source, [-1], keepdims=True))
            case _:
                values.append(ops.tanh(source))
    outputs = tuple(dict.fromkeys([values[-1], draw(st.sampled_from(values[1:]))]))
    names = tuple(f"y{k}" for k in range(len(outputs)))
    return optimise(Graph((x,), outputs, names))


def sizes(graph: Graph) -> tuple[int, ...]:
    """Return the shape of the input."""
    return tuple(d or 0 for d in graph.inputs[0].shape)


def assert_right(
    graph: Graph, allowed: Limits, *, batch: int = 1, storage: Storage = "float32"
) -> GlPlan:
    """Assert that programs give what *graph* means; return the plan."""
    x = np.random.default_rng(1).standard_normal((2, *sizes(graph))).astype(np.float32)
    expected = graph.evaluate(x.astype(np.float64))

    with TemporaryDirectory() as folder:
        actual, gl = run(
            graph, [x], Path(folder), limits=allowed, batch=batch, storage=storage
        )

    for y, e in zip(actual, expected, strict=True):
        scale = max(1.0, float(np.abs(e).max()))
        assert np.abs(y - e).max() <= TOLERANCES[storage] * scale
    for stage in gl.stages:
        read = {gl.texture(tensor) for tensor in stage.operands}
        assert not read.intersection(gl.texture(tensor) for tensor in stage.outputs)
    assert len({stage.name for stage in gl.stages}) == len(gl.stages)
    return gl


@pytest.mark.parametrize("allowed", LIMITS, ids=range(len(LIMITS)))
@given(graph=networks(), batch=st.sampled_from([1, 2]))
def test_rows_give_what_the_graph_means(
    allowed: Limits, graph: Graph, batch: int
) -> None:
    assert_right(graph, allowed, batch=batch)


@pytest.mark.parametrize("storage", ["float32", "float16"])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (50, 197), (200, 33)])
@pytest.mark.parametrize("allowed", [LIMITS[2], LIMITS[3], LIMITS[4]], ids=range(3))
def test_attention_gives_what_the_graph_means(
    allowed: Limits, rows: int, columns: int, heads: int, storage: Storage
) -> None:
    rng = np.random.default_rng(0)
    x = Value(Spec((rows, 16)), name="x")
    y = ops.einsum("td,ts->sd", x, numbers(rng, rows, columns))
    z = attention(x, y, causal=True, heads=heads)

    assert_right(optimise(Graph((x,), (z,), ("z",))), allowed, storage=storage)


def test_long_attention_is_two_products_and_one_pass_over_the_scores() -> None:
    x = Value(Spec((512, 32)), name="x")
    graph = Graph((x,), (attention(x, x, causal=False, heads=4),), ("y",))

    gl = plan(optimise(graph), batch=1, limits=limits(16384), where="model")

    families = [stage.family for stage in gl.stages if stage.family != "map"]
    assert "reduce_twice" in families
    assert not {"softmax", "move", "reduce"}.intersection(families)


def test_what_two_reductions_give_is_read_from_one_texture() -> None:
    x = Value(Spec((8, 12)), name="x")
    mean, variance = ops.moments(x, [-1], keepdims=True)
    graph = optimise(Graph((x,), (mean, variance), ("mean", "variance")))

    gl = assert_right(graph, limits(4096))

    assert [stage.family for stage in gl.stages] == ["reduce_twice", "map", "map"]


def test_halves_are_reduced_one_after_the_other() -> None:
    x = Value(Spec((8, 12)), name="x")
    graph = optimise(Graph((x,), ops.moments(x, [-1], keepdims=True), ("a", "b")))

    gl = assert_right(graph, limits(4096), storage="float16")

    assert [stage.family for stage in gl.stages] == ["reduce", "reduce"]
