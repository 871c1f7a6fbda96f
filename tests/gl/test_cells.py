"""Loops whose steps are few draws give what they mean; recurrent layers take one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import pytest
from gl.device import context, run
from hypothesis import given
from hypothesis import strategies as st
from keras import layers
from model_files import KerasModel
from numpy.typing import NDArray
from packages import compiled
from small_graphs import assert_same
from strategies_cells import cells, pairs_of_cells
from strategies_graphs import inputs_for

from keramos.emit.programs import program
from keramos.emit.report import plan_report
from keramos.graph import Graph
from keramos.importer import import_model
from keramos.passes import optimise
from keramos.plan.gl import plan
from keramos.plan.layout import Limits
from keramos.plan.prepare import prepare
from keramos.plan.profile import limits
from keramos.plan.side_by_side import side_by_side
from keramos.plan.stages import Cell, GlPlan, Loop
from keramos.source import read

# Sums of a few dozen products in another order, and built-in functions, step after
# step: relative to the largest value.
TOLERANCE = 1e-5
LIMITS = [
    Limits(texture_size=16, layers=64, draw_buffers=4),
    Limits(texture_size=64, layers=256, draw_buffers=1),
    Limits(texture_size=4096, layers=4, draw_buffers=2),
    limits(16384),
    limits(4096, "software"),
]
# One fragment reads from 16 textures.
SAMPLERS = 16
STEPS = 5


@pytest.mark.parametrize("allowed", LIMITS, ids=range(len(LIMITS)))
@given(graph=cells(), batch=st.sampled_from([1, 2]))
def test_cells_give_what_the_graph_means(
    allowed: Limits, graph: Graph, batch: int
) -> None:
    inputs = inputs_for(graph, 3, np.random.default_rng(0))
    expected = graph.evaluate(*(x.astype(np.float64) for x in inputs))

    with TemporaryDirectory() as folder:
        actual, _ = run(graph, inputs, Path(folder), limits=allowed, batch=batch)

    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        scale = max(1.0, np.abs(e).max(initial=0))
        assert np.abs(a - e).max(initial=0) <= TOLERANCE * scale


@pytest.mark.parametrize("allowed", LIMITS, ids=range(len(LIMITS)))
@given(graph=pairs_of_cells(), batch=st.sampled_from([1, 2]))
def test_loops_side_by_side_give_what_the_graph_means(
    allowed: Limits, graph: Graph, batch: int
) -> None:
    inputs = inputs_for(graph, 3, np.random.default_rng(0))
    expected = graph.evaluate(*(x.astype(np.float64) for x in inputs))

    with TemporaryDirectory() as folder:
        actual, _ = run(graph, inputs, Path(folder), limits=allowed, batch=batch)

    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        scale = max(1.0, np.abs(e).max(initial=0))
        assert np.abs(a - e).max(initial=0) <= TOLERANCE * scale


@given(graph=pairs_of_cells())
def test_loops_side_by_side_are_the_same_graph(graph: Graph) -> None:
    joined = side_by_side(prepare(graph), draw_buffers=8).graph

    joined.verify()
    assert_same(graph, joined)


@pytest.mark.parametrize("allowed", LIMITS, ids=range(len(LIMITS)))
@given(graph=cells() | pairs_of_cells())
def test_cells_stay_within_the_limits(allowed: Limits, graph: Graph) -> None:
    gl = plan(graph, batch=1, limits=allowed, where="model")

    for stage in gl.stages:
        read = {gl.texture(tensor) for tensor in stage.operands}
        written = [gl.texture(tensor) for tensor in stage.outputs]
        assert not read.intersection(written)
        assert len(set(written)) == len(written)
        assert len(stage.operands) <= SAMPLERS
        if isinstance(stage, Cell):
            assert len(written) <= allowed.draw_buffers
            size = {(x.layout.width, x.layout.height) for x in stage.outputs}
            assert len(size) == 1


@given(graph=cells())
def test_programs_of_cells_compile_with_the_header_of_webgl(graph: Graph) -> None:
    gl = plan(graph, batch=1, limits=Limits(), where="model")
    vertex = "#version 300 es\nvoid main() { gl_Position = vec4(0.0); }\n"

    for stage in gl.stages:
        text = "#version 300 es\n" + program(stage, "gpu").text
        compiled = context().program(vertex_shader=vertex, fragment_shader=text)
        compiled.release()


# --- layers of Keras -----------------------------------------------------------------

SEQUENCE = {"return_sequences": True}
# The layers and the draws of each step of their loops.
LAYERS: dict[str, tuple[Callable[[], Any], list[int]]] = {
    "LSTM": (lambda: layers.LSTM(16), [1]),
    "LSTM with steps": (lambda: layers.LSTM(16, **SEQUENCE), [1]),
    "LSTM with states": (lambda: layers.LSTM(20, **SEQUENCE, return_state=True), [1]),
    "LSTM backwards": (lambda: layers.LSTM(8, **SEQUENCE, go_backwards=True), [1]),
    "LSTM of 5": (lambda: layers.LSTM(5), [6]),
    "GRU": (lambda: layers.GRU(16), [1]),
    "GRU with steps": (lambda: layers.GRU(16, **SEQUENCE), [1]),
    "GRU, reset before": (lambda: layers.GRU(16, reset_after=False), [2]),
    "SimpleRNN": (lambda: layers.SimpleRNN(16), [1]),
    "SimpleRNN with steps": (lambda: layers.SimpleRNN(6, **SEQUENCE), [1]),
    "Bidirectional": (lambda: layers.Bidirectional(layers.LSTM(16)), [1]),
    "Bidirectional of steps": (
        lambda: layers.Bidirectional(layers.GRU(16, **SEQUENCE)),
        [1],
    ),
    "Bidirectional of too much": (
        lambda: layers.Bidirectional(layers.LSTM(16, **SEQUENCE)),
        [1, 1],
    ),
    "Bidirectional of few": (
        lambda: layers.Bidirectional(layers.SimpleRNN(16), merge_mode="ave"),
        [1],
    ),
    "stacked": (
        lambda: layers.RNN([layers.LSTMCell(16), layers.GRUCell(8)], **SEQUENCE),
        [2],
    ),
}


def imported(
    build: Callable[[], Any], path: Path, *, masked: bool
) -> tuple[Any, Graph]:
    """Return the model of one layer with random weights, and its optimised graph."""
    x = keras.Input((STEPS, 8))
    model = keras.Model(x, build()(layers.Masking()(x) if masked else x))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.3, weight.shape))
    model.save(path)
    return model, optimise(import_model(read(path)))


def draws_per_step(gl: GlPlan) -> list[int]:
    """Return how many draws each step of each loop takes."""
    loops = [step for step in gl.steps if isinstance(step, Loop)]
    return [sum(len(stage.draws()) for stage in loop.body) for loop in loops]


def outputs_of(model: KerasModel, x: NDArray[np.float32]) -> list[NDArray[Any]]:
    """Return what Keras gives."""
    found = model(x)
    listed = found if isinstance(found, list | tuple) else [found]
    return [np.asarray(y) for y in listed]


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_layers_take_few_draws(
    name: str, masked: bool, tmp_path: Path  # noqa: FBT001 - a parameter of the test
) -> None:
    build, draws = LAYERS[name]
    model, graph = imported(build, tmp_path / "model.keras", masked=masked)
    x = np.random.default_rng(1).standard_normal((3, STEPS, 8)).astype(np.float32)
    x[0, 2:4] = 0
    x[1, 0] = 0
    expected = outputs_of(model, x)

    actual, gl = run(graph, [x], tmp_path, limits=Limits(), batch=2)

    assert draws_per_step(gl) == draws
    for a, e in zip(actual, expected, strict=True):
        assert np.abs(a - e).max() <= TOLERANCE


@pytest.mark.parametrize(("units", "draws"), [(64, [1]), (512, [2])])
def test_long_products_have_draws_of_their_own(
    units: int, draws: list[int], tmp_path: Path
) -> None:
    model, graph = imported(
        lambda: layers.LSTM(units), tmp_path / "model.keras", masked=False
    )
    x = np.random.default_rng(1).standard_normal((1, STEPS, 8)).astype(np.float32)

    (actual,), gl = run(graph, [x], tmp_path, limits=limits(16384), batch=1)

    assert draws_per_step(gl) == draws
    assert np.abs(actual - outputs_of(model, x)[0]).max() <= TOLERANCE


@pytest.mark.parametrize(
    ("draw_buffers", "draws"), [(1, [3]), (2, [2]), (3, [1]), (8, [1])]
)
def test_results_beyond_the_draw_buffers_take_more_draws(
    draw_buffers: int, draws: list[int], tmp_path: Path
) -> None:
    build, _ = LAYERS["LSTM with steps"]
    _, graph = imported(build, tmp_path / "model.keras", masked=False)
    allowed = Limits(draw_buffers=draw_buffers)

    gl = plan(graph, batch=1, limits=allowed, where="model")

    assert draws_per_step(gl) == draws


def test_a_sequence_of_too_many_steps_is_copied(tmp_path: Path) -> None:
    build, _ = LAYERS["LSTM with steps"]
    _, graph = imported(build, tmp_path / "model.keras", masked=False)

    gl = plan(graph, batch=1, limits=Limits(layers=STEPS - 1), where="model")

    assert draws_per_step(gl) == [2]


def test_layers_of_one_shape_share_the_program_of_their_cells(tmp_path: Path) -> None:
    x, other = keras.Input((STEPS, 8)), keras.Input((STEPS, 8))
    y = layers.LSTM(8)(layers.LSTM(16, return_sequences=True)(x))
    z = layers.LSTM(12)(other)
    keras.Model([x, other], [y, z]).save(tmp_path / "model.keras")
    graph = optimise(import_model(read(tmp_path / "model.keras")))

    gl = plan(graph, batch=1, limits=Limits(), where="model")

    found = [program(stage, "gpu") for stage in gl.stages if isinstance(stage, Cell)]
    plain = [cell for cell in found if "o2" not in cell.text]
    assert len(found) == 3
    assert len(plain) == 2
    assert plain[0].text == plain[1].text
    assert plain[0].sizes != plain[1].sizes


def test_a_loop_that_needs_another_one_runs_behind_it(tmp_path: Path) -> None:
    x = keras.Input((STEPS, 8))
    first, state = layers.GRU(8, return_sequences=True, return_state=True)(x)
    second = layers.GRU(8)(x, initial_state=state)
    keras.Model(x, [first, second, layers.GRU(8)(first)]).save(tmp_path / "m.keras")
    graph = optimise(import_model(read(tmp_path / "m.keras")))

    gl = plan(graph, batch=1, limits=Limits(), where="model")

    assert draws_per_step(gl) == [1, 1]


def test_stages_keep_their_names_beside_each_other(tmp_path: Path) -> None:
    build, _ = LAYERS["Bidirectional of steps"]
    imported(build, tmp_path / "model.keras", masked=True)
    module = compiled(tmp_path / "model.keras", tmp_path, targets=("cpu", "gl"))

    with module.Model(device="gl", context=context()) as model:
        report = model.verify()  # raises where a stage differs from its digest

    assert report.stages > 1


def test_the_report_counts_the_draws_of_every_step(tmp_path: Path) -> None:
    build, _ = LAYERS["LSTM with steps"]
    _, graph = imported(build, tmp_path / "model.keras", masked=False)

    report = plan_report(plan(graph, batch=1, limits=Limits(), where="model"))

    (cell,) = (stage for stage in report.stages if stage.kernel == "cell of 3")
    assert cell.draws == STEPS
    assert cell.microseconds > 0
