"""One package, several limits: the highest plan that the device satisfies runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gl.device import Weights, context

from keramos.emit.gl import emit_gl
from keramos.expr import operand
from keramos.graph import Graph, Value, apply, literal
from keramos.passes import optimise
from keramos.plan.layout import Limits
from keramos.plan.names import constant_names
from keramos.plan.profile import limits
from keramos.primitives import Contract, Conv, Map, Spec
from keramos.runtime_min.vendored.gl import DeviceError, Executor

# No software rasteriser has textures as wide as the plan's for WIDE pixels.
TOO_LARGE = limits(32768)
WIDE = 20000


def convolution() -> Graph:
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3, 8, 512)).astype(np.float32)
    x = Value(Spec((48, 48, 8)), name="x")
    plain = Conv((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1))
    (y,) = apply(plain, x, literal(kernel, name="kernel"))
    return Graph((x,), apply(Map(operand(0) * operand(0)), y), ("y",))


def wide() -> Graph:
    x = Value(Spec((2, WIDE, 4)), name="x")
    return Graph((x,), apply(Map(operand(0) * operand(0)), x), ("y",))


def write(
    graph: Graph, folder: Path, ladder: list[Limits]
) -> tuple[Weights, dict[str, bytes]]:
    """Write the files of *ladder* into *folder*; return the weights and the files."""
    names = constant_names(graph)
    gl = emit_gl(graph, names=names, limits=ladder, batch=1, where="model")
    for path, data in gl.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    arrays = {
        name: value.constant.array()
        for value, name in names.items()
        if value.constant is not None
    }
    assert not gl.constants
    return Weights(arrays), gl.files


def test_the_highest_plan_that_the_device_satisfies_runs(tmp_path: Path) -> None:
    graph = wide()
    weights, _ = write(graph, tmp_path, [limits(2048), limits(16384), TOO_LARGE])

    executor = Executor(tmp_path, weights, context=context())
    x = np.random.default_rng(1).standard_normal((1, 2, WIDE, 4)).astype(np.float32)
    (y,) = executor.run([x])
    executor.release()

    assert executor.plan["limits"]["texture_size"] == 16384
    assert np.allclose(y, graph.evaluate(x)[0], rtol=1e-4, atol=1e-3)


def test_weights_are_stored_once_for_all_limits(tmp_path: Path) -> None:
    weights, _ = write(convolution(), tmp_path, [limits(256), limits(16384)])

    assert list(weights.arrays) == ["kernel"]


def test_the_bias_of_heads_is_stored_once(tmp_path: Path) -> None:
    x = Value(Spec((5, 8)), name="x")
    kernel, bias = np.ones((8, 2, 40), np.float32), np.ones((2, 40), np.float32)
    (y,) = apply(Contract((1,), (0,)), x, literal(kernel, name="kernel"))
    graph = optimise(Graph((x,), (y + literal(bias, name="bias"),), ("y",)))

    weights, _ = write(graph, tmp_path, [limits(4096)])

    assert list(weights.arrays) == ["kernel", "bias"]


def test_a_device_below_the_lowest_limits_is_refused_in_one_sentence(
    tmp_path: Path,
) -> None:
    weights, _ = write(wide(), tmp_path, [TOO_LARGE])

    with pytest.raises(DeviceError, match=r"is too small for this package: MAX_TEXT"):
        Executor(tmp_path, weights, context=context())


def test_texture_bytes_of_the_plan_are_what_the_executor_allocates(
    tmp_path: Path,
) -> None:
    weights, files = write(convolution(), tmp_path, [limits(4096)])

    executor = Executor(tmp_path, weights, context=context())
    allocated = executor.texture_bytes
    executor.release()

    assert allocated == json.loads(files["shaders/plan.json"])["texture_bytes"]


def test_software_profiles_have_no_uniform_weights(tmp_path: Path) -> None:
    _, files = write(convolution(), tmp_path, [limits(4096, "software")])

    assert json.loads(files["shaders/plan.json"])["buffers"] == []
