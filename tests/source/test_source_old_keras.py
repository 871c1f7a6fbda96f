"""Files of Keras 1 and 2, which no Keras of today writes."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from source_files import (
    Json,
    arrays,
    called,
    dense,
    dense_arrays,
    functional,
    input_layer,
    layer,
    sequential,
    write_h5,
    write_weights,
)

from keramos.errors import CompileError
from keramos.source import KerasFile, LayerConfig, Ref, parse_model, read


def values(file: KerasFile, *path: str) -> list[NDArray[Any]]:
    """Return a layer's weights."""
    return [tensor.array() for tensor in file.weights(path)]


def found(file: KerasFile, name: str) -> LayerConfig:
    """Return the layer *name*."""
    return next(each for each in file.model.layers if each.name == name)


def same(left: list[NDArray[Any]], right: list[NDArray[Any]]) -> bool:
    """Return whether two lists hold the same arrays."""
    return len(left) == len(right) and all(map(np.array_equal, left, right))


# -- attributes ---------------------------------------------------------------------


def test_attributes_split_into_chunks_are_joined(tmp_path: Path) -> None:
    path = write_h5(
        tmp_path / "m.h5",
        sequential(dense("a", batch_input_shape=[None, 3]), dense("b")),
        {"a": dense_arrays("a"), "b": dense_arrays("b", 2)},
    )
    with h5py.File(path, "a") as file:
        group = file["model_weights"]
        names = group.attrs["layer_names"]
        del group.attrs["layer_names"]
        group.attrs["layer_names0"] = names[:1]
        group.attrs["layer_names1"] = names[1:]

    file = read(path)

    assert [len(file.weights((name,))) for name in "ab"] == [2, 2]


@pytest.mark.parametrize("kind", [h5py.string_dtype(), h5py.string_dtype("ascii")])
def test_attributes_may_be_of_variable_length(tmp_path: Path, kind: object) -> None:
    path = write_h5(
        tmp_path / "m.h5",
        sequential(dense("a", batch_input_shape=[None, 3])),
        {"a": dense_arrays("a")},
    )
    with h5py.File(path, "a") as file:
        group = file["model_weights"]
        del group.attrs["layer_names"]
        group.attrs.create("layer_names", ["a"], dtype=kind)

    assert len(read(path).weights(("a",))) == 2


# -- topologies ---------------------------------------------------------------------


def test_a_list_is_a_sequential(tmp_path: Path) -> None:
    config = {
        "class_name": "Sequential",
        "config": [dense("a", batch_input_shape=[None, 3])],
    }
    file = read(write_h5(tmp_path / "m.h5", config, {"a": dense_arrays("a")}))

    assert file.model.inputs == Ref("a_input", 0, 0)
    assert found(file, "a_input").config["batch_shape"] == [None, 3]


def test_a_nested_sequential_written_as_a_list_gets_a_name(tmp_path: Path) -> None:
    inner = {
        "class_name": "Sequential",
        "config": [dense("a", batch_input_shape=[None, 3])],
    }
    config = {"class_name": "Sequential", "config": [inner, dense("b")]}
    weights = {"sequential_7": dense_arrays("a"), "b": dense_arrays("b", 2)}

    file = read(write_h5(tmp_path / "m.h5", config, weights))

    assert same(
        values(file, "sequential_1", "a"), [v for _, v in weights["sequential_7"]]
    )


def test_nested_models_are_called_from_node_0(tmp_path: Path) -> None:
    inner = functional(
        [input_layer("i", 3), called(dense("a", 3), [["i", 0, 0, {}]])],
        [["i", 0, 0]],
        [["a", 0, 0]],
    )
    inner["config"]["name"] = "inner"
    config = functional(
        [
            input_layer("x", 3),
            called(inner, [["x", 0, 0, {}]], [["inner", 1, 0, {}]]),
            called(
                layer("Add", name="add"), [["inner", 1, 0, {}], ["inner", 2, 0, {}]]
            ),
        ],
        [["x", 0, 0]],
        [["add", 0, 0], ["inner", 2, 0]],
    )
    weights = {"inner": dense_arrays("a", 3, 3)}

    file = read(write_h5(tmp_path / "m.h5", config, weights))

    calls = [*found(file, "inner").calls, *found(file, "add").calls]
    assert [call.args for call in calls] == [
        (Ref("x", 0, 0),),
        (Ref("inner", 0, 0),),
        ([Ref("inner", 0, 0), Ref("inner", 1, 0)],),
    ]
    assert file.model.outputs == [Ref("add", 0, 0), Ref("inner", 1, 0)]


