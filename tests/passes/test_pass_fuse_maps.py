"""Elementwise nodes go into the ones that alone read them."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import graph, lines, value, weight

from keramos import ops
from keramos.expr import Expr, call, const, evaluate, operand, where
from keramos.graph import elementwise, formula
from keramos.passes.algebra import simplify, size
from keramos.passes.fuse_maps import fuse_maps
from keramos.passes.inline_numbers import inline_numbers


def test_a_chain_becomes_one_node() -> None:
    x = value(4)

    assert lines(fuse_maps(graph(ops.exp(ops.tanh(x * 0.5) + weight("bias", 4))))) == [
        "%0: [4] = Map[exp(add(tanh(mul(x0, 0.5)), x1))](x, bias)",
        "return y = %0",
    ]


def test_what_two_nodes_read_stays_until_they_are_one() -> None:
    x = value(4) + weight("bias", 4)

    assert lines(fuse_maps(graph(x * ops.sigmoid(x)))) == [
        "%0: [4] = Map[mul(add(x0, x1), sigmoid(add(x0, x1)))](x, bias)",
        "return y = %0",
    ]


def test_what_an_output_reads_stays() -> None:
    x = ops.tanh(value(4))
    y = graph(x, ops.exp(x))

    assert lines(fuse_maps(y)) == lines(y)


def test_what_costs_much_is_not_computed_twice() -> None:
    y = graph(ops.silu(ops.tanh(value(4))))

    assert lines(fuse_maps(y)) == lines(y)


def test_what_would_be_computed_for_each_pixel_stays() -> None:
    y = graph(value(8, 8, 4) * ops.sigmoid(value(1, 1, 4, name="gate")))

    assert lines(fuse_maps(y)) == lines(y)


def test_a_truth_value_is_read_as_one() -> None:
    mask = ops.not_equal(value(4, dtype="int32"), 0)

    assert lines(fuse_maps(graph(ops.where(mask, value(4, name="z"), 0.0)))) == [
        "%0: [4] = Map[where(ne(x0, 0), x1, 0)](x, z)",
        "return y = %0",
    ]


def test_a_truth_value_that_was_cast_is_a_number() -> None:
    inside = elementwise("lt", value(4), 1.0, dtype="float32")

    assert lines(fuse_maps(graph(inside + inside * 2.0))) == [
        "%0: [4] = Map[add(where(lt(x0, 1), 1, 0), mul(where(lt(x0, 1), 1, 0), 2))](x)",
        "return y = %0",
    ]


def test_whole_numbers_are_computed_as_such() -> None:
    tokens = elementwise("add", value(4, dtype="int32"), 1)
    y = graph(ops.cast(tokens, "float32"))

    assert lines(fuse_maps(y)) == lines(y)


def test_what_can_be_the_epilogue_of_another_node_stays() -> None:
    kernels = (weight(f"{n}/kernel", 4, 4) for n in "ab")
    a, b = (ops.tanh(ops.matmul(value(4), kernel)) for kernel in kernels)
    y = graph(a + b)

    assert lines(fuse_maps(y)) == lines(y)


def test_single_numbers_become_literals_and_rows_lose_their_leading_axes() -> None:
    x = value(8, 8, 4) * weight("scale", 1) + weight("bias", 1, 1, 4)

    assert lines(inline_numbers(graph(x))) == [
        "%0: [8, 8, 4] = Map[mul(x0, -0.700699449)](x)",
        "%1: [8, 8, 4] = Map[add(x0, x1)](%0, bias)",
        "return y = %1",
    ]


def test_a_single_number_that_gives_the_rank_stays() -> None:
    y = graph(value() * weight("scale", 1))

    assert lines(inline_numbers(y)) == lines(y)


V, W = operand(0), operand(1)
SAME = [
    V - 0,
    0 - V,
    0 + V,
    V + 0,
    V * 1,
    1 * V,
    V / 1,
    1 / V,
    call("neg", -V),
    call("neg", call("abs", V)),
    (V + (const(2) - 3)) * (const(1) / 4),
    where(V < W, const(1) + 1, V * (const(3) - 2)),
]


@pytest.mark.parametrize("expr", SAME, ids=formula)
def test_a_simpler_expression_means_the_same(expr: Expr) -> None:
    numbers = [np.linspace(-2, 2, 9), np.linspace(3, -4, 9)]

    simple = simplify(expr)
    assert size(simple) <= size(expr)
    np.testing.assert_array_equal(evaluate(simple, numbers), evaluate(expr, numbers))
