"""Loops that carry nothing from step to step compute all steps at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import assert_same, graph, lines, value, weight
from strategies_graphs import graphs

from keramos import ops
from keramos.graph import Graph, Node, Value, apply
from keramos.passes.vectorise_steps import vectorise_steps
from keramos.primitives import Contract, Gather, Scan, Spec

Step = Callable[..., Value]


def each_step(step: Step, *sequences: Value) -> Value:
    """Return *step* applied to each element of the sequences."""
    (y,), _ = ops.scan(lambda *xs: ([], [step(*xs)]), sequences, [])
    return y


def recurrent(x: Value) -> Value:
    """Return the last state of a loop over *x*: a loop in a loop, if x is a step."""
    kernel = weight("recurrent", 4, 4)

    def step(now: Value, state: Value) -> tuple[Sequence[Value], Sequence[Value]]:
        new = ops.tanh(ops.matmul(state, kernel) + now)
        return [new], [new]

    outputs, (last,) = ops.scan(step, [x], [ops.zeros((4,))], reverse=True)
    return last + ops.sum(outputs[0], 0)


STEPS: dict[str, tuple[Step, tuple[int, ...]]] = {
    "map": (lambda x: ops.tanh(x) + weight("row", 4), (3, 4)),
    "convolution of a row": (lambda x: ops.conv(x, weight("k", 2, 4, 3)), (5, 4)),
    "convolution of an image": (
        lambda x: ops.conv(x, weight("k", 3, 2, 4, 3), padding="same", strides=(2, 1)),
        (5, 6, 4),
    ),
    "rows": (lambda x: ops.matmul(x, weight("k", 4, 3)), (5, 4)),
    "columns": (
        lambda x: apply(Contract((1,), (0,)), weight("k", 2, 3), x)[0],
        (3, 4),
    ),
    "attention": (lambda x: ops.softmax(ops.einsum("ac,bc->ab", x, x)), (3, 4)),
    "paired with weights": (
        lambda x: ops.einsum("hc,hcd->hd", x, weight("heads", 3, 4, 2)),
        (3, 4),
    ),
    "pooling": (lambda x: ops.max_pool(x, (2, 2), padding="same"), (5, 6, 4)),
    "sums": (lambda x: ops.sum(x, 0), (3, 4)),
    "reshape": (lambda x: ops.reshape(x, (-1,)), (3, 4)),
    "transpose": (lambda x: ops.transpose(x, (1, 0)), (3, 4)),
    "slice": (lambda x: x[1:, ::-1], (3, 4)),
    "pad": (lambda x: ops.pad(x, ((1, 0), (0, 2))), (3, 4)),
    "concatenation": (lambda x: ops.concatenate([x, weight("row", 2, 4)], 0), (3, 4)),
    "elements": (
        lambda x: apply(Gather(1), x, ops.cast(ops.zeros((2,)), "int32"))[0],
        (3, 4),
    ),
    "a loop": (recurrent, (6, 4)),
    "loops in a loop": (lambda x: each_step(recurrent, x), (2, 6, 4)),
    "what doesn't depend on the steps": (lambda x: weight("row", 4) + 0 * x[0], (3, 4)),
}


@pytest.mark.parametrize(("step", "shape"), STEPS.values(), ids=STEPS)
def test_the_steps_of(step: Step, shape: tuple[int, ...]) -> None:
    loop = graph(each_step(step, value(7, *shape)))

    together = vectorise_steps(loop)

    assert not [node for node in together.nodes if is_stateless(node)]
    assert_same(loop, together)


def is_stateless(node: Node) -> bool:
    """Return whether a node is a loop that carries nothing, or has one in it."""
    scan = node.primitive
    if not isinstance(scan, Scan) or not isinstance(scan.body, Graph):
        return False
    return scan.states == 0 or any(map(is_stateless, scan.body.nodes))


def test_a_loop_in_a_loop_becomes_one() -> None:
    together = vectorise_steps(graph(each_step(recurrent, value(7, 6, 4))))

    loops = [node for node in together.nodes if isinstance(node.primitive, Scan)]
    assert [[str(spec) for spec in node.specs] for node in loops] == [
        ["float32[6, 7, 4]", "float32[7, 4]"]
    ]


def test_rows_of_numbers_take_the_place_of_numbers() -> None:
    words = value(7, 3, dtype="int32")
    table = weight("table", 9, 4)

    loop = graph(each_step(lambda word: ops.take(table, word, 0), words))

    assert lines(vectorise_steps(loop)) == [
        "%0: [7, 3, 4] = Gather(table, x)",
        "return y = %0",
    ]


def test_a_table_for_each_step_stays_a_loop() -> None:
    words, tables = value(7, 3, dtype="int32", name="w"), value(7, 5, 4)

    loop = graph(each_step(lambda t, w: ops.take(t, w, 0), tables, words))

    assert str(vectorise_steps(loop)) == str(loop)


def test_any_number_of_steps_is_computed_at_once() -> None:
    loop = graph(each_step(lambda x: ops.tanh(ops.sum(x, 0)), value(None, 3, 4)))

    together = vectorise_steps(loop)

    assert not [node for node in together.nodes if is_stateless(node)]
    assert_same(loop, together)


def test_large_steps_stay_a_loop() -> None:
    large, larger = (
        vectorise_steps(graph(each_step(ops.tanh, value(3, size, 256))))
        for size in (256, 257)
    )

    assert not any(map(is_stateless, large.nodes))
    assert any(map(is_stateless, larger.nodes))


def test_a_loop_that_carries_a_state_stays() -> None:
    loop = graph(recurrent(value(6, 4)))

    assert str(vectorise_steps(loop)) == str(loop)


@st.composite
def loops(draw: st.DrawFn) -> Graph:
    """Draw a loop whose body is any graph: some of its inputs are sequences."""
    body = draw(graphs(free=False, max_nodes=5))
    steps = draw(st.integers(1, 4))
    count = draw(st.integers(1, len(body.inputs)))
    order = draw(st.permutations(body.inputs))
    stepped, rest = order[:count], order[count:]
    constants = body.constants()
    known = {x: Value(x.spec, name=x.name) for x in constants}

    def without_constants(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        given = tuple(known.get(x, x) for x in inputs)
        return Node(
            node.primitive, given, node.specs, node.origins, node.epilogue, node.arity
        ).results()

    outputs = body.rewrite(without_constants).outputs
    closed = Graph(
        (*stepped, *rest, *known.values()),
        tuple(known.get(y, y) for y in outputs),
        body.output_names,
    )
    sequences = [
        Value(Spec((steps, *x.shape), x.dtype), name=f"{x.name}_steps") for x in stepped
    ]
    scan = Scan(closed, count, 0)
    results = apply(scan, *sequences, *rest, *constants)
    return Graph((*sequences, *rest), results, body.output_names)


@settings(max_examples=4 * settings().max_examples)
@given(loop=loops(), seed=st.integers(0, 9))
def test_all_steps_at_once_mean_the_same(loop: Graph, seed: int) -> None:
    together = vectorise_steps(loop)

    together.verify()
    assert together.output_specs == loop.output_specs
    rng = np.random.default_rng(seed)
    inputs = []
    for x in loop.inputs:
        shape = (2, *(d or 0 for d in x.shape))
        whole = rng.integers(-1, 5, shape)
        inputs.append(rng.uniform(-2, 2, shape) if x.dtype == "float32" else whole)
    pairs = zip(loop.evaluate(*inputs), together.evaluate(*inputs), strict=True)
    for expected, actual in pairs:
        np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)
