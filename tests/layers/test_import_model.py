"""Whole models: nested, shared, several inputs and outputs, users' own layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from lowering_oracle import TOLERANCE, disagreement, graph_of, randomise

from keramos.importer import describe, import_model
from keramos.layers.custom import load_custom
from keramos.primitives import Gather
from keramos.source import read


def small_model() -> Any:  # noqa: ANN401 - Keras is untyped
    x = keras.Input((8, 8, 3), name="image")
    y = layers.Conv2D(4, 3, name="conv")(x)
    y = layers.GlobalAveragePooling2D(name="pool")(y)
    model = keras.Model(x, layers.Dense(2, name="scores")(y))
    randomise(model)
    return model


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_nested_models_are_part_of_the_graph(suffix: str) -> None:
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, activation="relu"), layers.Dense(2)]
    )
    a, b = keras.Input((4,)), keras.Input((2,))
    middle = keras.Model([a, b], [inner(a), layers.Add()([inner(a), b])])
    x, y = keras.Input((4,)), keras.Input((2,))
    model = keras.Model([x, y], middle([x, y]))
    randomise(model)

    assert disagreement(model, suffix=suffix) < TOLERANCE


def test_shared_layers_share_their_weights() -> None:
    x, y = keras.Input((4,)), keras.Input((4,))
    shared = layers.Dense(3, name="shared")
    model = keras.Model([x, y], layers.Concatenate()([shared(x), shared(y)]))

    with graph_of(model) as graph:
        names = [value.name for value in graph.constants()]

    assert sorted(names) == ["shared/bias", "shared/kernel"]


def test_dicts_of_inputs_and_outputs_keep_keras_order() -> None:
    x = {"b": keras.Input((3,), name="b"), "a": keras.Input((3,), name="a")}
    outputs = {"q": layers.ReLU()(x["a"]), "p": layers.Add()([x["a"], x["b"]])}
    model = keras.Model(x, outputs)
    a = np.array([[1.0, -1.0, 2.0]], np.float32)

    with graph_of(model) as graph:
        names = [value.name for value in graph.inputs]
        given = {"a": a, "b": 10 * a}
        p, q = graph.evaluate(*(given[name] for name in names))

    assert p.tolist() == (11 * a).tolist()
    assert q.tolist() == [[1.0, 0.0, 2.0]]


def test_an_intermediate_tensor_may_be_an_output_twice() -> None:
    x = keras.Input((3,))
    y = layers.ReLU(name="half")(x)
    model = keras.Model(x, [y, layers.Dense(2, name="end")(y), y])

    with graph_of(model) as graph:
        assert graph.output_names == ("half", "end", "half_1")


def test_inputs_that_only_look_up_rows_hold_whole_numbers() -> None:
    x, y = keras.Input((4,), name="tokens"), keras.Input((4,), name="numbers")
    rows = layers.Embedding(5, 3)(x)
    model = keras.Model([x, y], [rows, layers.Dense(2)(y)])

    with graph_of(model) as graph:
        assert [value.dtype for value in graph.inputs] == ["int32", "float32"]


def test_free_dimensions_are_pinned_on_request(tmp_path: Path) -> None:
    x = keras.Input((None, None, 3), name="image")
    model = keras.Model(x, layers.Conv2D(2, 3, name="conv")(x))
    model.save(tmp_path / "free.keras")

    graph = import_model(
        read(tmp_path / "free.keras"), input_shapes={"image": (6, 7, 3)}
    )

    assert graph.output_specs[0].shape == (4, 5, 2)


def test_nodes_know_the_layer_that_they_come_from() -> None:
    with graph_of(small_model()) as graph:
        layers_in_order = list(
            dict.fromkeys(origin.layer for n in graph.nodes for origin in n.origins)
        )

    assert layers_in_order == ["conv", "pool", "scores"]


def test_describe_counts_parameters_and_multiplications(tmp_path: Path) -> None:
    small_model().save(tmp_path / "small.keras")

    rows = describe(read(tmp_path / "small.keras")).rows

    assert [(r.name, r.output_shapes, r.parameters, r.macs) for r in rows] == [
        ("image", ((None, 8, 8, 3),), 0, 0),
        ("conv", ((None, 6, 6, 4),), 112, 6 * 6 * 4 * 27),
        ("pool", ((None, 4),), 0, 0),
        ("scores", ((None, 2),), 10, 8),
    ]


CUSTOM = """
from keramos.layers.custom import custom_layer
from keramos import ops


