"""Identities go, equal nodes are shared, movements are joined, constants computed."""

from __future__ import annotations

import numpy as np
import pytest
from small_graphs import array, assert_same, graph, lines, primitives, value, weight

from keramos import ops
from keramos.expr import call, const, operand
from keramos.graph import Node, Value, apply
from keramos.passes.fold_constants import fold_constants
from keramos.passes.merge_movements import merge_movements
from keramos.passes.order_contractions import order_contractions
from keramos.passes.remove_identities import remove_identities
from keramos.passes.share_equal_nodes import share_equal_nodes
from keramos.primitives import (
    Concat,
    Contract,
    Map,
    Pad,
    Primitive,
    Reduce,
    Reshape,
    Resize,
    Slice,
    Spec,
    Transpose,
    Window,
)

NOTHING = [
    Map(operand(0)),
    Map(operand(0) * 1 + 0),
    Map(call("neg", -operand(0))),
    Pad(((0, 0), (0, 0))),
    Slice(((None, None, 1), (0, 9, 1))),
    Reshape((None, 4)),
    Reshape((-1, 4)),
    Transpose((0, 1)),
    Resize((0, 1), (None, 4), (1, 7), "bicubic"),
    Concat(1),
    Reduce("max", ()),
    Window("mean", (1,), (1,), ((0, 0),)),
]
SOMETHING = [
    Map(operand(0), "int32"),
    Map(operand(0) * 2),
    Pad(((0, 1), (0, 0))),
    Slice(((None, None, 1), (0, 3, 1))),
    Slice(((None, 9, 1), (None, None, 1))),
    Slice(((None, None, -1), (None, None, 1))),
    Reshape((4, None)),
    Transpose((1, 0)),
    Resize((0,), (None,), (2,)),
    Reduce("max", (1,), keepdims=True),
    Window("mean", (1,), (2,), ((0, 0),)),
    Window("sum", (1,), (1,), ((1, 0),)),
]


@pytest.mark.parametrize("primitive", NOTHING, ids=str)
def test_an_identity_goes(primitive: Primitive) -> None:
    (y,) = apply(primitive, value(None, 4))

    assert lines(remove_identities(graph(y))) == ["return y = x"]


@pytest.mark.parametrize("primitive", SOMETHING, ids=str)
def test_what_is_no_identity_stays(primitive: Primitive) -> None:
    (y,) = apply(primitive, value(None, 4))

    assert len(remove_identities(graph(y)).nodes) == 1


def test_free_dimensions_that_change_places_are_no_identity() -> None:
    (y,) = apply(Reshape((-1, None)), value(None, None))

    assert len(remove_identities(graph(y)).nodes) == 1


def test_the_epilogue_of_an_identity_stays() -> None:
    x = value(4)
    node = Node(Reduce("sum", ()), (x,), (x.spec,), (), operand(0) * 2, 1)

    assert lines(remove_identities(graph(*node.results()))) == [
        "%0: [4] = Map[mul(x0, 2)](x)",
        "return y = %0",
    ]


def test_operands_are_read_once_and_only_if_needed() -> None:
    x, z = value(4), value(4, name="z")
    (y,) = apply(Map(operand(0) + operand(2)), x, z, x)

    assert lines(remove_identities(graph(y))) == [
        "%0: [4] = Map[add(x0, x0)](x)",
        "return y = %0",
    ]


def test_an_operand_that_gives_the_shape_stays() -> None:
    (y,) = apply(Map(operand(0) * 2), value(1), value(4, name="z"))

    assert lines(remove_identities(graph(y))) == lines(graph(y))


def test_empty_parts_of_a_concat_go() -> None:
    y = ops.concatenate([value(0, 4), value(3, 4, name="z")], 0)

    assert lines(remove_identities(graph(y))) == ["return y = z"]


def test_equal_nodes_are_one() -> None:
    x = value(4)
    y = ops.tanh(x) + ops.exp(ops.tanh(x))

    assert lines(share_equal_nodes(graph(y))) == [
        "%0: [4] = Map[tanh(x0)](x)",
        "%1: [4] = Map[exp(x0)](%0)",
        "%2: [4] = Map[add(x0, x1)](%0, %1)",
        "return y = %2",
    ]


def test_nodes_with_other_epilogues_are_not_equal() -> None:
    x = value(4)
    nodes = (
        Node(Reduce("sum", (0,)), (x,), (Spec(()),), (), e, 1)
        for e in (None, -operand(0))
    )
    before = graph(*(y for node in nodes for y in node.results()))

    assert len(share_equal_nodes(before).nodes) == 2


@pytest.mark.parametrize("second", [slice(1, 3), slice(None, None, -2), slice(5, 9)])
@pytest.mark.parametrize(
    "first", [slice(2, None), slice(None, None, -1), slice(-3, 0, -1), slice(8, 1, -3)]
)
def test_a_slice_of_a_slice_is_one(first: slice, second: slice) -> None:
    x = value(10)
    (inner,) = apply(Slice(((first.start, first.stop, first.step or 1),)), x)
    (y,) = apply(Slice(((second.start, second.stop, second.step or 1),)), inner)
    numbers = np.arange(10, dtype=np.float32)[None]

    merged = merge_movements(graph(y))
    assert len(merged.nodes) == 1
    np.testing.assert_array_equal(
        merged.evaluate(numbers)[0][0], numbers[0][first][second]
    )


