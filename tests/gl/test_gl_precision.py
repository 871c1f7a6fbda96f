"""Programs on weights in fewer bits give what the graph of rounded weights means."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from gl.device import context, run
from hypothesis import given
from numpy.typing import NDArray
from small_graphs import graph as graph_of
from small_graphs import value
from strategies_graphs import graphs, inputs_for

from keramos.emit.gl import emit_gl
from keramos.emit.programs import program
from keramos.emit.weights import weights
from keramos.graph import Graph, Storage, apply, literal
from keramos.passes.round_weights import round_weights
from keramos.plan.gl import plan
from keramos.plan.layout import Limits
from keramos.plan.names import constant_names
from keramos.plan.profile import limits
from keramos.primitives import Contract, Conv, Gather
from keramos.runtime_min.vendored.gl import Executor
from keramos.runtime_min.vendored.tensors import read_tensors

# As for weights in float32: rounded weights are numbers like any other.
TOLERANCE = 3e-6
STORAGES: tuple[Storage, ...] = ("float16", "uint8")
LIMITS = [
    Limits(texture_size=16, layers=64, draw_buffers=4),
    Limits(texture_size=64, layers=256, draw_buffers=1),
    Limits(texture_size=4096, layers=256, draw_buffers=8),
]
BYTES = {"float32": 16, "float16": 8, "uint8": 4}

Array = NDArray[np.float32]


def numbers(*shape: int) -> Array:
    """Return weights that keep sums small."""
    fan = math.prod(shape[:-1])
    weights = np.random.default_rng(fan).uniform(-1.5, 1.5, shape) / math.sqrt(fan)
    return weights.astype(np.float32)


def agrees(graph: Graph, size: Limits, *, batch: int = 1) -> None:
    """Raise AssertionError where the programs don't give what *graph* means."""
    inputs = inputs_for(graph, 2, np.random.default_rng(0))
    expected = [y.astype(np.float64) for y in graph.evaluate(*inputs)]

    with TemporaryDirectory() as folder:
        actual, _ = run(graph, inputs, Path(folder), limits=size, batch=batch)

    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        scale = max(1.0, np.abs(e).max(initial=0))
        assert np.abs(a - e).max(initial=0) <= TOLERANCE * scale


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("size", LIMITS, ids=lambda x: str(x.texture_size))
@given(graph=graphs(free=False))
def test_programs_agree_with_the_rounded_graph(
    storage: Storage, size: Limits, graph: Graph
) -> None:
    agrees(round_weights(graph, storage, fewest=1, terms=1), size)


def kernels() -> dict[str, Graph]:
    """Return a graph for each family of kernels that reads weights."""
    plain, depthwise, grouped = (
        Conv((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), groups=groups)
        for groups in (1, 128, 2)
    )
    ones = Conv((1,), ((0, 0),), (1,), (1,))
    dense = Contract((0,), (0,))
    return {
        "few pixels": graph_of(
            *apply(plain, value(7, 7, 13), literal(numbers(3, 3, 13, 30), name="k"))
        ),
        "many pixels": graph_of(
            *apply(plain, value(48, 48, 64), literal(numbers(3, 3, 64, 18), name="k"))
        ),
        "depthwise": graph_of(
            *apply(depthwise, value(9, 9, 128), literal(numbers(3, 3, 1, 128)))
        ),
        "grouped": graph_of(
            *apply(grouped, value(9, 9, 30), literal(numbers(3, 3, 15, 22)))
        ),
        "one axis": graph_of(
            *apply(ones, value(70, 24), literal(numbers(1, 24, 50), name="k"))
        ),
        "dense": graph_of(*apply(dense, value(77), literal(numbers(77, 30)))),
        "cut sum": graph_of(*apply(dense, value(2048), literal(numbers(2048, 12)))),
        "heads": graph_of(
            *apply(Contract((1,), (0,)), value(9, 24), literal(numbers(24, 3, 17)))
        ),
        "words": graph_of(
            *apply(Gather(0), literal(numbers(70, 30)), value(9, dtype="int32"))
        ),
    }


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("name", kernels())
@pytest.mark.parametrize("size", [limits(64), limits(16384)], ids=["64", "16384"])
def test_every_kernel_reads_weights_in_fewer_bits(
    storage: Storage, name: str, size: Limits
) -> None:
    rounded = round_weights(kernels()[name], storage, fewest=1, terms=1)
    (constant,) = rounded.constants()

    assert constant.constant is not None
    assert constant.constant.storage == storage
    agrees(rounded, size, batch=2)


@pytest.mark.parametrize("storage", STORAGES)
def test_textures_of_weights_take_as_many_bytes_as_the_plan_says(
    storage: Storage, tmp_path: Path
) -> None:
    graph = round_weights(kernels()["few pixels"], storage)
    names = constant_names(graph)
    gl = emit_gl(graph, names=names, limits=Limits(), batch=1, where="model")
    gl_files = gl.files | {"weights.safetensors": weights(graph, gl.constants)}
    for path, data in gl_files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)

    tensors = read_tensors(tmp_path / "weights.safetensors")
    executor = Executor(tmp_path, tensors, context=context())
    allocated = executor.texture_bytes
    executor.release()

    kernel = max(gl.plan.constants, key=lambda x: x.tensor.layout.texels)
    texture = gl.plan.textures[gl.plan.texture(kernel.tensor)]
    assert texture.bytes == kernel.tensor.layout.texels * BYTES[storage]
    assert allocated == gl.plan.texture_bytes


@pytest.mark.parametrize("storage", STORAGES)
@given(graph=graphs(free=False))
def test_programs_compile_with_the_header_of_webgl(
    storage: Storage, graph: Graph
) -> None:
    rounded = round_weights(graph, storage, fewest=1, terms=1)
    vertex = "#version 300 es\nvoid main() { gl_Position = vec4(0.0); }\n"

    for stage in plan(rounded, batch=1, limits=Limits(), where="model").stages:
        text = "#version 300 es\n" + program(stage, "gpu").text
        compiled = context().program(vertex_shader=vertex, fragment_shader=text)
        compiled.release()
