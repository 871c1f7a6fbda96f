"""What the passes make of blocks that models have, together."""

from __future__ import annotations

import time

import numpy as np
from small_graphs import assert_same, graph, lines, value, weight

from keramos import ops
from keramos.graph import Array, Constant, Graph, Value, constant, elementwise
from keramos.passes import PASSES, optimise
from keramos.primitives import Scan, Spec


def layer(x: Value, name: str, filters: int) -> Value:
    """Return a padded convolution with a bias and batch normalisation."""
    kernel = weight(f"{name}/k", 3, 3, x.shape[-1] or 0, filters)
    y = ops.conv(x, kernel, padding="same") + weight(f"{name}/b", filters)
    scale, offset = (weight(f"{name}/{n}", filters) for n in ("scale", "offset"))
    return elementwise(lambda x, a, b: x * a + b, y, scale, offset)


def test_a_residual_block_is_two_convolutions() -> None:
    x = value(8, 8, 4)

    y = ops.relu(layer(ops.relu(layer(x, "a", 4)), "b", 4) + x)
    assert lines(optimise(graph(y))) == [
        "%0: [8, 8, 4] = Conv -> [max(add(x0, x1), 0)](x, a/k, a/bias)",
        "%1: [8, 8, 4] = Conv -> [max(add(add(x0, x1), x2), 0)](%0, b/k, b/bias, x)",
        "return y = %1",
    ]


def test_squeeze_and_excitation_scales_what_was_stored() -> None:
    x = ops.tanh(layer(value(8, 8, 4), "a", 4))
    gate = ops.sigmoid(
        ops.matmul(ops.mean(x, (0, 1), keepdims=True), weight("w", 4, 4))
    )

    assert lines(optimise(graph(x * gate))) == [
        "%0: [8, 8, 4] = Conv -> [tanh(add(x0, x1))](x, a/k, a/bias)",
        "%1: [1, 1, 4] = Reduce(%0)",
        "%2: [1, 1, 4] = Contract -> [sigmoid(x0)](%1, w)",
        "%3: [8, 8, 4] = Map[mul(x0, x1)](%0, %2)",
        "return y = %3",
    ]


def test_a_channels_first_model_is_channels_last_inside() -> None:
    def first(x: Value) -> Value:
        inside = layer(ops.transpose(x, (1, 2, 0)), "a", 4)
        return ops.relu(ops.transpose(inside, (2, 0, 1)))

    x = first(first(value(4, 6, 6)))
    y = ops.matmul(ops.reshape(x, (-1,)), weight("dense/kernel", 144, 2))
    assert lines(optimise(graph(y))) == [
        "%0: [6, 6, 4] = Transpose(x)",
        "%1: [6, 6, 4] = Conv -> [max(add(x0, x1), 0)](%0, a/k, a/bias)",
        "%2: [6, 6, 4] = Conv -> [max(add(x0, x1), 0)](%1, a/k, a/bias)",
        "%3: [2] = Contract(%2, dense/kernel)",
        "return y = %3",
    ]


def test_attention_has_no_transposes_in_front() -> None:
    x = value(None, 8)
    q, k, v = (
        ops.einsum("tc,chd->thd", x, weight(f"{n}/kernel", 8, 2, 4)) for n in "qkv"
    )
    heads = [ops.transpose(part, (1, 0, 2)) for part in (q, k, v)]
    scores = ops.softmax(ops.einsum("hqd,hkd->hqk", *heads[:2]) * 0.5)
    joint = ops.transpose(ops.einsum("hqk,hkd->hqd", scores, heads[2]), (1, 0, 2))

    y = ops.matmul(ops.reshape(joint, (None, 8)), weight("out/kernel", 8, 8))
    assert lines(optimise(graph(y))) == [
        "%0: [?, 2, 4] = Contract(x, q/kernel)",
        "%1: [?, 2, 4] = Contract(x, k/kernel)",
        "%2: [2, ?, ?] = Contract -> [mul(x0, 0.5)](%0, %1)",
        "%3: [2, ?, ?] = Softmax(%2)",
        "%4: [?, 2, 4] = Contract(x, v/kernel)",
        "%5: [2, ?, 4] = Contract(%3, %4)",
        "%6: [?, 8] = Contract(%5, out/kernel)",
        "return y = %6",
    ]


