"""Loops over time in emitted modules."""

from __future__ import annotations

import numpy as np
import pytest
from javascript.node import check, run
from small_graphs import graph, value, weight

from keramos.expr import call, operand
from keramos.graph import Graph, Value, apply
from keramos.primitives import Contract, Map, Reshape, Scan, Spec


def body(inputs: tuple[Value, ...], *outputs: Value) -> Graph:
    """Return a body."""
    return Graph(inputs, outputs, tuple(f"y{k}" for k in range(len(outputs))))


def add(*values: Value) -> Value:
    """Return the sum of two values."""
    return apply(Map(operand(0) + operand(1)), *values)[0]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("given", ["weights", "values"])
def test_a_recurrent_layer(given: str, *, reverse: bool) -> None:
    step, state = value(3, name="step"), value(4, name="state")
    kernel, recurrent = value(3, 4, name="kernel"), value(4, 4, name="recurrent")
    (a,) = apply(Contract((0,), (0,)), step, kernel)
    (b,) = apply(Contract((0,), (0,)), state, recurrent)
    (new,) = apply(Map(call("tanh", operand(0) + operand(1))), a, b)
    cell = body((step, state, kernel, recurrent), new, new)
    make = (
        weight if given == "weights" else lambda name, *shape: value(*shape, name=name)
    )

    results = apply(
        Scan(cell, 1, 1, reverse),
        value(5, 3),
        make("initial", 4),
        make("w", 3, 4),
        make("u", 4, 4),
    )

    check(graph(*results))


def test_states_that_change_places() -> None:
    step, p, q = value(2, name="step"), value(2, name="p"), value(2, name="q")
    cell = body((step, p, q), q, p, add(step, p))

    results = apply(Scan(cell, 1, 2), value(3, 2), value(2, name="a"), weight("b", 2))

    check(graph(*results))


def test_a_state_that_stays_and_one_that_is_the_step() -> None:
    step, p, q = value(2, name="step"), value(2, name="p"), value(2, name="q")
    cell = body((step, p, q), p, step, q)

    results = apply(Scan(cell, 1, 2), value(3, 2), value(2, name="a"), weight("b", 2))

    check(graph(*results))


def test_results_that_nobody_reads() -> None:
    step, state = value(2, name="step"), value(2, name="state")
    new = add(step, state)
    cell = body((step, state), new, new, add(new, step))

    _, second, _ = apply(Scan(cell, 1, 1), value(3, 2), value(2, name="a"))

    check(graph(second))


def test_one_body_in_two_loops() -> None:
    step, state = value(2, name="step"), value(2, name="state")
    new = add(step, state)
    cell = body((step, state), new, new)
    x, initial = value(3, 2), weight("initial", 2)

    forwards, last = apply(Scan(cell, 1, 1), x, initial)
    backwards, _ = apply(Scan(cell, 1, 1, reverse=True), forwards, last)

    check(graph(add(forwards, backwards)))


def test_a_loop_within_a_loop() -> None:
    letter, inner_state = value(2, name="step"), value(2, name="state")
    sum_ = add(letter, inner_state)
    inner = body((letter, inner_state), sum_, sum_)
    word, state = value(3, 2, name="step"), value(2, name="state")
    sums, last = apply(Scan(inner, 1, 1), word, state)
    outer = body((word, state), last, sums)

    results = apply(Scan(outer, 1, 1), value(4, 3, 2), value(2, name="initial"))

    check(graph(*results))


def test_a_loop_over_a_table_without_states() -> None:
    step, factor = value(2, 2, name="step"), value(4, name="factor")
    (flat,) = apply(Reshape((4,)), step)
    (new,) = apply(Map(operand(0) * operand(1)), flat, factor)
    cell = body((step, factor), new, flat)

    results = apply(Scan(cell, 1, 0), weight("table", 3, 2, 2), value(4))

    check(graph(*results))


def test_a_sequence_without_steps() -> None:
    step, state = Value(Spec((2,)), name="step"), Value(Spec((2,)), name="state")
    new = add(step, state)
    cell = body((step, state), new, new)

    sequence, last = apply(Scan(cell, 1, 1), value(0, 2), value(2, name="a"))

    model = graph(sequence, last)
    numbers = [np.zeros((1, 0, 2), np.float32), np.ones((1, 2), np.float32)]
    outputs = run(model, numbers).outputs
    assert [y.tolist() for y in outputs] == [[[]], [[1, 1]]]
