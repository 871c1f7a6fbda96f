"""Results stored as halves are what the model of it says, and no worse."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from gl.device import context, run
from hypothesis import given
from hypothesis import strategies as st
from small_graphs import graph as graph_of
from small_graphs import value
from strategies_graphs import graphs, inputs_for

from keramos import compile_model
from keramos.emit.gl import emit_gl
from keramos.emit.halves import LARGEST_HALF, run_on_halves
from keramos.emit.weights import weights
from keramos.expr import operand
from keramos.graph import Graph, apply, literal
from keramos.plan.halves import halved
from keramos.plan.layout import Limits
from keramos.plan.names import constant_names
from keramos.plan.prepare import Target
from keramos.primitives import Gather, Map
from keramos.runtime_min.vendored.gl import Executor
from keramos.runtime_min.vendored.tensors import read_tensors
from keramos.verification import imported

DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.keras"
# Halves of numbers that differ in the last bit of a float may differ in theirs.
STEP = 2.0**-10
LIMITS = [
    Limits(texture_size=16, layers=64, draw_buffers=4),
    Limits(texture_size=64, layers=256, draw_buffers=1),
    Limits(texture_size=4096, layers=256, draw_buffers=8),
]


@pytest.mark.parametrize("size", LIMITS, ids=lambda x: str(x.texture_size))
@pytest.mark.parametrize("batch", [1, 2])
@given(graph=graphs(free=False))
def test_programs_give_what_the_model_of_halves_gives(
    size: Limits, batch: int, graph: Graph
) -> None:
    inputs = inputs_for(graph, 2, np.random.default_rng(0))
    target = Target(batch, size)
    expected = run_on_halves(graph, inputs, target=target).outputs

    with TemporaryDirectory() as folder:
        actual, _ = run(
            graph, inputs, Path(folder), limits=size, batch=batch, storage="float16"
        )

    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        scale = max(1.0, np.abs(e).max(initial=0))
        assert np.abs(a - e).max(initial=0) <= 2 * STEP * scale


@given(number=st.floats(width=32, allow_nan=False))
def test_halves_are_the_next_ones_towards_zero(number: float) -> None:
    (half,) = halved(np.array([number]))

    if abs(number) <= LARGEST_HALF:
        away = np.float16(np.copysign(np.inf, number))
        with np.errstate(over="ignore"):
            further = np.nextafter(np.float16(half), away)
        assert abs(half) <= abs(number) < abs(float(further))
    else:
        assert abs(half) in (LARGEST_HALF, np.inf)


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_what_indexes_is_no_half(dtype: str, tmp_path: Path) -> None:
    table = literal(np.arange(20_000, dtype=np.float32).reshape(5000, 4) % 128)
    x = value(3, dtype="int32" if dtype == "int32" else "float32")
    (shifted,) = apply(Map(operand(0) + 1, x.dtype), x)
    (y,) = apply(Gather(0), table, shifted)
    indices = np.array([[2047, 4097, 4998]])

    (found,), _ = run(
        graph_of(y),
        [indices.astype(dtype)],
        tmp_path,
        limits=Limits(),
        batch=1,
        storage="float16",
    )

    assert np.array_equal(
        found[0], (np.arange(20_000).reshape(-1, 4) % 128)[indices[0] + 1]
    )


@given(graph=graphs(free=False))
def test_textures_of_halves_take_half(graph: Graph) -> None:
    names = constant_names(graph)
    plans = [
        emit_gl(
            graph, names=names, limits=Limits(), batch=1, where="m", storage=storage
        ).plan
        for storage in ("float32", "float16")
    ]

    whole, half = (
        sum(t.bytes for t in plan.textures if t.storage == "float16") for plan in plans
    )

    texels = sum(
        t.width * t.height * t.layers
        for t in plans[1].textures
        if t.storage == "float16"
    )
    assert whole == 0
    assert half == 8 * texels


def test_allocated_bytes_are_the_plan_s(tmp_path: Path) -> None:
    (y,) = apply(Map(operand(0) * 2), value(40, 40, 8))
    graph = graph_of(y)
    names = constant_names(graph)
    gl = emit_gl(
        graph, names=names, limits=Limits(), batch=1, where="model", storage="float16"
    )
    for path, data in gl.files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (tmp_path / "weights").write_bytes(weights(graph, gl.constants))

    executor = Executor(tmp_path, read_tensors(tmp_path / "weights"), context=context())
    allocated = executor.texture_bytes
    executor.release()

    assert allocated == gl.plan.texture_bytes == 2 * 40 * 40 * 8 * 2


def test_stages_near_the_largest_half_are_named() -> None:
    (y,) = apply(Map(operand(0) * 30_000.0), value(4))

    inputs = [np.array([[0.5, 1, -1, 0]])]
    halves = run_on_halves(graph_of(y), inputs, target=Target(1, Limits()))

    (line,) = halves.warnings()
    assert line == (
        "results as float16: stage 'stage' reaches 3.0e+04, and the largest half is "
        "6.6e+04"
    )


def test_digits_verify_themselves_and_tell_what_halves_cost(tmp_path: Path) -> None:
    package = compile_model(DIGITS, tmp_path, name="halves", storage="float16")

    with imported(package.path).Model(device="gl", context=context()) as model:
        report = model.verify()

    assert package.costs[0].startswith("results as float16: 'dense_1' differs by ")
    assert report.error <= report.allowed < 1e-2


def test_halves_excuse_no_other_difference(tmp_path: Path) -> None:
    package = compile_model(DIGITS, tmp_path, name="halves", storage="float16")
    for path in (package.path / "shaders").glob("conv2d*.frag"):
        path.write_text(path.read_text().replace("return r;", "return r * 1.02;"))
    module = imported(package.path)

    with (
        module.Model(device="gl", context=context()) as model,
        pytest.raises(module.VerificationError, match="'conv2d'"),
    ):
        model.verify()
