"""Shapes that take each road through the kernels, larger than drawn graphs are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import pytest
from javascript.node import check
from small_graphs import graph, value, weight

from keramos.expr import Expr, call, operand, where
from keramos.graph import Value, apply
from keramos.primitives import (
    Contract,
    Conv,
    Method,
    Padding,
    Primitive,
    Reduce,
    Resize,
    Softmax,
    Window,
)

Epilogue = tuple[Expr, tuple[Value, ...]]


@dataclass(frozen=True)
class Case:
    """A convolution of an image, the same along each axis."""

    image: tuple[int, ...]
    window: tuple[int, ...]
    filters: int
    strides: int = 1
    dilation: int = 1
    spread: int = 1
    groups: int = 1
    padding: Padding = (0, 0)


def fused(primitive: Primitive, *inputs: Value, epilogue: Epilogue) -> Value:
    """Return the result of *primitive* with *epilogue* on its node."""
    (y,) = apply(primitive, *inputs)
    assert y.node is not None
    expr, extras = epilogue
    node = replace(y.node, inputs=(*inputs, *extras), epilogue=expr, arity=len(inputs))
    return node.results()[0]


def conv(case: Case) -> tuple[Conv, Value]:
    """Return the convolution of *x* that *case* tells of, and its kernel."""
    rank = len(case.window)
    primitive = Conv(
        (case.strides,) * rank,
        (case.padding,) * rank,
        (case.dilation,) * rank,
        (case.spread,) * rank,
        case.groups,
    )
    depth = case.image[-1] // case.groups
    return primitive, weight("kernel", *case.window, depth, case.filters)


CONVOLUTIONS = {
    "tiles that overlap": Case((7, 9, 5), (3, 3), 7),
    "a few columns": Case((9, 9, 3), (3, 3), 2),
    "one column": Case((5, 9, 20), (1, 3), 1),
    "rows that are gathered": Case((9, 9, 3), (3, 3), 32),
    "gathered in groups": Case((6, 6, 24), (3, 3), 72, groups=4),
    "runs of neighbours": Case((8, 8, 16), (3, 3), 16),
    "a window as wide as x": Case((8, 3, 16), (3, 3), 16),
    "weights larger than x": Case((4, 4, 32), (3, 3), 96),
    "in groups": Case((6, 6, 32), (3, 3), 32, groups=2),
    "one position": Case((3, 3, 8), (3, 3), 20),
    "one dimension": Case((40, 6), (5,), 8, strides=2),
    "three dimensions": Case((5, 6, 7, 3), (2, 3, 2), 5),
    "dilated": Case((9, 9, 4), (3, 3), 5, dilation=2),
    "transposed": Case((5, 6, 4), (4, 4), 5, spread=2, padding=(2, 2)),
    "transposed with gaps": Case((4, 4, 3), (2, 2), 4, spread=3),
    "transposed in many phases": Case((3, 4, 2), (8, 8), 3, spread=5, padding=(4, 4)),
    "strided and transposed": Case(
        (7, 8, 3), (3, 3), 4, strides=2, spread=3, padding=(2, 1)
    ),
    "depthwise": Case((9, 10, 6), (3, 3), 6, groups=6),
    "depthwise and strided": Case(
        (9, 10, 6), (3, 3), 6, groups=6, strides=2, padding=(1, 0)
    ),
    "depthwise and dilated": Case(
        (9, 10, 6), (3, 3), 6, groups=6, dilation=2, padding=(2, 2)
    ),
    "depthwise with a multiplier": Case((6, 7, 4), (3, 2), 12, groups=4),
    "depthwise and wide": Case((40, 5), (31,), 5, groups=5),
    "depthwise in three dimensions": Case((4, 5, 6, 3), (2, 2, 2), 3, groups=3),
    "depthwise and transposed": Case(
        (5, 6, 4), (3, 3), 4, groups=4, spread=2, padding=(1, 1)
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("padding", [None, (1, 2)])
def test_convolutions(name: str, padding: Padding | None) -> None:
    case = CONVOLUTIONS[name]
    case = case if padding is None else replace(case, padding=padding)
    x = value(*case.image)
    primitive, kernel = conv(case)

    bias = weight("bias", case.filters)
    epilogue = (call("max", operand(0) + operand(1), 0), (bias,))
    check(graph(fused(primitive, x, kernel, epilogue=epilogue)))


EPILOGUES: Mapping[str, Callable[[], Epilogue]] = {
    "a bias": lambda: (operand(0) + operand(1), (weight("b", 8),)),
    "a number": lambda: (operand(0) * operand(1), (weight("b", 1),)),
    "a residual": lambda: (operand(0) + operand(1), (value(6, 7, 8, name="r"),)),
    "a gate per pixel": lambda: (operand(0) * operand(1), (weight("b", 6, 7, 1),)),
    "a row of pixels": lambda: (operand(0) + operand(1), (weight("b", 7, 8),)),
    "what is read often": lambda: (
        call("tanh", operand(0) + operand(1)) * (operand(0) + operand(1)),
        (weight("b", 8),),
    ),
    "a choice": lambda: (where(operand(0) < 0, operand(0) * 0.1, operand(0)), ()),
    "an activation of much work": lambda: (
        operand(0) * 0.5 * (1 + call("erf", operand(0) * 0.7071)),
        (),
    ),
    "two rectifiers": lambda: (
        call("max", operand(0), 0) - call("max", -operand(0), 0) * 0.5,
        (),
    ),
}


@pytest.mark.parametrize("name", EPILOGUES)
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_epilogues_of_convolutions(name: str, groups: int) -> None:
    x = value(6, 7, 8)
    primitive, kernel = conv(Case((6, 7, 8), (3, 3), 8, groups=groups, padding=(1, 1)))

    y = fused(primitive, x, kernel, epilogue=EPILOGUES[name]())

    check(graph(y))


CONTRACTIONS = {
    "a vector and weights": ((20,), (20, 11), Contract((0,), (0,))),
    "a vector and few columns": ((20,), (20, 3), Contract((0,), (0,))),
    "rows and weights": ((9, 20), (20, 11), Contract((1,), (0,))),
    "columns and weights": ((20, 9), (20, 11), Contract((0,), (0,))),
    "weights on their side": ((9, 20), (11, 20), Contract((1,), (1,))),
    "two axes": ((4, 5, 6), (5, 6, 7), Contract((1, 2), (0, 1))),
    "two axes, crossed": ((4, 5, 6), (6, 5, 7), Contract((1, 2), (1, 0))),
    "no axis": ((4,), (5,), Contract((), ())),
    "all axes": ((4, 5), (4, 5), Contract((0, 1), (0, 1))),
    "a batch": ((3, 4, 20), (3, 20, 9), Contract((2,), (1,), (0,), (0,))),
    "a batch of one row": ((3, 1, 20), (3, 20, 9), Contract((2,), (1,), (0,), (0,))),
    "heads": ((5, 3, 8), (6, 3, 8), Contract((2,), (2,), (1,), (1,))),
    "a batch of dots": ((6, 8), (6, 8), Contract((1,), (1,), (0,), (0,))),
}


@pytest.mark.parametrize("name", CONTRACTIONS)
@pytest.mark.parametrize("kind", ["weights", "values", "weights first"])
def test_contractions(name: str, kind: str) -> None:
    a, b, primitive = CONTRACTIONS[name]
    left = weight("a", *a) if kind == "weights first" else value(*a, name="a")
    right = weight("b", *b) if kind == "weights" else value(*b, name="b")
    columns = [
        d
        for axis, d in enumerate(b)
        if axis not in primitive.b_contract + primitive.b_batch
    ]

    epilogue = (operand(0) + operand(1), (weight("bias", *columns),))

    check(graph(fused(primitive, left, right, epilogue=epilogue)))


@pytest.mark.parametrize("kind", ["max", "mean", "sum"])
@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("padding", [(0, 0), (1, 0), (1, 1)])
def test_pooling(
    kind: Literal["max", "mean", "sum"], size: int, padding: Padding
) -> None:
    x = value(9, 8, 5)
    primitive = Window(kind, (size, size), (2, 1), (padding, padding))

    (y,) = apply(primitive, x)

    check(graph(y, fused(primitive, x, epilogue=(operand(0) * 2 + 1, ()))))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("log", [False, True])
def test_softmax(axis: int, *, log: bool) -> None:
    (y,) = apply(Softmax(axis, log), value(3, 4, 5))

    check(graph(y))


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("kind", ["sum", "mean", "max", "min", "prod"])
def test_reductions(
    axes: tuple[int, ...], kind: Literal["sum", "mean", "max", "min", "prod"]
) -> None:
    x = value(3, 2, 4)

    (y,) = apply(Reduce(kind, axes), x)

    check(graph(y))


@pytest.mark.parametrize(
    "method", ["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"]
)
@pytest.mark.parametrize("size", [1, 3, 6, 12, 31])
@pytest.mark.parametrize("antialias", [False, True])
def test_resizing(method: Method, size: int, *, antialias: bool) -> None:
    x = value(6, 5, 3)
    sizes = (size, None)

    (y,) = apply(Resize((0, 1), sizes, (1, 2), method, antialias), x)

    check(graph(y))


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_resizing_to_one_element(method: Method) -> None:
    (y,) = apply(Resize((0, 1), (1, 1), (1, 1), method), value(6, 5))

    check(graph(y))