def test_the_body_of_a_loop_is_optimised() -> None:
    x, kernel = value(None, 4), weight("kernel", 4, 4)

    def step(x: Value, state: Value) -> tuple[list[Value], list[Value]]:
        new = ops.tanh(ops.matmul(state, kernel) + x * 2.0)
        return [new], [new]

    (y,), _ = ops.scan(step, [x], [weight("state", 4)])
    (loop,) = optimise(graph(y)).nodes
    assert isinstance(loop.primitive, Scan)
    assert isinstance(loop.primitive.body, Graph)
    assert lines(loop.primitive.body) == [
        "%0: [4] = Contract -> [tanh(add(x0, mul(x1, 2)))](state, kernel, x)",
        "return 0 = %0",
        "return 1 = %0",
    ]


def test_a_layer_that_is_applied_twice_has_its_weights_once() -> None:
    kernel, bias, scale = weight("k", 3, 3, 4, 4), weight("b", 4), weight("scale", 4)
    dense = weight("dense", 144, 2)

    def shared(x: Value) -> Value:
        y = ops.conv(x, kernel) * (scale * ops.exp(bias)) + bias
        return ops.matmul(ops.reshape(y, (-1,)), dense)

    a, b = shared(value(8, 8, 4)), shared(value(8, 8, 4, name="z"))
    assert len(optimise(graph(a, b)).constants()) == 3


def test_shared_weights_that_are_folded_in_two_ways_are_two() -> None:
    kernel, dense = weight("k", 3, 3, 4, 4), weight("dense", 4, 4)
    parts: list[Value] = []
    for number in range(2):
        names = iter(f"{number}{letter}" for letter in "abcdefghijkl")
        x, z = (value(8, 8, 4, name=next(names)) for _ in range(2))
        a, b, c, d, e = (weight(next(names), 4) for _ in range(5))
        parts += [
            ops.conv(x, kernel) * a,
            ops.conv(x * b, kernel),
            ops.conv(x * 0.5 + c, kernel),
            ops.matmul(x * d, dense),
            ops.matmul(x * 0.25 + e, dense),
            ops.matmul(z, dense) * d * a + b,
            ops.matmul(z[1:], dense) * d,
        ]
    before = graph(*parts)

    assert_same(before, optimise(before))


def test_no_weights_are_read() -> None:
    def load() -> Array:
        raise AssertionError("read while optimising")

    x = value(16, 16, 64)
    names = {"kernel": (3, 3, 64, 64), "bias": (64,), "scale": (64,), "offset": (64,)}
    k, c, a, b = (
        constant(Constant(Spec(shape), load), name=f"conv/{name}")
        for name, shape in names.items()
    )
    y = elementwise(lambda x, c, a, b: (x + c) * a + b, ops.conv(x, k), c, a, b)

    assert lines(optimise(graph(y))) == [
        "%0: [14, 14, 64] = Conv -> [add(x0, x1)](x, conv/kernel, conv/bias)",
        "return y = %0",
    ]


def test_a_thousand_layers_take_seconds() -> None:
    x = value(8, 8, 4)
    y = x
    for number in range(1000):
        y = ops.relu(layer(y, f"layer_{number}", 4))

    start = time.process_time()
    optimised = optimise(graph(y))
    assert (len(optimised.nodes), time.process_time() - start < 30) == (1000, True)


def test_a_pass_that_is_skipped_does_nothing() -> None:
    before = graph(ops.tanh(ops.exp(value(4))))

    assert str(optimise(before, skip=dict(PASSES))) == str(before)


def test_a_graph_without_nodes_stays() -> None:
    x = value(4)

    assert optimise(graph(x, x)).evaluate(np.ones((2, 4), np.float32))[1].shape == (
        2,
        4,
    )
