"""What Keras saves, read back: every layer's weights, and every topology."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.saving import saving_lib

from keramos.source import KerasFile, ModelConfig, Ref, parse_model, read
from keramos.source.model_config import is_operation

# Keras' own Variable.numpy() offends NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")

Model = Any  # Keras has no types
FORMATS = (
    *("keras", "h5", "directory", "numpy"),
    *("json and .weights.h5", "json and .h5", "shards"),
)


def digits() -> Model:
    """Return a Sequential with its own InputLayer."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(3, 3),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Conv2D(2, 3, use_bias=False),
            layers.BatchNormalization(scale=False),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )


def deferred() -> Model:
    """Return a Sequential that learnt its input shape when it was built."""
    model = keras.Sequential([layers.Dense(3), layers.Dense(2)])
    model.build((None, 5))
    return model


def nested() -> Model:
    """Return models in models, shared ones among them, called in odd order."""
    inner_input = keras.Input((4,))
    inner = keras.Model(
        inner_input,
        layers.BatchNormalization(name="norm")(
            layers.Dense(4, name="dense")(inner_input)
        ),
        name="inner",
    )
    head = keras.Sequential([layers.Dense(4), layers.PReLU()], name="dense")
    middle_input = keras.Input((4,))
    middle = keras.Model(middle_input, head(inner(middle_input)), name="middle")
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    late = middle(second)
    sums = layers.Add()([middle(first), late])
    return keras.Model([second, first], [middle(sums), head(sums), inner(first), sums])


def shared_across() -> Model:
    """Return a model whose sub-models hold a layer of its own."""
    shared = layers.Dense(4, name="shared")
    cell_input = keras.Input((4,))
    one = keras.Model(cell_input, shared(cell_input), name="one")
    outer = keras.Input((4,))
    return keras.Model(outer, layers.Add()([one(outer), shared(outer)]))


def frozen() -> Model:
    """Return a model with frozen layers inside a nested one."""
    inner = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4, trainable=False),
            layers.BatchNormalization(),
            layers.Dense(4),
        ],
        name="inner",
    )
    return keras.Sequential([keras.Input((4,)), inner, layers.Dense(4)])


def recurrent() -> Model:
    """Return every kind of recurrence."""
    steps = keras.Input((3, 4))
    cells = [layers.LSTMCell(2), layers.GRUCell(3), layers.LSTMCell(2)]
    backward = layers.GRU(3, go_backwards=True, name="own")
    return keras.Model(
        steps,
        [
            layers.LSTM(3, dropout=0.1)(steps),
            layers.GRU(3, reset_after=False)(steps),
            layers.SimpleRNN(2, use_bias=False)(steps),
            layers.RNN(layers.StackedRNNCells(cells))(steps),
            layers.Bidirectional(layers.LSTM(3))(steps),
            layers.Bidirectional(layers.LSTM(3), backward_layer=backward)(steps),
            layers.TimeDistributed(layers.BatchNormalization())(steps),
        ],
    )


def wrapped() -> Model:
    """Return models inside wrappers."""
    steps = keras.Input((6, 4))
    inner = keras.Sequential(
        [layers.Dense(3), layers.BatchNormalization(), layers.Dense(2)], name="inner"
    )
    return keras.Model(
        steps,
        [
            layers.TimeDistributed(inner, name="distributed")(steps),
            layers.SpectralNormalization(layers.Conv1D(2, 3), name="spectral")(steps),
        ],
    )


def attention() -> Model:
    """Return layers made of projections."""
    steps = keras.Input((6, 4))
    return keras.Model(
        steps,
        [
            layers.MultiHeadAttention(2, 3)(steps, value=steps, key=steps),
            layers.GroupQueryAttention(3, 4, 2, use_bias=False)(steps, steps),
            layers.Attention(use_scale=True, score_mode="concat")([steps, steps]),
            layers.AdditiveAttention()([steps, steps]),
        ],
    )


