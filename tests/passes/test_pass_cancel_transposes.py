"""Transposes move towards the outputs until they cancel."""

from __future__ import annotations

from small_graphs import graph, lines, primitives, value, weight

from keramos import ops
from keramos.graph import Value, apply
from keramos.passes.cancel_transposes import cancel_transposes
from keramos.primitives import Concat, Contract, Pad, Reduce, Slice, Softmax, Transpose


def last(x: Value) -> Value:
    """Return channels-first x as channels-last."""
    return ops.transpose(x, (1, 2, 0))


def first(x: Value) -> Value:
    """Return channels-last x as channels-first."""
    return ops.transpose(x, (2, 0, 1))


def test_two_that_undo_each_other_vanish() -> None:
    x = value(8, 8, 3)

    assert lines(cancel_transposes(graph(last(first(x))))) == ["return y = x"]


def test_two_others_become_one() -> None:
    x = value(2, 3, 4)

    y = ops.transpose(last(x), (0, 2, 1))
    assert primitives(cancel_transposes(graph(y))) == [Transpose(permutation=(1, 0, 2))]


def test_an_elementwise_node_between_them_takes_transposed_constants() -> None:
    x = value(8, 8, 3)
    bias = weight("norm/offset", 3, 1, 1)

    assert lines(cancel_transposes(graph(last(ops.relu(first(x) + bias))))) == [
        "%0: [8, 8, 3] = Map[add(x0, x1)](x, norm/offset)",
        "%1: [8, 8, 3] = Map[max(x0, 0)](%0)",
        "return y = %1",
    ]


def test_a_softmax_a_pad_and_a_slice_between_them_change_their_axes() -> None:
    x = first(value(8, 9, 3))
    y = ops.pad(ops.softmax(x, 0), [(0, 0), (1, 2), (3, 4)])[:, 2:, ::-1]

    assert primitives(cancel_transposes(graph(last(y)))) == [
        Softmax(axis=2, log=False),
        Pad(widths=((1, 2), (3, 4), (0, 0)), value=0.0),
        Slice(slices=((2, None, 1), (None, None, -1), (None, None, 1))),
    ]


def test_a_reduction_leaves_the_other_axes_in_order() -> None:
    x = first(value(8, 8, 3))

    assert primitives(cancel_transposes(graph(ops.mean(x, (1, 2))))) == [
        Reduce(kind="mean", axes=(0, 1), keepdims=False)
    ]


def test_what_a_reduction_leaves_may_still_be_transposed() -> None:
    x = ops.transpose(value(2, 3, 4, 5), (3, 0, 2, 1))

    y = ops.max(x, 1)
    assert primitives(cancel_transposes(graph(y))) == [
        Reduce(kind="max", axes=(0,), keepdims=False),
        Transpose(permutation=(2, 1, 0)),
    ]


def test_a_concat_of_transposes_is_a_transposed_concat() -> None:
    x, y = value(8, 8, 3), value(8, 8, 5, name="z")

    joined = ops.concatenate([first(x), first(y)], 0)
    assert primitives(cancel_transposes(graph(last(joined)))) == [Concat(axis=2)]


def test_nothing_moves_where_only_one_operand_is_transposed() -> None:
    y = graph(first(value(8, 8, 3)) + value(3, 8, 8, name="z"))

    assert lines(cancel_transposes(y)) == lines(y)


def test_a_contraction_takes_the_axes_where_they_are() -> None:
    q, k = value(5, 2, 4, name="q"), value(6, 2, 4, name="k")
    heads = (ops.transpose(x, (1, 0, 2)) for x in (q, k))

    scores = ops.einsum("hqd,hkd->hqk", *heads)
    assert primitives(cancel_transposes(graph(scores))) == [
        Contract(a_contract=(2,), b_contract=(2,), a_batch=(1,), b_batch=(1,))
    ]


def test_a_contraction_whose_axes_left_over_move_is_transposed_behind() -> None:
    x = ops.transpose(value(3, 4, 5), (1, 0, 2))

    y = ops.matmul(x, weight("dense/kernel", 5, 2))
    assert primitives(cancel_transposes(graph(y))) == [
        Contract(a_contract=(2,), b_contract=(0,), a_batch=(), b_batch=()),
        Transpose(permutation=(1, 0, 2)),
    ]


def test_what_moves_axes_of_length_one_only_is_a_reshape() -> None:
    x = value(1, None, 4)

    assert lines(cancel_transposes(graph(ops.transpose(x, (1, 2, 0))))) == [
        "%0: [?, 4, 1] = Reshape(x)",
        "return y = %0",
    ]


def test_a_product_that_is_read_the_other_way_round_changes_its_factors() -> None:
    k, q = value(2, 5, 4, name="k"), value(2, 7, 4, name="q")
    (y,) = apply(Contract((2,), (2,), (0,), (0,)), k, q)

    found = cancel_transposes(graph(ops.transpose(y, (0, 2, 1))))

    assert primitives(found) == [Contract((2,), (2,), (0,), (0,))]
    assert [x.name for x in found.nodes[0].inputs] == ["q", "k"]


def test_a_product_that_is_read_both_ways_is_computed_once() -> None:
    k, q = value(2, 5, 4, name="k"), value(2, 7, 4, name="q")
    (y,) = apply(Contract((2,), (2,), (0,), (0,)), k, q)

    found = cancel_transposes(graph(y, ops.transpose(y, (0, 2, 1))))

    assert primitives(found) == [
        Contract((2,), (2,), (0,), (0,)),
        Transpose((0, 2, 1)),
    ]
