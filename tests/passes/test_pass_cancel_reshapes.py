"""Reshapes are joined, and read through."""

from __future__ import annotations

from small_graphs import assert_same, graph, lines, primitives, value, weight

from keramos import ops
from keramos.graph import apply
from keramos.passes.cancel_reshapes import cancel_reshapes
from keramos.primitives import Contract, Reshape


def test_a_reshape_of_a_reshape_is_one() -> None:
    x = ops.reshape(value(4, 6), (24,))

    assert lines(cancel_reshapes(graph(ops.reshape(x, (8, 3))))) == [
        "%0: [8, 3] = Reshape(x)",
        "return y = %0",
    ]


def test_free_dimensions_that_a_reshape_computed_stay_apart() -> None:
    (flat,) = apply(Reshape((-1, 3)), value(None, 6))
    (y,) = apply(Reshape((None, 1, 3)), flat)

    assert lines(cancel_reshapes(graph(y))) == lines(graph(y))


def test_an_elementwise_node_is_in_front_of_a_reshape() -> None:
    x = ops.reshape(value(4, 6), (24,))

    assert lines(cancel_reshapes(graph(ops.relu(x * weight("scale", 24))))) == [
        "%0: [4, 6] = Map[mul(x0, x1)](x, scale)",
        "%1: [4, 6] = Map[max(x0, 0)](%0)",
        "%2: [24] = Reshape(%1)",
        "return y = %2",
    ]


def test_a_constant_per_channel_of_the_new_shape_keeps_it_behind() -> None:
    y = ops.reshape(value(4, 6), (8, 3)) * weight("scale", 3)

    assert lines(cancel_reshapes(graph(y))) == lines(graph(y))


def test_flatten_goes_into_the_weights_of_a_dense_layer() -> None:
    x = ops.reshape(value(7, 5, 3), (-1,))

    y = ops.matmul(x, weight("dense/kernel", 105, 2))
    assert primitives(cancel_reshapes(graph(y))) == [
        Contract(a_contract=(0, 1, 2), b_contract=(0, 1, 2), a_batch=(), b_batch=())
    ]


def test_a_flatten_in_each_time_step_goes_there_too() -> None:
    x = ops.reshape(value(None, 5, 3), (None, 15))

    y = ops.matmul(x, weight("dense/kernel", 15, 2))
    assert lines(cancel_reshapes(graph(y))) == [
        "%0: [?, 2] = Contract(x, dense/kernel)",
        "return y = %0",
    ]


def test_an_axis_of_length_one_that_went_stays_away() -> None:
    x = ops.reshape(value(5, 2, 3, 1), (5, 6))

    before = graph(ops.matmul(x, weight("dense/kernel", 6, 2)))
    assert_same(before, cancel_reshapes(before))


def test_an_axis_of_length_one_that_is_left_over_stays() -> None:
    x = ops.reshape(value(3, 5, 1), (3, 5))
    (y,) = apply(Contract((0,), (0,)), x, weight("dense/kernel", 3, 2))

    assert lines(cancel_reshapes(graph(y))) == lines(graph(y))


def test_free_dimensions_that_changed_places_stay() -> None:
    (x,) = apply(Reshape((-1, None, 6)), value(None, None, 2, 3))
    y = graph(ops.matmul(x, weight("dense/kernel", 6, 2)))

    assert lines(cancel_reshapes(y)) == lines(y)


def test_a_reshape_that_splits_what_is_summed_stays() -> None:
    x = ops.reshape(value(15), (5, 3))
    y = graph(ops.matmul(x, weight("dense/kernel", 3, 2)))

    assert lines(cancel_reshapes(y)) == lines(y)


def test_a_reshape_that_merges_axes_left_over_stays() -> None:
    x = ops.reshape(value(4, 5, 3), (20, 3))
    y = graph(ops.matmul(x, weight("dense/kernel", 3, 2)))

    assert lines(cancel_reshapes(y)) == lines(y)
