"""What a loop makes of its input alone is computed in front of it."""

from __future__ import annotations

from collections.abc import Sequence

from small_graphs import assert_same, graph, lines, value, weight

from keramos import ops
from keramos.graph import Graph, Value
from keramos.passes.hoist_products import hoist_products
from keramos.primitives import Scan

Results = tuple[Sequence[Value], Sequence[Value]]


def cell(x: Value, h: Value) -> Results:
    """Return what a simple recurrent cell gives; the input's part is two products."""
    inside = ops.tanh(ops.matmul(x, weight("first", 3, 5)))
    h = ops.tanh(ops.matmul(inside, weight("second", 5, 4)) + ops.matmul(h, RECURRENT))
    return [h], [h]


RECURRENT = weight("recurrent", 4, 4)


def recurrent(x: Value) -> Graph:
    """Return a loop over *x*."""
    (y,), _ = ops.scan(cell, [x], [ops.zeros((4,))], reverse=True)
    return graph(y)


def body(of: Graph) -> Graph:
    """Return what the only loop repeats."""
    (scan,) = (n.primitive for n in of.nodes if isinstance(n.primitive, Scan))
    assert isinstance(scan.body, Graph)
    return scan.body


def test_the_products_of_the_input_leave_the_loop() -> None:
    loop = recurrent(value(6, 3))

    hoisted = hoist_products(loop)

    assert lines(hoisted)[:3] == [
        "%0: [6, 5] = Contract(x, first)",
        "%1: [6, 5] = Map[tanh(x0)](%0)",
        "%2: [6, 4] = Contract(%1, second)",
    ]
    assert [line.split("(")[0] for line in lines(body(hoisted))] == [
        "%0: [4] = Contract",
        "%1: [4] = Map[add",
        "%2: [4] = Map[tanh",
        "return 0 = %2",
        "return 1 = %2",
    ]
    assert_same(loop, hoisted)


def test_any_number_of_steps_may_follow() -> None:
    loop = recurrent(value(None, 3))

    assert_same(loop, hoist_products(loop))


def test_the_product_of_a_state_stays() -> None:
    loop = recurrent(value(6, 3))
    once = hoist_products(loop)

    assert str(hoist_products(once)) == str(once)


def test_what_is_no_product_stays() -> None:
    def step(x: Value, h: Value) -> Results:
        h = h + ops.tanh(x) * 2.0
        return [h], [h]

    (y,), _ = ops.scan(step, [value(6, 4)], [ops.zeros((4,))])

    assert str(hoist_products(graph(y))) == str(graph(y))


def test_large_products_stay() -> None:
    def step(x: Value, h: Value) -> Results:
        y = ops.matmul(x, weight("wide", 2, 257)) + h
        return [y], [y]

    (y,), _ = ops.scan(step, [value(3, 256, 2)], [ops.zeros((256, 257))])

    assert str(hoist_products(graph(y))) == str(graph(y))


def test_loops_in_loops_give_their_products_to_the_loop_around_them() -> None:
    def outer(x: Value, h: Value) -> Results:
        (_,), (last,) = ops.scan(cell, [x], [h])
        return [last], [last]

    (y,), _ = ops.scan(outer, [value(2, 6, 3)], [ops.zeros((4,))])
    loop = graph(y)

    hoisted = hoist_products(loop)

    assert [line.split("(")[0] for line in lines(hoisted)][:3] == [
        "%0: [2, 6, 5] = Contract",
        "%1: [2, 6, 5] = Map[tanh",
        "%2: [2, 6, 4] = Contract",
    ]
    assert_same(loop, hoisted)