def test_pads_of_one_value_are_one() -> None:
    y = ops.pad(ops.pad(value(4), [(1, 2)]), [(3, 4)])

    assert primitives(merge_movements(graph(y))) == [Pad(widths=((4, 6),), value=0.0)]


def test_pads_of_two_values_are_two() -> None:
    y = graph(ops.pad(ops.pad(value(4), [(1, 2)]), [(3, 4)], 1.0))

    assert lines(merge_movements(y)) == lines(y)


def test_a_concat_of_concats_along_the_same_axis_is_one() -> None:
    a, b = value(4, name="a"), value(4, name="b")
    joined = ops.concatenate([a, b])

    assert lines(merge_movements(graph(ops.concatenate([joined, a])))) == [
        "%0: [12] = Concat(a, b, a)",
        "return y = %0",
    ]


def test_a_concat_along_another_axis_stays() -> None:
    joined = ops.concatenate([value(4, 4, name="a"), value(4, 4, name="b")], 0)
    before = graph(ops.concatenate([joined, joined], 1))
    wider = graph(ops.concatenate([joined, value(8, 4, name="c")], 1))

    assert lines(merge_movements(before)) == lines(before)
    assert lines(merge_movements(wider)) == lines(wider)


def test_a_concat_that_is_read_twice_stays() -> None:
    joined = ops.concatenate([value(4, name="a"), value(4, name="b")])
    before = graph(joined, ops.concatenate([joined, joined]))

    assert lines(merge_movements(before)) == lines(before)


def test_a_node_of_constants_is_a_constant() -> None:
    kernel = weight("kernel", 4)
    (epilogue,) = Node(
        Reduce("sum", (0,)), (kernel,), (Spec(()),), (), -operand(0), 1
    ).results()

    (number,) = fold_constants(graph(value(4) * epilogue)).constants()
    assert array(number) == pytest.approx(-array(kernel).sum())


def test_constants_that_are_made_in_two_ways_are_two() -> None:
    kernel = weight("kernel", 4)
    nodes = (
        Node(Reduce("sum", (0,)), (kernel,), (Spec(()),), (), epilogue, 1)
        for epilogue in (operand(0), -operand(0))
    )
    a, b = (y for node in nodes for y in node.results())
    before = graph(value(4) * a + b)

    assert_same(before, share_equal_nodes(fold_constants(before)))


def test_a_node_that_reads_no_numbers_is_a_constant() -> None:
    (y,) = apply(Map(const(3)), value(2))

    (folded,) = fold_constants(graph(y)).outputs
    assert array(folded).tolist() == [3, 3]


def test_summed_axes_are_in_the_order_of_the_value() -> None:
    y = apply(Contract((2, 0), (1, 2)), value(3, 4, 5), weight("w", 2, 5, 3))[0]

    assert primitives(order_contractions(graph(y))) == [
        Contract(a_contract=(0, 2), b_contract=(0, 1), a_batch=(), b_batch=())
    ]


@pytest.mark.parametrize(
    "case",
    [
        (Contract((1, 0), (1, 2)), weight("w", 5, 4, 2), value(3, 4, 5)),
        (Contract((2,), (0,), (0, 1), (2, 1)), value(3, 4, 5), weight("w", 5, 4, 3)),
        (Contract((0,), (2,), (2, 1), (0, 1)), weight("w", 5, 4, 3), value(3, 4, 5)),
    ],
    ids=lambda case: str(case[0]),
)
def test_ordered_contractions_mean_the_same(
    case: tuple[Contract, Value, Value],
) -> None:
    primitive, *operands = case
    before = graph(*apply(primitive, *operands))

    after = order_contractions(before)
    assert str(after) != str(before)
    assert_same(before, after)


def test_weights_in_front_are_ordered_like_the_value() -> None:
    w = weight("w", 4, 5, 2)
    (y,) = apply(Contract((0, 1), (2, 1)), w, value(3, 5, 4))

    assert primitives(order_contractions(graph(y))) == [
        Contract(a_contract=(0, 1), b_contract=(1, 2), a_batch=(), b_batch=())
    ]


def test_a_value_keeps_its_axes_where_they_are() -> None:
    a, b = value(3, 4, 5), value(5, 3, name="z")
    (y,) = apply(Contract((2, 0), (0, 1)), a, b)

    assert primitives(order_contractions(graph(y))) == [
        Contract(a_contract=(0, 2), b_contract=(1, 0), a_batch=(), b_batch=())
    ]


def test_an_output_that_is_an_input_stays() -> None:
    x: Value = value(4)

    assert lines(remove_identities(graph(x, x))) == ["return y = x", "return y1 = x"]