def structures() -> Model:
    """Return a model with dicts and operations for inputs, outputs and layers."""
    sources = {"b": keras.Input((4,), name="b"), "a": keras.Input((4,), name="a")}
    total = sources["a"] + 2.0 * sources["b"]
    part = total[:, 1:3]
    return keras.Model(
        sources, {"y": layers.Dense(2)(part), "z": [keras.ops.tanh(total)]}
    )


def others() -> Model:
    """Return the remaining layers with variables."""
    image = keras.Input((8, 8, 4))
    return keras.Model(
        image,
        [
            layers.DepthwiseConv2D(3)(image),
            layers.SeparableConv2D(2, 3)(image),
            layers.Conv2DTranspose(2, 3)(image),
            layers.LayerNormalization()(image),
            layers.GroupNormalization(2)(image),
            layers.RMSNormalization()(image),
            layers.Normalization()(image),
            layers.EinsumDense("bhwc,cd->bhwd", (8, 8, 3), bias_axes="d")(image),
            layers.EinsumDense("bhwc,cd->bhwd", (8, 8, 3))(image),
        ],
    )


def nested_others() -> Model:
    """Return these layers inside a nested model, where legacy files mix them up."""
    inner = others()
    inner.name = "inner"
    image = keras.Input((8, 8, 4))
    return keras.Model(image, inner(image))


MODELS = (
    digits,
    deferred,
    nested,
    shared_across,
    frozen,
    recurrent,
    wrapped,
    attention,
    structures,
    others,
    nested_others,
)


def saved(model: Model, form: str, folder: Path) -> KerasFile:
    """Save *model* and read it back."""
    match form:
        case "keras" | "h5":
            path = folder / f"model.{form}"
            model.save(path)
            return read(path)
        case "numpy":
            path = folder / "numpy.keras"
            saving_lib.save_model(model, path, weights_format="npz")
            return read(path)
        case "directory":
            model.save(folder / "model.keras")
            with zipfile.ZipFile(folder / "model.keras") as archive:
                archive.extractall(folder / "model")
            return read(folder / "model")
    path = folder / "model.json"
    path.write_text(model.to_json())
    match form:
        case "json and .weights.h5":
            weights = folder / "model.weights.h5"
            model.save_weights(weights)
        case "shards":
            weights = folder / "model.weights.json"
            model.save_weights(weights, max_shard_size=6e-7)
        case _:
            weights = folder / "whole.h5"
            model.save(weights)
    return read(path, weights_file=weights)