@custom_layer("halve")
def halve(layer, x):
    return x / 2


@custom_layer("Weighted")
def weighted(layer, x):
    kernel = layer.weight("kernel", (x.shape[-1],))
    return x * kernel * layer.number("factor", 1.0)


@custom_layer("Counter", state_sizes=lambda layer: [layer.integer("units", 1)])
def counter(layer, x, states):
    kernel = layer.weight("kernel", (x.shape[-1], layer.integer("units", 1)))
    total = states[0] + ops.matmul(x, kernel)
    return ops.tanh(total), [total]
"""


@keras.saving.register_keras_serializable("tests")
class Weighted(keras.layers.Layer):  # type: ignore[misc]
    """A layer of a user's own."""

    def __init__(self, factor: float, **options: Any) -> None:  # noqa: ANN401
        """Keep the factor."""
        super().__init__(**options)
        self.factor = factor

    def build(self, shape: tuple[int, ...]) -> None:
        """Make the kernel."""
        self.kernel = self.add_weight(shape=(shape[-1],))

    def call(self, x: Any) -> Any:  # noqa: ANN401
        """Return the weighted input."""
        return x * self.kernel * self.factor

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable("tests")
class Counter(keras.layers.Layer):  # type: ignore[misc]
    """A recurrent cell of a user's own."""

    def __init__(self, units: int, **options: Any) -> None:  # noqa: ANN401
        """Keep the number of units."""
        super().__init__(**options)
        self.units = self.state_size = units

    def build(self, shape: tuple[int, ...]) -> None:
        """Make the kernel."""
        self.kernel = self.add_weight(shape=(shape[-1], self.units))

    def call(self, x: Any, states: Any) -> Any:  # noqa: ANN401
        """Return one step."""
        total = states[0] + keras.ops.matmul(x, self.kernel)
        return keras.ops.tanh(total), [total]

    def get_config(self) -> dict[str, Any]:
        """Return the options."""
        return {**super().get_config(), "units": self.units}


def custom_file(folder: Path) -> Mapping[str, Any]:
    path = folder / "own.py"
    path.write_text(CUSTOM)
    return load_custom(path)


def test_custom_layers_and_cells_are_lowered_like_others(tmp_path: Path) -> None:
    x = keras.Input((5, 3))
    y = layers.RNN(Counter(2), return_sequences=True)(Weighted(3.0)(x))
    model = keras.Model(x, y)
    randomise(model)
    model.save(tmp_path / "own.keras")
    array = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)

    graph = import_model(read(tmp_path / "own.keras"), custom=custom_file(tmp_path))

    expected = model.predict(array, verbose=0)
    assert np.abs(graph.evaluate(array)[0] - expected).max() < TOLERANCE


def test_a_lambda_is_defined_by_its_layer_name(tmp_path: Path) -> None:
    x = keras.Input((3,))
    keras.Model(x, layers.Lambda(lambda v: v / 2, name="halve")(x)).save(
        tmp_path / "lambda.keras"
    )
    array = np.array([[2.0, 4.0, 6.0]], np.float32)

    graph = import_model(read(tmp_path / "lambda.keras"), custom=custom_file(tmp_path))

    assert graph.evaluate(array)[0].tolist() == [[1.0, 2.0, 3.0]]


def test_looking_up_rows_stays_a_gather_inside_a_loop() -> None:
    x = keras.Input((4, 2), dtype="int32")
    model = keras.Model(x, layers.TimeDistributed(layers.Embedding(5, 3))(x))

    with graph_of(model) as graph:
        assert [type(node.primitive) for node in graph.nodes] == [Gather]