def test_a_sequential_without_an_input_is_called_from_node_0() -> None:
    inner = {**sequential(dense("a"), name="s")}
    config = functional(
        [input_layer("x", 3), called(inner, [["x", 0, 0, {}]])],
        [["x", 0, 0]],
        [["s", 0, 0]],
    )

    assert parse_model(config).outputs == Ref("s", 0, 0)


def test_calls_of_tensorflow_operations_keep_their_arguments() -> None:
    config = functional(
        [
            input_layer("x", 3),
            called(
                layer("TFOpLambda", name="add", function="math.add"),
                ["x", 0, 0, {"y": ["x", 0, 0], "name": None}],
            ),
            called(
                layer("TFOpLambda", name="sub", function="math.subtract"),
                ["_CONSTANT_VALUE", -1, 1.0, {"y": ["add", 0, 0]}],
            ),
            called(
                layer("SlicingOpLambda", name="cut"),
                ["sub", 0, 0, {"slice_spec": [{"start": 1, "stop": None, "step": 2}]}],
            ),
        ],
        [["x", 0, 0]],
        [["cut", 0, 0]],
    )

    layers = {each.name: each.calls for each in parse_model(config).layers}

    assert layers["add"][0].args == (Ref("x", 0, 0),)
    assert layers["add"][0].kwargs == {"y": Ref("x", 0, 0), "name": None}
    assert layers["sub"][0].args == (1.0,)
    assert layers["sub"][0].kwargs == {"y": Ref("add", 0, 0)}
    assert layers["cut"][0].kwargs == {"slice_spec": [slice(1, None, 2)]}


def test_inputs_and_outputs_may_be_structures() -> None:
    config = functional(
        [input_layer("x", 3), input_layer("y", 3)],
        {"left": ["x", 0, 0], "right": [["y", 0, 0]]},
        ["y", 0, 0],
    )

    model = parse_model(config)

    assert model.inputs == {"left": Ref("x", 0, 0), "right": Ref("y", 0, 0)}
    assert model.outputs == Ref("y", 0, 0)


# -- whose weights ------------------------------------------------------------------


def batch_norm_arrays(name: str, size: int) -> Any:  # noqa: ANN401 -- see arrays
    """Return a BatchNormalization's weights."""
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return arrays(*((f"{name}/{each}:0", (size,)) for each in names))


def test_names_that_tensorflow_made_unique_dont_mislead(tmp_path: Path) -> None:
    inner = sequential(
        dense("dense", batch_input_shape=[None, 3]),
        layer("BatchNormalization", name="norm"),
        dense("dense_1"),
        name="inner",
    )
    # What was "dense" has become "dense_1", and "dense_1" "dense_1_1".
    first, second = dense_arrays("dense_1"), dense_arrays("dense_1_1", 2)
    norm = batch_norm_arrays("norm_1", 2)
    weights = {"inner": [*first, *norm[:2], *second, *norm[2:]]}

    file = read(write_h5(tmp_path / "m.h5", sequential(inner), weights))

    assert same(values(file, "inner", "dense"), [value for _, value in first])
    assert same(values(file, "inner", "dense_1"), [value for _, value in second])
    assert same(values(file, "inner", "norm"), [value for _, value in norm])


def test_layers_are_matched_in_order_where_names_differ(tmp_path: Path) -> None:
    architecture = sequential(
        dense("dense_5", batch_input_shape=[None, 3]),
        layer("Dropout", name="dropout_5", rate=0.5),
        dense("dense_6"),
    )
    (tmp_path / "m.json").write_text(
        json.dumps({**architecture, "keras_version": "2.2.4"})
    )
    weights = {
        "dense_6": dense_arrays("dense_6"),
        "dropout_6": [],
        "dense_7": dense_arrays("dense_7", 2),
    }
    with h5py.File(tmp_path / "w.h5", "w") as file:
        write_weights(file, weights)

    result = read(tmp_path / "m.json", weights_file=tmp_path / "w.h5")

    assert result.keras_version == "2.2.4"
    assert same(values(result, "dense_5"), [v for _, v in weights["dense_6"]])
    assert same(values(result, "dense_6"), [v for _, v in weights["dense_7"]])


