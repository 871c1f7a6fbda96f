"""Real Keras beside the lowered graph: the same model file, the same numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Models here run once: what XLA optimises costs more than it gives.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)

import keras

from keramos.graph import Graph
from keramos.importer import import_model
from keramos.source import read

Array = NDArray[Any]
TOLERANCE = 1e-5


def model_of(
    layer: Any,  # noqa: ANN401 - Keras is untyped
    *shapes: Sequence[int | None],
    seed: int = 0,
    dtype: str = "float32",
) -> Any:  # noqa: ANN401
    """Return a model that applies *layer* to inputs of *shapes*, weights drawn."""
    inputs = [keras.Input(tuple(shape), dtype=dtype) for shape in shapes]
    given = inputs[0] if len(inputs) == 1 else inputs
    model = keras.Model(given, layer(given))
    randomise(model, seed=seed)
    return model


def randomise(model: Any, *, seed: int = 0) -> None:  # noqa: ANN401
    """Give a model weights that hide nothing: no zeros, no ones, variances positive."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed_generator" in weight.path:
            continue
        drawn = random.normal(0.0, 0.5, weight.shape)
        positive = "variance" in weight.path
        weight.assign(np.abs(drawn) + 0.3 if positive else drawn)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


@contextmanager
def graph_of(model: Any, *, suffix: str = ".keras") -> Iterator[Graph]:  # noqa: ANN401
    """Save a model with Keras, and give its graph while the file is there."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        model.save(path)
        yield import_model(read(path))


def inputs_for(
    graph: Graph, *, n: int = 2, seed: int = 0, free: int = 5
) -> list[Array]:
    """Return inputs for a graph; free dimensions get the length *free*."""
    random = np.random.default_rng(seed)
    arrays: list[Array] = []
    for x in graph.inputs:
        shape = (n, *(free if d is None else d for d in x.shape))
        if x.dtype == "int32":
            arrays.append(random.integers(0, 4, shape).astype(np.int32))
        else:
            arrays.append(random.normal(0.0, 1.0, shape).astype(np.float32))
    return arrays


def disagreement(
    model: Any,  # noqa: ANN401
    inputs: Sequence[Array] | None = None,
    *,
    suffix: str = ".keras",
) -> float:
    """Return the largest error of the graph against Keras, over the outputs' size."""
    with graph_of(model, suffix=suffix) as graph:
        arrays = inputs_for(graph) if inputs is None else inputs
        actual = graph.evaluate(*arrays)
        specs = graph.output_specs
    given = arrays[0] if len(arrays) == 1 else list(arrays)
    predicted = model.predict(given, verbose=0)
    expected = [np.asarray(y) for y in keras.tree.flatten(predicted)]
    worst = 0.0
    for y, z, spec in zip(actual, expected, specs, strict=True):
        mine, theirs = y.astype(np.float64), z.astype(np.float64)
        if mine.shape != theirs.shape or len(spec.shape) + 1 != mine.ndim:
            raise AssertionError(f"shape {mine.shape} instead of {theirs.shape}")
        if any(
            d not in (None, size)
            for d, size in zip(spec.shape, mine.shape[1:], strict=True)
        ):
            raise AssertionError(f"{spec} evaluates to {mine.shape}")
        if not np.array_equal(np.isnan(mine), np.isnan(theirs)):
            raise AssertionError("NaN stands elsewhere")
        size = max(1.0, float(np.nanmax(np.abs(theirs), initial=0.0)))
        error = float(np.nanmax(np.abs(mine - theirs), initial=0.0))
        worst = max(worst, error / size)
    return worst