def randomised(make: Callable[[], Model]) -> Model:
    """Return the model with weights that all differ, without zeros and ones."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(7)
    model = make()
    generator = np.random.default_rng(7)
    model.set_weights(
        [generator.uniform(0.5, 1.5, w.shape) for w in model.get_weights()]
    )
    return model


def paths(
    model: Model, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Model]]:
    """Yield every layer of a Keras model with its path."""
    for layer in getattr(model, "operations", model.layers):
        here = (*path, layer.name)
        yield here, layer
        if isinstance(layer, keras.Model):
            yield from paths(layer, here)
        attributes = ["layer", "forward_layer", "backward_layer", "cell"]
        if isinstance(layer, (layers.MultiHeadAttention, layers.GroupQueryAttention)):
            attributes += [
                "_query_dense",
                "_key_dense",
                "_value_dense",
                "_output_dense",
            ]
        if isinstance(layer, layers.Bidirectional):
            attributes.remove("layer")
        for attribute in attributes:
            part = getattr(layer, attribute, None)
            if isinstance(part, layers.Layer):
                yield (*here, attribute), part
                if isinstance(part, keras.Model):
                    yield from paths(part, (*here, attribute))


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_weights_come_in_the_order_of_keras(
    make: Callable[[], Model], tmp_path: Path
) -> None:
    model = randomised(make)
    files = {form: saved(model, form, tmp_path) for form in FORMATS}

    for path, layer in paths(model):
        expected = [np.asarray(weight) for weight in getattr(layer, "weights", [])]
        for form, file in files.items():
            stored = [tensor.array() for tensor in file.weights(path)]
            shapes = [tensor.shape for tensor in file.weights(path)]
            assert shapes == [array.shape for array in expected], (form, path)
            assert all(map(np.array_equal, stored, expected)), (form, path)


@pytest.mark.parametrize("form", ["keras", "h5"])
def test_operations_are_told_from_layers(tmp_path: Path, form: str) -> None:
    x = keras.Input((3,))
    model = keras.Model(x, layers.Add(name="layer")([keras.ops.add(x, x), x]))

    parsed = saved(model, form, tmp_path).model.layers

    assert [is_operation(layer) for layer in parsed] == [False, True, False]


def test_state_of_training_is_ignored(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2), layers.Dropout(0.5)])
    model.compile("adam", "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)

    for form in FORMATS:
        file = saved(model, form, tmp_path)
        weights = [tensor.shape for tensor in file.weights(())]
        assert weights == [(3, 2), (2,)], form


def test_bfloat16_weights_keep_their_values(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(2, dtype="bfloat16", name="dense")]
    )
    expected = np.asarray(model.layers[0].kernel).astype(np.float32)

    for form in ("keras", "h5", "json and .weights.h5"):
        kernel = saved(model, form, tmp_path).weights(("dense",))[0]
        assert kernel.dtype == "float32"
        assert np.array_equal(kernel.array(), expected), form


def test_quantised_layers_have_their_stored_variables(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="dense")])
    model.layers[0].quantize("int8")

    weights = saved(model, "keras", tmp_path).weights(("dense",))

    assert [(tensor.shape, tensor.dtype) for tensor in weights] == [
        ((4, 2), "int8"),
        ((2,), "float32"),
        ((2,), "float32"),
    ]


def evaluated(
    model: Model, config: ModelConfig, inputs: Sequence[object]
) -> list[Model]:
    """Run *config*'s calls with the layers of the Keras model."""
    operations = {layer.name: layer for layer in getattr(model, "operations", [])}
    operations.update({layer.name: layer for layer in model.layers})
    flat: list[Ref] = keras.tree.flatten(config.inputs)
    values = {
        (ref.layer, ref.node): [value] for ref, value in zip(flat, inputs, strict=True)
    }

    def value(argument: object) -> object:
        if isinstance(argument, Ref):
            return values[argument.layer, argument.node][argument.tensor]
        return argument

    pending = [
        (layer, number)
        for layer in config.layers
        if layer.class_name != "InputLayer"
        for number in range(len(layer.calls))
    ]
    while pending:
        layer, number = pending.pop(0)
        call = layer.calls[number]
        try:
            args, kwargs = keras.tree.map_structure(
                value, (list(call.args), call.kwargs)
            )
        except KeyError:
            pending.append((layer, number))
            continue
        operation = operations[layer.name]
        if isinstance(operation, keras.Model):
            parsed = parse_model(
                {"class_name": layer.class_name, "config": layer.config}
            )
            result: Any = evaluated(operation, parsed, keras.tree.flatten(args))
        else:
            result = operation(*args, **kwargs)
        values[layer.name, number] = keras.tree.flatten(result)
    return [value(ref) for ref in keras.tree.flatten(config.outputs)]


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_the_topology_computes_what_keras_computes(
    make: Callable[[], Model], tmp_path: Path
) -> None:
    model = randomised(make)
    generator = np.random.default_rng(3)
    inputs = [generator.normal(size=(2, *each.shape[1:])) for each in model.inputs]
    structure: Any = inputs[0] if len(inputs) == 1 else inputs
    if isinstance(model, keras.Sequential):
        structure = inputs[0]
    elif isinstance(model.input, dict):
        structure = dict(zip(sorted(model.input), inputs, strict=True))
    expected = keras.tree.flatten(model(structure))

    topology = saved(model, "keras", tmp_path).model
    outputs = evaluated(model, topology, inputs)
    assert all(map(np.array_equal, outputs, expected))
    assert calls(saved(model, "h5", tmp_path).model) == calls(topology)


def calls(config: ModelConfig) -> object:
    """Return who calls whom, without the layers' configurations."""
    layers_called = [(layer.name, layer.calls) for layer in config.layers]
    return layers_called, config.inputs, config.outputs