def test_a_bidirectional_layer_has_two_halves(tmp_path: Path) -> None:
    inner = layer("GRU", name="gru_1", units=2, use_bias=True)
    names = ("kernel:0", "recurrent_kernel:0", "bias:0")
    shapes: tuple[tuple[int, ...], ...] = ((3, 6), (2, 6), (6,))
    weights = {
        "b": arrays(
            *(
                (f"b/{direction}_gru_1/{name}", shape)
                for direction in ("forward", "backward")
                for name, shape in zip(names, shapes, strict=True)
            )
        )
    }
    config = sequential(
        layer("Bidirectional", name="b", layer=inner, batch_input_shape=[None, 5, 3])
    )

    file = read(write_h5(tmp_path / "m.h5", config, weights))

    assert same(values(file, "b", "backward_layer"), [v for _, v in weights["b"]][3:])


# -- Theano and cuDNN ---------------------------------------------------------------


def test_kernels_of_theano_are_turned_around(tmp_path: Path) -> None:
    config = sequential(
        layer("Conv2D", name="c", filters=2, kernel_size=[3, 2])
        | {"config": {"name": "c", "batch_input_shape": [None, 8, 8, 1]}}
    )
    weights = {"c": arrays(("c/kernel", (3, 2, 1, 2)), ("c/bias", (2,)))}

    file = read(write_h5(tmp_path / "m.h5", config, weights, backend="theano"))

    kernel = weights["c"][0][1]
    assert same(values(file, "c"), [kernel[::-1, ::-1], weights["c"][1][1]])


def to_cudnn(kernels: NDArray[Any], gates: int) -> NDArray[Any]:
    """Return input kernels in cuDNN's layout: the inverse of what reading does."""
    return np.hstack([part.T.reshape(part.shape) for part in np.hsplit(kernels, gates)])


@pytest.mark.parametrize(("name", "gates"), [("LSTM", 4), ("GRU", 3)])
def test_cudnn_layers_become_plain_ones(tmp_path: Path, name: str, gates: int) -> None:
    units = 2
    (_, kernel), (_, recurrent), (_, biases) = arrays(
        ("k", (3, gates * units)), ("r", (units, gates * units)), ("b", (2, gates * 2))
    )
    weights = {
        "r": [
            ("r/kernel:0", to_cudnn(kernel, gates)),
            (
                "r/recurrent_kernel:0",
                np.hstack([part.T for part in np.hsplit(recurrent, gates)]),
            ),
            ("r/bias:0", biases.ravel()),
        ]
    }
    config = sequential(
        layer(f"CuDNN{name}", name="r", units=units, batch_input_shape=[None, 5, 3])
    )

    file = read(write_h5(tmp_path / "m.h5", config, weights))

    bias = biases.sum(axis=0) if name == "LSTM" else biases
    assert same(values(file, "r"), [kernel, recurrent, bias])
    assert found(file, "r").class_name == name
    assert found(file, "r").config["recurrent_activation"] == "sigmoid"


# -- Keras 1 ------------------------------------------------------------------------


def test_keras_1_speaks_of_rows_and_borders(tmp_path: Path) -> None:
    config = {
        "class_name": "Sequential",
        "config": [
            layer(
                "Convolution2D",
                name="c",
                nb_filter=2,
                nb_row=3,
                nb_col=4,
                border_mode="same",
                subsample=[1, 2],
                dim_ordering="th",
                bias=True,
                init="glorot_uniform",
                batch_input_shape=[None, 1, 8, 8],
                input_dtype="float32",
            ),
            layer("Dropout", name="d", p=0.25),
            layer("Flatten", name="f"),
            layer("Dense", name="e", output_dim=2, bias=False, activation="linear"),
        ],
    }
    weights = {
        "c": arrays(("c_W:0", (2, 1, 3, 4)), ("c_b:0", (2,))),
        "d": [],
        "f": [],
        "e": arrays(("e_W:0", (64, 2))),
    }

    path = write_h5(tmp_path / "m.h5", config, weights, version="1.2.2", backend=None)
    file = read(path)

    convolution = found(file, "c")
    assert convolution.class_name == "Conv2D"
    assert convolution.config == {
        "name": "c",
        "filters": 2,
        "kernel_size": [3, 4],
        "padding": "same",
        "strides": [1, 2],
        "data_format": "channels_first",
        "use_bias": True,
        "kernel_initializer": "glorot_uniform",
        "batch_input_shape": [None, 1, 8, 8],
        "dtype": "float32",
    }
    assert found(file, "d").config["rate"] == 0.25
    assert found(file, "e").config["units"] == 2
    assert file.keras_version == "1.2.2"
    assert file.generation == 1
    kernel = weights["c"][0][1].transpose(2, 3, 1, 0)
    assert same(values(file, "c"), [kernel, weights["c"][1][1]])


