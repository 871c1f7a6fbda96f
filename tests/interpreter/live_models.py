"""Real Keras models, handed to the interpreter without a file in between."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keramos import source
from keramos.runtime_min.interpreter import Interpreter, magnitude

Array = NDArray[Any]
EPSILON = float(np.finfo(np.float32).eps)


def live_file(model: keras.Model, *, keras_version: str = "") -> source.KerasFile:
    """Return what a file of *model* would hold."""
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))

    def weights(path: tuple[str, ...]) -> tuple[source.Tensor, ...]:
        """Return the weights of the layer at *path*."""
        layer: Any = model
        for name in path:
            layer = _part(layer, name)
        variables = [v for v in layer.weights if "seed_generator" not in v.path]
        return tuple(_tensor(variable) for variable in variables)

    return source.KerasFile(
        path=Path("live.keras"),
        format="live",
        keras_version=keras_version or keras.__version__,
        sha256="",
        model=source.parse_model(serialized),
        layer_weights=weights,
    )


def _part(layer: Any, name: str) -> Any:  # noqa: ANN401 - Keras is untyped
    """Return the layer that *name* leads to: in a model, in stacked cells, wrapped."""
    if isinstance(layer, keras.Model):
        return layer.get_layer(name)
    return layer.cells[int(name)] if name.isdecimal() else getattr(layer, name)


def _tensor(variable: Any) -> source.Tensor:  # noqa: ANN401 - a Keras variable
    """Return a variable as the file's tensor."""
    array = np.asarray(variable.value)
    return source.Tensor(
        variable.name, array.shape, array.dtype.name, partial(np.asarray, array)
    )


def fill_weights(model: keras.Model, seed: int) -> None:
    """Give every weight values that a training might have found."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        if "seed_generator" in variable.path or not variable.dtype.startswith("float"):
            continue
        values = generator.normal(0, 0.5, variable.shape)
        if "variance" in variable.path:
            values = np.abs(values) + 0.1
        variable.assign(values.astype(np.float32))
    for layer in model._flatten_layers():  # noqa: SLF001 - there is no public way
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def as_list(outputs: Any) -> list[Array]:  # noqa: ANN401 - arrays in any structure
    """Return the arrays of a structure in Keras' order, or of a dict in its own."""
    if isinstance(outputs, dict):
        return [np.asarray(item) for item in outputs.values()]
    return [np.asarray(item) for item in keras.tree.flatten(outputs)]


def assert_agrees(
    model: keras.Model, *inputs: Array, seed: int = 0, factor: float = 64
) -> None:
    """Hold the interpreter to Keras on *model* with random weights.

    The float64 interpreter is taken as exact; Keras, in float32, may be off by some
    rounding units of the sums' magnitude, and so may the float32 interpreter. An empty
    batch has to come out empty.
    """
    fill_weights(model, seed)
    file = live_file(model)
    given = list(inputs) if len(inputs) > 1 else inputs[0]
    expected = as_list(model(given, training=False))
    exact = as_list(Interpreter(file, dtype="float64").predict(*inputs))
    found = as_list(Interpreter(file).predict(*inputs))
    sizes = [
        np.nan_to_num(np.abs(item)).max(initial=0) for item in magnitude(file, *inputs)
    ]

    nothing = as_list(Interpreter(file).predict(*(item[:0] for item in inputs)))

    assert len(expected) == len(exact)
    assert [item.shape for item in nothing] == [(0, *y.shape[1:]) for y in expected]
    for keras_array, exact_array, array, size in zip(
        expected, exact, found, sizes, strict=True
    ):
        bound = factor * EPSILON * max(float(size), 1.0)
        assert_close(keras_array, exact_array, bound)
        assert_close(array, exact_array, bound)


def assert_close(actual: Array, expected: Array, bound: float) -> None:
    """Require the same shape and values within *bound*, NaN where NaN is."""
    assert actual.shape == expected.shape
    assert np.allclose(actual, expected, rtol=0, atol=bound, equal_nan=True), (
        np.nanmax(np.abs(actual - expected)),
        bound,
    )


def through_layer(
    layer: keras.Layer, *shapes: Sequence[int | None], dtype: str = "float32"
) -> keras.Model:
    """Return the model that passes its inputs through one layer."""
    tensors = [keras.Input(shape, dtype=dtype) for shape in shapes]
    inputs = tensors if len(tensors) > 1 else tensors[0]
    return keras.Model(inputs, layer(inputs))


def noise(shape: Sequence[int], seed: int = 1) -> Array:
    """Return random numbers of both signs."""
    generator = np.random.default_rng(seed)
    return generator.normal(0, 1, shape).astype(np.float32)


def hand_built_file(
    class_name: str,
    config: dict[str, Any],
    shape: Sequence[int | None],
    *,
    keras_version: str = "3.0.0",
    weights: Sequence[Array] = (),
) -> source.KerasFile:
    """Return a file that holds one layer, for what the installed Keras can't make."""
    inputs = {"batch_shape": [None, *shape], "name": "given", "dtype": "float32"}
    tensors = tuple(
        source.Tensor(str(i), array.shape, array.dtype.name, partial(np.asarray, array))
        for i, array in enumerate(weights)
    )
    tested = source.LayerConfig(
        class_name,
        "tested",
        {"name": "tested", **config},
        (source.Call((source.Ref("given", 0, 0),), {}),),
    )
    given = source.LayerConfig("InputLayer", "given", inputs, (source.Call((), {}),))
    return source.KerasFile(
        path=Path("made.h5"),
        format="made",
        keras_version=keras_version,
        sha256="",
        model=source.ModelConfig(
            "Functional",
            "model",
            (given, tested),
            source.Ref("given", 0, 0),
            source.Ref("tested", 0, 0),
        ),
        layer_weights=lambda path: tensors if path == ("tested",) else (),
    )
