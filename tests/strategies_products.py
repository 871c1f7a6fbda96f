"""Hypothesis strategies for products of one input, and what reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import numpy as np
from hypothesis import strategies as st

from keramos.expr import Expr, call, const, operand
from keramos.graph import Graph, Value, apply, literal
from keramos.plan import fuse_products
from keramos.primitives import (
    Concat,
    Contract,
    Conv,
    Map,
    Reduce,
    Reshape,
    Slice,
    Spec,
    Transpose,
)

EPILOGUES: list[Expr | None] = [
    None,
    operand(0) + operand(1),
    call("max", operand(0) + operand(1), const(0)),
    call("sigmoid", operand(0) * operand(2) + operand(1)),
]
READERS = ["conv", "map", "rows", "heads", "turn", "sum", "slice", "join"]


@contextmanager
def always() -> Iterator[None]:
    """Let products be fused whatever it costs."""
    with patch.object(fuse_products, "WORTHWHILE", 1e9):
        yield


def numbers(rng: np.random.Generator, *shape: int) -> Value:
    """Return weights."""
    return literal((rng.standard_normal(shape) * 0.3).astype(np.float32))


def ended(y: Value, epilogue: Expr | None, *extras: Value) -> Value:
    """Return *y* with an epilogue that reads *extras*."""
    node = y.node
    assert node is not None
    if epilogue is None:
        return y
    inputs = (*node.inputs, *extras)
    whole = replace(node, inputs=inputs, epilogue=epilogue, arity=len(node.inputs))
    return whole.results()[0]


def conv(  # noqa: PLR0913 - options, each by its name
    x: Value,
    filters: int,
    rng: np.random.Generator,
    *,
    window: int = 1,
    stride: int = 1,
    epilogue: Expr | None = None,
) -> Value:
    """Return a convolution."""
    kernel = numbers(rng, window, window, x.shape[-1] or 1, filters)
    pad = (window // 2, window // 2)
    primitive = Conv((stride, stride), (pad, pad), (1, 1), (1, 1))
    (y,) = apply(primitive, x, kernel)
    extras = (numbers(rng, filters), numbers(rng, 1, 1, filters))
    count = 2 if epilogue is EPILOGUES[-1] else 1
    return ended(y, epilogue, *extras[:count])


def dense(x: Value, *sizes: int, rng: np.random.Generator) -> Value:
    """Return products with a bias; several *sizes* are those of heads."""
    primitive = Contract((len(x.shape) - 1,), (0,))
    (y,) = apply(primitive, x, numbers(rng, x.shape[-1] or 1, *sizes))
    return ended(y, EPILOGUES[1], numbers(rng, *sizes))


def relu(x: Value) -> Value:
    """Return the positive part."""
    return apply(Map(call("max", operand(0), const(0))), x)[0]


def graph(x: Value, *outputs: Value) -> Graph:
    """Return the graph of *outputs*."""
    return Graph((x,), outputs, tuple(f"y{k}" for k in range(len(outputs))))


def attention(x: Value, heads: int, size: int, rng: np.random.Generator) -> Value:
    """Return what heads of attention give, but for the softmax."""
    q, k, v = (dense(x, heads, size, rng=rng) for _ in range(3))
    (scores,) = apply(Contract((2,), (2,), (1,), (1,)), q, k)
    return apply(Contract((2,), (0,), (0,), (1,)), scores, v)[0]


@st.composite
def branches(draw: st.DrawFn) -> Graph:
    """Draw convolutions of one input, and what reads them."""
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    x = Value(Spec((6, 6, draw(st.sampled_from([4, 6])))), name="x")
    y = relu(x)
    stride = draw(st.sampled_from([1, 2]))
    found = [
        conv(
            y,
            draw(st.sampled_from([4, 8, 8, 12, 6])),
            rng,
            window=draw(st.sampled_from([1, 1, 3])),
            stride=stride,
            epilogue=draw(st.sampled_from(EPILOGUES)),
        )
        for _ in range(draw(st.integers(2, 5)))
    ]
    ends = []
    for part in found:
        h, w, c = (d or 1 for d in part.shape)
        match draw(st.sampled_from(READERS)):
            case "conv":
                ends.append(conv(part, 4, rng, window=3))
            case "map":
                ends.append(apply(Map(operand(0) * operand(0)), part)[0])
            case "rows":
                (rows,) = apply(Reshape((h * w, c)), part)
                ends.append(apply(Reduce("sum", (0,)), rows)[0])
            case "heads":
                (heads,) = apply(Reshape((h * w, c // 2, 2)), part)
                ends.append(relu(apply(Transpose((1, 0, 2)), heads)[0]))
            case "turn":
                ends.append(relu(apply(Transpose((1, 0, 2)), part)[0]))
            case "slice" if c > 4:
                whole = (None, None, 1)
                (cut,) = apply(Slice((whole, (1, 3, 1), (4, None, 1))), part)
                ends.append(relu(cut))
            case "join":
                ends.append(apply(Concat(2), part, relu(part))[0])
            case _:
                ends.append(apply(Reduce("mean", (0, 1)), part)[0])
    return graph(x, *dict.fromkeys(ends))


@st.composite
def projections(draw: st.DrawFn) -> Graph:
    """Draw products of a sequence: attention, and Dense layers beside it."""
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    x = Value(Spec((5, draw(st.sampled_from([4, 6])))), name="x")
    heads, size = draw(st.sampled_from([(2, 4), (3, 4), (2, 6), (1, 8)]))
    y = attention(relu(x), heads, size, rng)
    more = [
        relu(dense(relu(x), draw(st.sampled_from([4, 8, 6])), rng=rng))
        for _ in range(draw(st.integers(0, 3)))
    ]
    return graph(x, y, *more)


def products() -> st.SearchStrategy[Graph]:
    """Draw graphs of products that may be fused, and of some that may not."""
    return st.one_of(branches(), projections())
