"""Fragment programs give what the graph means, at every texture limit."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pytest
from gl.device import context, run
from hypothesis import given
from strategies_graphs import graphs, inputs_for

from keramos.emit.gl import emit_gl
from keramos.emit.programs import program
from keramos.errors import CompileError
from keramos.expr import call, operand
from keramos.graph import Graph, Value, apply, literal
from keramos.plan.gl import plan
from keramos.plan.layout import Limits, Profile
from keramos.plan.names import constant_names
from keramos.plan.profile import PROFILES, limits
from keramos.primitives import Conv, Map, Reduce, Spec, Window

# Sums of a few hundred products in another order, and built-in functions that GLSL
# allows a few units in the last place: relative to the largest value.
TOLERANCE = 3e-6
# The series' last term and some roundings of numbers up to 1.
ANGLES = 4e-7

Kind = Literal["sum", "mean", "max"]
LIMITS = [
    Limits(texture_size=16, layers=64, draw_buffers=4),
    Limits(texture_size=64, layers=256, draw_buffers=1),
    Limits(texture_size=256, layers=256, draw_buffers=8),
    Limits(texture_size=4096, layers=256, draw_buffers=4),
    limits(16384),
    limits(64, "software"),
    limits(4096, "software"),
]


def _label(allowed: Limits) -> str:
    return f"{allowed.texture_size}-{allowed.profile}"


@pytest.mark.parametrize("allowed", LIMITS, ids=_label)
@pytest.mark.parametrize("batch", [1, 2])
@given(graph=graphs(free=False))
def test_programs_agree_with_the_graph(
    allowed: Limits, batch: int, graph: Graph
) -> None:
    inputs = inputs_for(graph, 3, np.random.default_rng(0))
    expected = [y.astype(np.float64) for y in graph.evaluate(*inputs)]

    with TemporaryDirectory() as folder:
        actual, _ = run(graph, inputs, Path(folder), limits=allowed, batch=batch)

    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        scale = max(1.0, np.abs(e).max(initial=0))
        assert np.abs(a - e).max(initial=0) <= TOLERANCE * scale


@pytest.mark.parametrize("allowed", LIMITS, ids=_label)
@given(graph=graphs(free=False))
def test_no_stage_reads_the_texture_that_it_writes(
    allowed: Limits, graph: Graph
) -> None:
    gl = plan(graph, batch=1, limits=allowed, where="model")

    for stage in gl.stages:
        read = {gl.texture(tensor) for tensor in stage.operands}
        written = [gl.texture(tensor) for tensor in stage.outputs]
        assert not read.intersection(written)
        assert len(set(written)) == len(written)


@pytest.mark.parametrize("profile", PROFILES)
@given(graph=graphs(free=False))
def test_programs_compile_with_the_header_of_webgl(
    profile: Profile, graph: Graph
) -> None:
    gl = plan(graph, batch=1, limits=limits(4096, profile), where="model")
    vertex = "#version 300 es\nvoid main() { gl_Position = vec4(0.0); }\n"

    for stage in gl.stages:
        text = "#version 300 es\n" + program(stage, profile).text
        compiled = context().program(vertex_shader=vertex, fragment_shader=text)
        compiled.release()


@given(graph=graphs(free=False))
def test_the_same_graph_gives_the_same_files(graph: Graph) -> None:
    names = constant_names(graph)

    first, second = (
        emit_gl(graph, names=names, limits=Limits(), batch=1, where="model").files
        for _ in range(2)
    )

    assert first == second


def test_a_batch_of_none_gives_empty_outputs(tmp_path: Path) -> None:
    graph = _doubling()

    (y,), _ = run(
        graph, [np.zeros((0, 3), np.float32)], tmp_path, limits=Limits(), batch=2
    )

    assert y.shape == (0, 3)


@pytest.mark.parametrize("step", [0, 1, 5])
def test_a_step_of_a_computed_sequence_is_read(step: int, tmp_path: Path) -> None:
    x = Value(Spec((6, 5)), name="x")
    (y,) = apply(Map(operand(0) * 2), x)
    graph = Graph((x,), (y[step] + 1,), ("y",))
    array = np.arange(60, dtype=np.float32).reshape(2, 6, 5)

    (found,), _ = run(graph, [array], tmp_path, limits=Limits(), batch=1)

    assert np.array_equal(found, array[:, step] * 2 + 1)


@pytest.mark.parametrize("made", ["convolution", "depthwise", "pooling"])
def test_windows_over_four_axes_are_refused(made: str) -> None:
    x = Value(Spec((3, 3, 3, 3, 4)), name="x")
    ones, edges = (1,) * 4, ((0, 0),) * 4
    if made == "pooling":
        (y,) = apply(Window("max", (2,) * 4, ones, edges), x)
    else:
        depth, groups = (4, 1) if made == "convolution" else (1, 4)
        kernel = literal(np.ones((*ones, depth, 4), np.float32))
        (before,) = apply(Map(operand(0) * 2), x)
        (y,) = apply(Conv(ones, edges, ones, ones, groups=groups), before, kernel)
    graph = Graph((x,), (y,), ("y",))

    with pytest.raises(CompileError) as caught:
        plan(graph, batch=1, limits=Limits(), where="m.keras")

    assert str(caught.value) == (
        "m.keras: model: the gl target has no windows over 4 axes (use --target cpu)"
    )


@pytest.mark.parametrize("size", [64, 4096])
@pytest.mark.parametrize("kind", ["sum", "mean", "max"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((3000,), 0), ((1200, 4), 0), ((4, 6000), 1), ((2, 900, 3), 1), ((1021, 2), 0)],
)
def test_rows_of_one_long_axis_are_reduced_in_runs(
    shape: tuple[int, ...], axis: int, kind: Kind, size: int, tmp_path: Path
) -> None:
    x = Value(Spec(shape), name="x")
    (y,) = apply(Reduce(kind, (axis,)), x)
    graph = Graph((x,), (y,), ("y",))
    array = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    (expected,) = graph.evaluate(array.astype(np.float64))
    allowed = Limits(texture_size=size, layers=256, draw_buffers=4)

    (found,), gl = run(graph, [array], tmp_path, limits=allowed, batch=1)

    magnitude = np.abs(array).sum() / (shape[axis] if kind == "mean" else 1)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= np.finfo(np.float32).eps * magnitude
    # 1021 is a prime, which has no runs.
    families = [stage.family for stage in gl.stages]
    assert families.count("reduce") == (1 if 1021 in shape else 2)


def _doubling() -> Graph:
    x = Value(Spec((3,)), name="x")
    return Graph((x,), apply(Map(operand(0) * 2), x), ("y",))


@pytest.mark.parametrize("function", ["sin", "cos"])
def test_angles_are_exact_over_many_turns(function: str, tmp_path: Path) -> None:
    x = Value(Spec((4000,)), name="x")
    graph = Graph((x,), apply(Map(call(function, operand(0))), x), ("y",))
    angles = np.linspace(-9000, 9000, 4000, dtype=np.float32)[None]

    (y,), _ = run(graph, [angles], tmp_path, limits=Limits(), batch=1)

    exact = getattr(np, function)(angles.astype(np.float64))
    assert np.abs(y - exact).max() <= ANGLES