def test_a_file_without_a_version_is_told_by_its_words(tmp_path: Path) -> None:
    config = sequential(
        layer(
            "Convolution1D",
            name="c",
            nb_filter=2,
            filter_length=3,
            border_mode="valid",
            batch_input_shape=[None, 8, 1],
        )
    )
    weights = {"c": arrays(("c_W", (3, 1, 1, 2)), ("c_b", (2,)))}

    path = write_h5(tmp_path / "m.h5", config, weights, version=None, backend=None)
    file = read(path)

    assert file.keras_version == "1.0.0"
    # No ":0" after the names: Theano wrote them.
    assert same(values(file, "c"), [weights["c"][0][1][::-1, 0], weights["c"][1][1]])


@pytest.mark.parametrize(
    ("name", "gates", "order"), [("LSTM", "icfo", "ifco"), ("GRU", "zrh", "zrh")]
)
def test_gates_of_keras_1_are_joined(
    tmp_path: Path, name: str, gates: str, order: str
) -> None:
    shapes: dict[str, tuple[int, ...]] = {"W": (3, 2), "U": (2, 2), "b": (2,)}
    members = arrays(
        *((f"r_{v}_{g}:0", shapes[v]) for g in gates for v in ("W", "U", "b"))
    )
    config = sequential(
        layer(
            name,
            name="r",
            output_dim=2,
            inner_activation="hard_sigmoid",
            consume_less="cpu",
            batch_input_shape=[None, 5, 3],
        )
    )

    path = write_h5(tmp_path / "m.h5", config, {"r": members}, version="1.1.0")
    file = read(path)

    by_name = dict(members)
    expected = [
        np.concatenate([by_name[f"r_{v}_{g}:0"] for g in order], axis=-1) for v in "WUb"
    ]
    assert same(values(file, "r"), expected)
    assert found(file, "r").config["recurrent_activation"] == "hard_sigmoid"


def test_bidirectional_layers_of_keras_1(tmp_path: Path) -> None:
    shapes: dict[str, tuple[int, ...]] = {"W": (3, 2), "U": (2, 2), "b": (2,)}
    members = arrays(
        *(
            (f"{direction}_r_{v}_{g}:0", shapes[v])
            for direction in ("forward", "backward")
            for g in "icfo"
            for v in "WUb"
        )
    )
    inner = layer("LSTM", name="r", output_dim=2, consume_less="cpu")
    config = sequential(
        layer("Bidirectional", name="b", layer=inner, batch_input_shape=[None, 5, 3])
    )

    path = write_h5(tmp_path / "m.h5", config, {"b": members}, version="1.1.0")
    file = read(path)

    by_name = dict(members)
    kernel = [by_name[f"backward_r_W_{gate}:0"] for gate in "ifco"]
    assert np.array_equal(
        values(file, "b", "backward_layer")[0], np.concatenate(kernel, axis=-1)
    )


