"""Emit a graph as a package, import it, and say how exact it has to be."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keramos.emit.cpu.module import module
from keramos.emit.package import Provenance, emit_package
from keramos.emit.sample import Sample, trace
from keramos.emit.weights import weights
from keramos.graph import Graph, Storage
from keramos.primitives import Contract, Conv, Reduce, Resize, Window
from keramos.runtime_min import vendored
from keramos.runtime_min.vendored.tensors import read_tensors

Array = NDArray[Any]

PROVENANCE = Provenance("model.keras", "0" * 64, "0.0.0", "3.0.0")
ROUNDING_UNIT = float(np.finfo(np.float32).eps)

# What another order of summing, and functions that are off by a few units in the last
# place (NumPy's own exp is by 2, our erf by 4), may cost.
ROUNDINGS = 16

SUMS = (Contract, Conv, Reduce, Resize, Window)

_NUMBER = itertools.count()


def files(
    graph: Graph,
    *,
    name: str,
    given: Sample | None = None,
    provenance: Provenance = PROVENANCE,
    weights: Storage = "float32",
) -> dict[str, bytes]:
    """Return the package of *graph*, whose weights are said to be stored like that."""
    options = {"targets": ["cpu"], "weights": weights}
    return emit_package(
        graph, name=name, options=options, provenance=provenance, given=given
    )


def package(graph: Graph, folder: Path, *, given: Sample | None = None) -> ModuleType:
    """Return the imported package of *graph*, written below *folder*."""
    name = f"emitted_{next(_NUMBER)}"
    for path, content in files(graph, name=name, given=given).items():
        target = folder / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return imported(folder / name)


def predict(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """Return what the emitted cpu.py of *graph* computes, without a whole package."""
    emitted = module(graph, header=[])
    with TemporaryDirectory() as name:
        folder = Path(name) / f"cpu_{next(_NUMBER)}"
        folder.mkdir()
        (folder / "__init__.py").write_text("from . import cpu\n")
        (folder / "cpu.py").write_text(emitted.text)
        for vendor in {*emitted.vendored, "_tensors"}:
            text = vendored.source(f"{vendor.removeprefix('_')}.py")
            (folder / f"{vendor}.py").write_text(text)
        (folder / "weights.safetensors").write_bytes(weights(graph, {}))
        cpu = imported(folder).cpu
        extra = []
        if emitted.has_weights:
            tensors = read_tensors(folder / "weights.safetensors")
            extra.append(cpu.Weights.load(tensors))
    with np.errstate(all="ignore"):
        outputs = cpu.predict(*inputs, *extra)
    return [*outputs] if isinstance(outputs, tuple) else [outputs]


def imported(path: Path) -> ModuleType:
    """Return the package in folder *path*."""
    spec = importlib.util.spec_from_file_location(path.name, path / "__init__.py")
    if spec is None or spec.loader is None:
        raise ImportError(path)
    package_ = importlib.util.module_from_spec(spec)
    sys.modules[path.name] = package_
    spec.loader.exec_module(package_)
    return package_


def arrays(outputs: Array | dict[str, Array]) -> list[Array]:
    """Return a model's outputs as a list."""
    return [*outputs.values()] if isinstance(outputs, dict) else [outputs]


def tolerances(graph: Graph, inputs: Sequence[Array]) -> list[float]:
    """Return the bound on the error of each output.

    Sums are off by some rounding units of their magnitude, which running them on |x|
    and |w| gives; what comes behind amplifies this, which shows in the distance of the
    graph in float32 from itself in float64.
    """
    wide = [x.astype(np.float64) if x.dtype == np.float32 else x for x in inputs]
    unit = ROUNDING_UNIT * max([1.0, *magnitudes(graph, inputs)])
    pairs = zip(graph.evaluate(*inputs), graph.evaluate(*wide), strict=True)
    return [ROUNDINGS * (unit + largest(a - b)) for a, b in pairs]


def magnitudes(graph: Graph, inputs: Sequence[Array]) -> list[float]:
    """Return the size of what is added up in each stage."""
    values = {
        (y.node or y, y.index): np.abs(array) for y, array in trace(graph, inputs)
    }
    result = [largest(array) for array in values.values()]
    for node in graph.nodes:
        if isinstance(node.primitive, SUMS):
            operands = [
                (
                    np.abs(x.constant.array()[None])
                    if x.constant
                    else values[x.node or x, x.index]
                )
                for x in node.operands
            ]
            result += [largest(y) for y in node.primitive.evaluate(*operands)]
    return result


def largest(x: Array) -> float:
    """Return the largest magnitude in *x*, 0 if it is empty."""
    return float(np.abs(x.astype(np.float64)).max(initial=0))


def assert_close(
    actual: Sequence[Array], expected: Sequence[Array], bounds: Sequence[float]
) -> None:
    """Raise AssertionError where outputs differ in shape, type or by more than that."""
    assert [y.shape for y in actual] == [y.shape for y in expected]
    assert [y.dtype for y in actual] == [y.dtype for y in expected]
    for a, b, bound in zip(actual, expected, bounds, strict=True):
        assert largest(a.astype(np.float64) - b) <= bound
