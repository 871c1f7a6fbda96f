"""Convolutions that are pooled where they are computed give what both layers do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pytest
from gl.device import run
from hypothesis import given
from hypothesis import strategies as st
from small_graphs import graph, value, weight

from keramos.expr import Expr, call, operand, operands_of, where
from keramos.graph import Graph, Node, Value, apply
from keramos.passes import optimise
from keramos.plan.gl import _Builder, plan
from keramos.plan.layout import Limits, Profile
from keramos.plan.pooling import pooled
from keramos.plan.profile import PROFILES, limits
from keramos.plan.stages import Stage
from keramos.primitives import Conv, Map, Padding, Window

TOLERANCE = 3e-6
LIMITS = [
    Limits(texture_size=16, layers=64, draw_buffers=4),
    Limits(texture_size=64, draw_buffers=1),
    limits(4096),
    limits(16384),
    limits(64, "software"),
    limits(4096, "software"),
]
RELU = call("max", operand(0) + operand(1), 0.0)
# Activations behind a bias that the largest result of a window passes on.
RISING = {
    "nothing": operand(0),
    "bias": operand(0) + operand(1),
    "relu": RELU,
    "relu6": call("min", RELU, 6.0),
    "leaky": call("max", operand(0) + operand(1), 0.25 * (operand(0) + operand(1))),
    "tanh": call("tanh", operand(0) - operand(1)),
}
NOT_RISING = {
    "square": operand(0) * operand(0),
    "swish": operand(0) * call("sigmoid", operand(0)),
    "chosen": where(operand(0) < 0.0, operand(0), 1.0 - operand(0)),
}


def network(  # noqa: PLR0913 - options, each by its name
    x: Value,
    expr: Expr,
    *,
    window: tuple[int, ...] = (3, 3),
    strides: tuple[int, ...] = (1, 1),
    padding: Padding = (0, 0),
    filters: int = 8,
    pool: Window | None = None,
    after: Expr | None = None,
) -> Value:
    """Return a convolution, *expr* of that and a bias, and a pooling."""
    rank = len(window)
    kernel = weight("kernel", *window, x.shape[-1] or 0, filters)
    ones = (1,) * rank
    conv = Conv(strides, (padding,) * rank, ones, ones)
    bias = weight("bias", filters)
    (y,) = apply(conv, x, kernel)
    biased = (bias,) if 1 in operands_of(expr) else ()
    (y,) = apply(Map(expr), y, *biased)
    two = (2,) * rank
    (y,) = apply(pool or Window("max", two, two, ((0, 0),) * rank), y)
    return y if after is None else apply(Map(after), y)[0]


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    """Draw convolutions and poolings of one or two axes that one kernel computes."""
    rank = draw(st.integers(1, 2))
    window = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    strides = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    size = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    padding: Padding = draw(st.sampled_from(["same", (0, 0), (1, 2)]))
    least = [(w - 1) + (p * s) for w, p, s in zip(window, size, strides, strict=True)]
    shape = [draw(st.integers(low, low + 9)) for low in least]
    depth = draw(st.sampled_from([1, 2, 3, 4, 5, 8]))
    x = value(*shape, depth)
    # Of a computed tensor, whose layout may be any.
    (given_,) = apply(Map(operand(0) * 2.0), x)
    y = network(
        given_,
        RISING[draw(st.sampled_from([*RISING]))],
        window=window,
        strides=strides,
        padding=padding,
        filters=draw(st.sampled_from([1, 4, 6, 8, 20])),
        pool=Window("max", size, size, ((0, 0),) * rank),
        after=draw(st.sampled_from([None, operand(0) * -0.5])),
    )
    return Graph((x,), (y,), ("y",))


@contextmanager
def always() -> Iterator[None]:
    """Let the planner think that all that can be computed in one draw takes no time."""
    duration = _Builder.duration

    def biased(builder: _Builder, order: list[Node]) -> float:
        taken = duration(builder, order)
        return taken / 1e9 if len(order) == 1 else taken

    with patch.object(_Builder, "duration", biased):
        yield


def families(model: Graph, allowed: Limits) -> list[str]:
    gl = plan(optimise(model), batch=1, limits=allowed, where="model")
    return [stage.family for stage in gl.stages if isinstance(stage, Stage)]


@pytest.mark.parametrize("allowed", LIMITS, ids=str)
@pytest.mark.parametrize("batch", [1, 2])
@given(model=networks())
def test_one_draw_gives_what_the_layers_do(
    allowed: Limits, batch: int, model: Graph
) -> None:
    (x,) = model.inputs
    shape = (3, *(d or 0 for d in x.shape))
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (expected,) = model.evaluate(data)

    with always(), TemporaryDirectory() as folder:
        (actual,), gl = run(
            optimise(model), [data], Path(folder), limits=allowed, batch=batch
        )

    scale = max(1.0, np.abs(expected).max(initial=0))
    assert np.abs(actual - expected).max(initial=0) <= TOLERANCE * scale
    kept = [s.family for s in gl.stages if isinstance(s, Stage)]
    assert ("conv_pool" in kept) == any(pooled(optimise(model)))


@given(model=networks())
def test_what_computes_both_means_the_same(model: Graph) -> None:
    (x,) = model.inputs
    shape = (2, *(d or 0 for d in x.shape))
    data = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    tidy = optimise(model)

    for pool, conv, both in pooled(tidy):
        given_ = conv.inputs[0]
        values = [
            *Graph(tidy.inputs, (given_,), ("x",)).evaluate(data),
            *(z.constant.array()[None] for z in both.inputs[1:] if z.constant),
        ]
        (expected,) = Graph(tidy.inputs, pool.results(), ("y",)).evaluate(data)
        (actual,) = both.evaluate(*values)
        assert np.allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("expr", RISING.values(), ids=[*RISING])
def test_pictures_are_pooled_where_they_are_computed(
    profile: Profile, expr: Expr
) -> None:
    model = graph(network(value(26, 26, 32), expr, filters=64))

    found = families(model, limits(16384, profile))

    assert "conv_pool" in found
    assert "pool" not in found


@pytest.mark.parametrize("expr", NOT_RISING.values(), ids=[*NOT_RISING])
def test_other_activations_need_all_results(expr: Expr) -> None:
    model = graph(network(value(26, 26, 32), expr, filters=64))

    with always():
        found = families(model, limits(16384))

    assert "pool" in found
    assert "conv_pool" not in found


@pytest.mark.parametrize(
    "pool",
    [
        Window("max", (3, 3), (2, 2), ((0, 0),) * 2),
        Window("mean", (2, 2), (2, 2), ((0, 0),) * 2),
        Window("max", (2, 2), (2, 2), ((1, 1),) * 2),
    ],
    ids=["overlapping", "mean", "padded"],
)
def test_other_poolings_stay_apart(pool: Window) -> None:
    model = graph(network(value(26, 26, 32), RELU, filters=64, pool=pool))

    with always():
        found = families(model, limits(16384))

    assert "pool" in found
    assert "conv_pool" not in found


def test_what_is_read_elsewhere_is_stored() -> None:
    y = network(value(26, 26, 32), RELU, filters=64)
    assert y.node is not None
    model = graph(y, y.node.inputs[0])

    with always():
        found = families(model, limits(16384))

    assert "pool" in found
    assert "conv_pool" not in found