def test_a_sequential_of_keras_1_may_begin_by_merging(tmp_path: Path) -> None:
    branches = [
        {
            "class_name": "Sequential",
            "config": [
                layer("Dense", name=name, output_dim=2, batch_input_shape=[None, 3])
            ],
        }
        for name in ("left", "right")
    ]
    merge = layer("Merge", name="m", mode="concat", concat_axis=-1, layers=branches)
    end = layer("Dense", name="end", output_dim=1)
    config = {"class_name": "Sequential", "config": [merge, end]}
    weights = {
        name: arrays((f"{name}_W:0", (rows, columns)), (f"{name}_b:0", (columns,)))
        for name, rows, columns in (("left", 3, 2), ("right", 3, 2), ("end", 4, 1))
    }

    path = write_h5(tmp_path / "m.h5", config, weights, version="1.2.2")
    file = read(path)

    assert file.model.inputs == [Ref("left_input", 0, 0), Ref("right_input", 0, 0)]
    assert found(file, "m").class_name == "Concatenate"
    assert found(file, "m").calls[0].args == ([Ref("left", 0, 0), Ref("right", 0, 0)],)
    assert same(values(file, "right"), [value for _, value in weights["right"]])


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (layer("Merge", name="m", mode="cos", layers=[]), "its branches make no sense"),
        (
            layer("Merge", name="m", mode="sum", layers=[3]),
            "its branches make no sense",
        ),
    ],
)
def test_a_merge_without_branches_is_refused(
    tmp_path: Path, config: Json, problem: str
) -> None:
    model = {"class_name": "Sequential", "config": [config]}
    path = write_h5(tmp_path / "m.h5", model, {}, version="1.2.2")

    with pytest.raises(CompileError) as caught:
        read(path)

    assert (
        str(caught.value).splitlines()[0] == f"m.h5: layer 'Merge' (Merge): {problem}"
    )


def test_modes_that_keras_gave_up_are_refused(tmp_path: Path) -> None:
    config = functional(
        [
            input_layer("x", 3),
            called(layer("Merge", name="m", mode="cos"), [["x", 0, 0], ["x", 0, 0]]),
            called(layer("BatchNormalization", name="b", mode=2), [["m", 0, 0]]),
        ],
        [["x", 0, 0]],
        [["b", 0, 0]],
    )
    path = write_h5(tmp_path / "m.h5", config, {}, version="1.2.2")

    with pytest.raises(CompileError) as caught:
        read(path)

    assert str(caught.value).splitlines() == [
        "m.h5: layer 'm' (Merge): mode 'cos' isn't supported",
        "m.h5: layer 'b' (BatchNormalization): mode 2 isn't supported",
    ]


def test_json_may_be_encoded_twice(tmp_path: Path) -> None:
    text = json.dumps(sequential(dense("a", batch_input_shape=[None, 3])))
    (tmp_path / "m.json").write_text(json.dumps(text))
    with h5py.File(tmp_path / "w.h5", "w") as file:
        write_weights(file, {"a": dense_arrays("a")})

    result = read(tmp_path / "m.json", weights_file=tmp_path / "w.h5")

    assert len(result.weights(("a",))) == 2


# -- archives of Keras 2.13 to 2.15 -------------------------------------------------


@pytest.mark.parametrize("layers", ["layers", "_layer_checkpoint_dependencies"])
def test_archives_of_keras_2_are_read(tmp_path: Path, layers: str) -> None:
    names = ["query_dense", "key_dense", "value_dense", "output_dense"]
    config = functional(
        [
            input_layer("x", 5, 3),
            called(
                layer("MultiHeadAttention", name="m", num_heads=1, key_dim=2),
                [["x", 0, 0, {"value": ["x", 0, 0]}]],
            ),
            called(dense("a"), [["m", 0, 0, {}]]),
            called(dense("b"), [["a", 0, 0, {}]]),
        ],
        [["x", 0, 0]],
        [["b", 0, 0]],
    )
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for number, name in enumerate(names):
            group = file.create_group(f"{layers}/multi_head_attention/_{name}/vars")
            group["0"], group["1"] = np.full((3, 1, 2), number), np.full((1, 2), number)
        for number, name in enumerate(("dense", "dense_1")):
            group = file.create_group(f"{layers}/{name}/vars")
            group["0"], group["1"] = np.full((3, 2), number), np.full((2,), number)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.13.1"}))
        archive.writestr("model.weights.h5", content.getvalue())

    result = read(tmp_path / "m.keras")

    owners = [values(result, "m", name) for name in names]
    assert [[int(v.flat[0]) for v in each] for each in owners] == [
        [0, 0],
        [1, 1],
        [2, 2],
        [3, 3],
    ]
    assert [int(v.flat[0]) for v in values(result, "m")] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [int(values(result, name)[0].flat[0]) for name in "ab"] == [0, 1]
    assert found(result, "m").calls[0].kwargs == {"value": Ref("x", 0, 0)}
