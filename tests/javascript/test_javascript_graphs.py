"""Emitted modules give what the graph means, in Node."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from javascript.node import TOLERANCE, check, run
from small_graphs import graph, value, weight
from strategies_graphs import graphs, inputs_for

from keramos.emit.javascript import emit_javascript
from keramos.emit.sample import trace
from keramos.errors import CompileError
from keramos.expr import operand
from keramos.graph import Graph, apply
from keramos.plan.cpu import Names
from keramos.plan.javascript import arena, plan
from keramos.plan.names import constant_names, stage_names
from keramos.primitives import Map, Reduce


@given(drawn=graphs(free=False))
def test_modules_agree_with_the_graph(drawn: Graph) -> None:
    check(drawn, inputs_for(drawn, 3, np.random.default_rng(0)))


@given(drawn=graphs(free=False))
def test_stages_agree_with_the_nodes(drawn: Graph) -> None:
    inputs = inputs_for(drawn, 1, np.random.default_rng(1))
    names = stage_names(drawn)
    expected = {
        names[y.node] + (f"[{y.index}]" if y.index else ""): numbers
        for y, numbers in trace(drawn, inputs)
        if y.node is not None
    }

    stages = run(drawn, inputs).stages

    for name, e in expected.items():
        scale = max(1.0, np.abs(e).max(initial=0))
        assert np.abs(stages[name] - e).max(initial=0) <= TOLERANCE * scale


@given(drawn=graphs(free=False))
def test_the_same_graph_gives_the_same_module(drawn: Graph) -> None:
    names = constant_names(drawn)

    first, second = (emit_javascript(drawn, names=names) for _ in range(2))

    assert first == second


@given(drawn=graphs(free=False))
def test_values_that_are_needed_together_lie_apart(drawn: Graph) -> None:
    uses = plan(drawn, Names(()), where="model").uses

    offsets, size = arena(uses)

    for a in uses:
        assert 0 <= offsets[a] <= size - a.length
        for b in uses:
            together = max(min(uses[a]), min(uses[b])) <= min(
                max(uses[a]), max(uses[b])
            )
            apart = offsets[a] + a.length <= offsets[b] or (
                offsets[b] + b.length <= offsets[a]
            )
            assert a is b or apart or not together


def test_a_chain_of_layers_reuses_its_memory() -> None:
    y = x = value(1000)
    for _ in range(10):
        (y,) = apply(Map(operand(0) + operand(1)), y, weight("w", 1000))

    uses = plan(graph(y), Names(()), where="model").uses
    _, size = arena(uses)

    assert x.shape == y.shape
    assert size == 1000


def test_a_batch_of_none_gives_empty_outputs() -> None:
    x = value(3)
    doubled = graph(*apply(Map(operand(0) * 2), x))

    (y,) = run(doubled, [np.zeros((0, 3), np.float32)]).outputs

    assert y.shape == (0, 3)


def test_an_input_that_is_an_output_comes_back() -> None:
    x = value(2)
    numbers = np.array([[1, 2], [3, 4]], np.float32)

    first, second = run(graph(x, *apply(Map(operand(0) * 2), x)), [numbers]).outputs

    assert first.tolist() == numbers.tolist()
    assert second.tolist() == (numbers * 2).tolist()


def test_free_dimensions_are_refused() -> None:
    free = graph(*apply(Reduce("sum", (0,)), value(None, 3)))

    with pytest.raises(CompileError) as caught:
        emit_javascript(free, names={}, where="speech.h5")

    assert str(caught.value) == (
        "speech.h5: the web target needs fixed shapes, but input 'x' is float32[?, 3]"
        " (pass --input-shape INPUT=D1,D2,... for each, or --target cpu)"
    )
