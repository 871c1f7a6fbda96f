"""Every kernel that could compute a node does, into every layout it could write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pytest
from gl.chosen import only
from gl.device import run

from keramos.expr import operand
from keramos.graph import Graph, Node, Value, apply, literal
from keramos.plan import kernels as kernels_module
from keramos.plan.kernels import Kernel, kernels, layouts
from keramos.plan.prepare import prepare
from keramos.plan.profile import DEVICES, limits
from keramos.plan.stages import Stage
from keramos.primitives import (
    Contract,
    Conv,
    Map,
    Pad,
    Primitive,
    Reduce,
    Softmax,
    Spec,
    Transpose,
    Window,
)

SIZE = 7
LIMITS = limits(16384)
# Sums of up to a few hundred products in another order.
TOLERANCE = 1e-5


def conv(depth: int, filters: int, window: int, stride: int, groups: int = 1) -> Graph:
    """Return a convolution with an epilogue, of what another stage computed."""
    rng = np.random.default_rng(0)
    x = Value(Spec((SIZE, SIZE, depth)), name="x")
    (given,) = apply(Map(operand(0) * 0.5), x)
    shape = (window, window, depth // groups, filters)
    kernel = literal(rng.standard_normal(shape).astype(np.float32), name="kernel")
    padding = ((window // 2, window // 2),) * 2
    ones = (1, 1)
    primitive = Conv((stride, stride), padding, ones, ones, groups)
    (y,) = apply(primitive, given, kernel)
    return Graph((x,), apply(Map(operand(0) + 1.0), y), ("y",))


def unary(primitive: Primitive, depth: int) -> Graph:
    """Return *primitive* of what another stage computed."""
    x = Value(Spec((SIZE, SIZE, depth)), name="x")
    (given,) = apply(Map(operand(0) * 0.5), x)
    return Graph((x,), apply(primitive, given), ("y",))


GRAPHS: dict[str, Graph] = {
    "1x1": conv(12, 20, 1, 1),
    "3x3": conv(8, 12, 3, 1),
    "3x3 by 2": conv(6, 10, 3, 2),
    "grey": conv(1, 8, 3, 1),
    "two channels": conv(2, 8, 3, 1),
    "RGB by 2": conv(3, 8, 3, 2),
    "grouped": conv(16, 16, 3, 1, groups=2),
    "odd groups": conv(6, 12, 3, 1, groups=3),
    "depthwise": conv(20, 20, 3, 1, groups=20),
    "depthwise by 2": conv(12, 12, 3, 2, groups=12),
    "pool": unary(Window("max", (2, 2), (2, 2), ((0, 1), (0, 1))), 20),
    "reduce": unary(Reduce("sum", (0, 1), keepdims=True), 20),
    "pad": unary(Pad(((1, 0), (0, 2), (0, 0)), 0.0), 20),
}


def product(*, across: bool) -> Graph:
    """Return a batch of matrix products of what other stages computed."""
    x = Value(Spec((SIZE, SIZE, 10)), name="x")
    (a,) = apply(Map(operand(0) * 0.5), x)
    b = a if across else apply(Transpose((0, 2, 1)), a)[0]
    primitive = Contract((2,), (2 if across else 1,), (0,), (0,))
    return Graph((x,), apply(primitive, a, b), ("y",))


def last(graph: Graph) -> Node:
    """Return the node under test."""
    return next(n for n in reversed(graph.nodes) if not isinstance(n.primitive, Map))


GRAPHS |= {"product": product(across=False), "across": product(across=True)}


def choices(graph: Graph) -> Iterator[Kernel]:
    """Yield every kernel of the node under test."""
    node = last(prepare(graph).graph)
    for layout in layouts(node.specs[0].shape, batch=1, limits=LIMITS):
        yield from kernels(node, layout, LIMITS)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_kernel_gives_what_the_graph_means(name: str) -> None:
    graph = GRAPHS[name]
    shape = (1, SIZE, SIZE, graph.inputs[0].shape[-1] or 1)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    (expected,) = graph.evaluate(x)
    kind = type(last(graph).primitive)
    found = list(choices(graph))

    for wanted in found:
        with only(wanted, kind), TemporaryDirectory() as folder:
            (y,), plan = run(graph, [x], Path(folder), limits=LIMITS, batch=1)

        assert wanted.family in {stage.family for stage in plan.stages}
        scale = np.abs(expected).max()
        assert np.abs(y - expected).max() <= TOLERANCE * scale, wanted


def test_convolutions_have_kernels_of_many_kinds() -> None:
    families = {kernel.family for kernel in choices(GRAPHS["3x3"])}

    assert families == {"conv", "conv_rows", "conv_slide", "conv_uniform"}


def test_a_softmax_of_long_rows_adds_them_up_once(tmp_path: Path) -> None:
    x = Value(Spec((32, 1024)), name="x")
    graph = Graph((x,), apply(Softmax(1), x), ("y",))
    array = np.random.default_rng(1).standard_normal((1, 32, 1024)).astype(np.float32)

    (y,), plan = run(graph, [array], tmp_path, limits=LIMITS, batch=1)

    assert "softmax" not in {stage.family for stage in plan.stages}
    assert np.abs(y - graph.evaluate(array)[0]).max() <= TOLERANCE


def test_long_sums_of_few_pixels_are_cut_into_groups(tmp_path: Path) -> None:
    graph = conv(512, 64, 3, 1)
    x = np.random.default_rng(1).standard_normal((1, SIZE, SIZE, 512))
    (expected,) = graph.evaluate(x.astype(np.float32))

    (y,), plan = run(graph, [x.astype(np.float32)], tmp_path, limits=LIMITS, batch=1)

    nodes = [stage.node for stage in plan.stages if isinstance(stage, Stage)]
    groups = [getattr(node.primitive, "groups", 1) for node in nodes]
    assert max(groups) > 1
    assert np.abs(y - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("name", GRAPHS)
def test_draws_that_would_last_too_long_are_split_into_strips(
    name: str, tmp_path: Path
) -> None:
    graph = GRAPHS[name]
    shape = (1, SIZE, SIZE, graph.inputs[0].shape[-1] or 1)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    (expected,) = graph.evaluate(x)
    hasty = {"gpu": replace(DEVICES["gpu"], longest=1e-3)}

    with patch.object(kernels_module, "DEVICES", hasty):
        (y,), plan = run(graph, [x], tmp_path, limits=LIMITS, batch=1)

    stages = [stage for stage in plan.stages if isinstance(stage, Stage)]
    split = [len(stage.strips()) > 1 for stage in stages]
    assert split == [stage.output.layout.height > 1 for stage in stages]
    assert np.abs(y - expected).max() <= TOLERANCE * np.abs(expected).max()
