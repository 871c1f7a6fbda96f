"""Elementwise nodes become epilogues of the nodes whose results they read."""

from __future__ import annotations

from small_graphs import graph, lines, value, weight

from keramos import ops
from keramos.graph import Value, elementwise
from keramos.passes.fuse_epilogues import fuse_epilogues


def dense(x: Value, name: str = "dense") -> Value:
    """Return x times weights."""
    return ops.matmul(x, weight(f"{name}/kernel", 4, 4))


def test_bias_and_activation_follow_a_contraction() -> None:
    y = ops.relu(dense(value(4)) + weight("dense/bias", 4))

    assert lines(fuse_epilogues(graph(y))) == [
        "%0: [4] = Contract -> [max(add(x0, x1), 0)](x, dense/kernel, dense/bias)",
        "return y = %0",
    ]


def test_a_residual_is_added_to_what_comes_last() -> None:
    x = value(4)
    a = dense(x, "a")

    assert lines(fuse_epilogues(graph(dense(ops.softmax(a), "b") + dense(x, "c")))) == [
        "%0: [4] = Contract(x, a/kernel)",
        "%1: [4] = Softmax(%0)",
        "%2: [4] = Contract(%1, b/kernel)",
        "%3: [4] = Contract -> [add(x1, x0)](x, c/kernel, %2)",
        "return y = %3",
    ]


def test_a_contraction_goes_before_pooling_that_comes_later() -> None:
    x = value(4)
    pooled = ops.max(value(3, 4, name="z"), 0)

    assert lines(fuse_epilogues(graph(dense(x) + pooled))) == [
        "%0: [4] = Reduce(z)",
        "%1: [4] = Contract -> [add(x0, x1)](x, dense/kernel, %0)",
        "return y = %1",
    ]


def test_a_result_that_is_read_twice_is_stored() -> None:
    y = dense(value(4))
    before = graph(ops.relu(y), ops.tanh(y))

    assert lines(fuse_epilogues(before)) == lines(before)


def test_a_result_that_is_an_output_is_stored() -> None:
    y = dense(value(4))
    before = graph(y, ops.tanh(y))

    assert lines(fuse_epilogues(before)) == lines(before)


def test_a_result_that_grows_is_stored() -> None:
    before = graph(dense(value(4)) + value(3, 4, name="z"))

    assert lines(fuse_epilogues(before)) == lines(before)


def test_a_truth_value_is_no_epilogue() -> None:
    before = graph(ops.greater(dense(value(4)), 0.0))

    assert lines(fuse_epilogues(before)) == lines(before)


def test_a_costly_epilogue_is_not_computed_twice() -> None:
    tanh = ops.tanh(dense(value(4)))

    y = elementwise(lambda x: x * x, tanh)
    assert lines(fuse_epilogues(graph(y))) == [
        "%0: [4] = Contract -> [tanh(x0)](x, dense/kernel)",
        "%1: [4] = Map[mul(x0, x0)](%0)",
        "return y = %1",
    ]


def test_what_moves_data_has_no_epilogue() -> None:
    before = graph(ops.relu(ops.reshape(value(4), (2, 2))))

    assert lines(fuse_epilogues(before)) == lines(before)
