"""Broken and hostile files: one clear line each, and nothing else happens."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files import (
    Json,
    called,
    dense,
    dense_arrays,
    functional,
    input_layer,
    layer,
    sequential,
    write_h5,
    write_model,
    write_weights,
)

from keramos.errors import CompileError
from keramos.source import parse_model, read

SAVE_WHOLE = "save the whole model with model.save('NAME.keras')"
FORMATS = "Keras writes .keras, .h5 and .json files"
CONFIG = sequential(dense("a", batch_input_shape=[None, 3]))


def refusal(path: Path, **options: Path) -> str:
    """Return the lines with which *path* is refused."""
    with pytest.raises(CompileError) as caught:
        read(path, **options)
    return str(caught.value)


def edited(path: Path, edit: Callable[[h5py.File], Any]) -> Path:
    """Return a small model at *path*, spoilt by *edit*."""
    write_model(path)
    with h5py.File(path, "a") as file:
        edit(file)
    return path


def replaced(name: str, link: object) -> Callable[[h5py.File], None]:
    """Return what puts *link* in the place of *name*."""

    def edit(file: h5py.File) -> None:
        del file[name]
        file[name] = link

    return edit


def attribute(group: str, name: str, value: object) -> Callable[[h5py.File], None]:
    """Return what gives an attribute another value."""

    def edit(file: h5py.File) -> None:
        file[group].attrs[name] = value

    return edit


# -- files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", f"the file is empty ({FORMATS})"),
        (
            b"hello",
            f"isn't a Keras model: neither HDF5 nor zip nor JSON ({FORMATS})",
        ),
        (
            pickle.dumps([1, 2]),
            f"is a Python pickle, which is never executed ({SAVE_WHOLE})",
        ),
        (b"{", "the file isn't valid JSON: Expecting property name enclosed in double"),
        (b"[1]", "the file doesn't hold a JSON object"),
        (b"{}", "isn't the JSON of a Keras model"),
        (b"[" * 100_000, "the file is nested too deeply"),
        (
            b'{"a":' * 300 + b"0" + b"}" * 300,
            "the file is nested too deeply",
        ),
        (b'{"a":' + b"9" * 5000 + b"}", "the file isn't valid JSON: Exceeds the limit"),
        (b'{"class_name": "\xff"}', "the file isn't valid JSON: 'utf-8' codec can't"),
        (
            json.dumps(CONFIG).encode(),
            "holds an architecture, but no weights (pass --weights-file FILE)",
        ),
    ],
)
def test_a_file_of_another_kind(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "m").write_bytes(content)

    assert refusal(tmp_path / "m").startswith(f"m: {problem}")


def test_a_missing_file(tmp_path: Path) -> None:
    assert refusal(tmp_path / "m.h5") == "m.h5: there is no such file or directory"


def test_a_name_no_file_can_have() -> None:
    assert "there is no such file" in refusal(Path("a" * 5000))
    assert "there is no such file" in refusal(Path("a\0b"))


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.h5")

    line = refusal(tmp_path / "m.h5")

    assert line == "m.h5: there is no such file or directory"


def test_a_directory_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()

    line = f"m: is a directory without a config.json ({SAVE_WHOLE})"
    assert refusal(tmp_path / "m") == line


def test_a_saved_model_of_tensorflow(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")

    assert "is a TensorFlow SavedModel" in refusal(tmp_path)


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        write_weights(file, {"a": dense_arrays("a")})

    assert refusal(tmp_path / "w.h5") == (
        "w.h5: holds weights, but no architecture"
        " (compile the architecture's JSON and pass this as --weights-file)"
    )


def test_an_hdf5_file_of_another_program(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["a"] = 1

    assert refusal(tmp_path / "w.h5") == "w.h5: is an HDF5 file, but not a Keras model"


def test_a_weights_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps(CONFIG))
    (tmp_path / "w.h5").write_text("hello")

    line = refusal(tmp_path / "m.json", weights_file=tmp_path / "w.h5")

    assert line == "w.h5: isn't a file of weights: neither HDF5 nor .weights.json"


@given(st.integers(0, 100))
def test_a_truncated_hdf5_file(
    tmp_path_factory: pytest.TempPathFactory, percent: int
) -> None:
    folder = tmp_path_factory.mktemp("truncated")
    data = write_model(folder / "m.h5").read_bytes()
    (folder / "m.h5").write_bytes(data[: (len(data) - 1) * percent // 100])

    assert refusal(folder / "m.h5").startswith("m.h5: ")


@given(st.data())
def test_a_damaged_hdf5_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    content = bytearray(write_model(folder / "m.h5").read_bytes())
    for _ in range(4):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    (folder / "m.h5").write_bytes(content)

    with suppress(CompileError):
        for tensor in read(folder / "m.h5").weights(("a",)):
            tensor.array()


# -- HDF5 ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda f: f.__delitem__("model_weights"), "holds no weights"),
        (
            lambda f: f.__delitem__("model_weights/a"),
            "holds no 'a' (looked for in the weights)",
        ),
        (
            replaced("model_weights/a/a/bias:0", h5py.SoftLink("/model_weights")),
            "'a/bias:0' is a link to another place, which isn't followed",
        ),
        (
            replaced("model_weights/a", h5py.ExternalLink("/etc/passwd", "/a")),
            "'a' is a link to another place, which isn't followed",
        ),
        (
            replaced("model_weights/a/a/bias:0", np.array([b"x", b"y"])),
            "'/model_weights/a/a/bias:0' holds bytes8 values, not numbers",
        ),
        (
            replaced("model_weights/a/a/bias:0", h5py.Empty("f4")),
            "'/model_weights/a/a/bias:0' is an array without a shape",
        ),
        (
            attribute("model_weights/a", "weight_names", [b"a//b"]),
            "holds no 'a//b' (looked for in the weights)",
        ),
        (
            attribute("model_weights/a", "weight_names", [1.5]),
            "its attribute 'weight_names' isn't text",
        ),
        (
            attribute("model_weights", "layer_names", b"a"),
            "its attribute 'layer_names' isn't a list",
        ),
        (
            lambda f: f["model_weights/a"].attrs.__delitem__("weight_names"),
            "layer 'a': its weights are incomplete",
        ),
        (
            attribute("model_weights/a", "weight_names", np.array([], float)),
            "layer 'a' (Dense): its weights (kernel, bias) aren't in the file",
        ),
        (
            attribute("/", "keras_version", b"4.0.0"),
            "its Keras version '4.0.0' isn't 1, 2 or 3",
        ),
        (
            attribute("/", "model_config", b"\xff"),
            "its attribute 'model_config' isn't text",
        ),
    ],
)
def test_a_spoilt_hdf5_file(
    tmp_path: Path, edit: Callable[[h5py.File], Any], problem: str
) -> None:
    line = refusal(edited(tmp_path / "m.h5", edit))

    assert line.startswith(f"m.h5: {problem}")
    assert "\n" not in line


def test_an_array_kept_in_another_file_is_not_read(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        group = file["model_weights/a/a"]
        del group["bias:0"]
        group.create_dataset(
            "bias:0", (2,), "f4", external=[(tmp_path / "secret", 0, 8)]
        )

    (tmp_path / "secret").write_bytes(b"12345678")

    assert refusal(edited(tmp_path / "m.h5", edit)) == (
        "m.h5: '/model_weights/a/a/bias:0' keeps its values in other files, which"
        " aren't read"
    )


def test_a_virtual_array_is_not_read(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        group = file["model_weights/a/a"]
        del group["bias:0"]
        layout = h5py.VirtualLayout((2,), "f4")
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "x", (2,))
        group.create_virtual_dataset("bias:0", layout)

    line = refusal(edited(tmp_path / "m.h5", edit))

    assert "keeps its values in other files" in line


def test_an_absurd_shape_is_refused(tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        group = file["model_weights/a/a"]
        del group["bias:0"]
        group.create_dataset("bias:0", (1 << 40,), "f4", chunks=(1024,))

    assert refusal(edited(tmp_path / "m.h5", edit)) == (
        "m.h5: '/model_weights/a/a/bias:0' claims 4398046511104 bytes, but the file"
        " stores 0 for it"
    )


def test_groups_that_contain_themselves(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps(CONFIG))
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("layers")
        group["again"] = group

    line = refusal(tmp_path / "m.json", weights_file=tmp_path / "w.h5")

    assert line == "w.h5: its groups are nested too deeply"


# -- archives -----------------------------------------------------------------------


def archive(path: Path, **members: bytes) -> Path:
    """Write a zip archive; ``__`` in names stands for a dot."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "."), content)
    return path


def hdf5_bytes() -> bytes:
    """Return a ``.weights.h5`` for CONFIG."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        group = file.create_group("layers/dense/vars")
        for number, (_, array) in enumerate(dense_arrays("a")):
            group[str(number)] = array
    return content.getvalue()


MEMBERS = {
    "config__json": json.dumps(CONFIG).encode(),
    "metadata__json": b'{"keras_version": "3.5.0"}',
    "model__weights__h5": hdf5_bytes(),
}


def test_a_compressed_archive_is_read(tmp_path: Path) -> None:
    file = read(archive(tmp_path / "m.keras", **MEMBERS))

    assert [tensor.shape for tensor in file.weights(("a",))] == [(3, 2), (2,)]
    assert np.array_equal(file.weights(("a",))[0].array(), dense_arrays("a")[0][1])


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        (
            {"config__json": None},
            f"is a zip archive without a config.json ({SAVE_WHOLE})",
        ),
        (
            {"model__weights__h5": None},
            f"holds no model.weights.h5 ({SAVE_WHOLE})",
        ),
        (
            {"model__weights__h5": b"hello"},
            "isn't a complete HDF5 file: ",
        ),
        ({"config__json": b"[]"}, "config.json doesn't hold a JSON object"),
        ({"metadata__json": b"{"}, "metadata.json isn't valid JSON: "),
        (
            {"config__json": b" " * (200 << 20)},
            "config.json claims 209715200 bytes, of which the archive stores 2",
        ),
        (
            {"../../evil": b"x"},
            "has a member outside the archive: '../../evil'",
        ),
    ],
)
def test_a_spoilt_archive(
    tmp_path: Path, members: dict[str, bytes | None], problem: str
) -> None:
    contents = {**MEMBERS, **members}
    kept = {name: value for name, value in contents.items() if value is not None}

    assert refusal(archive(tmp_path / "m.keras", **kept)).startswith(
        f"m.keras: {problem}"
    )


@given(st.integers(1, 99))
def test_a_truncated_archive(
    tmp_path_factory: pytest.TempPathFactory, percent: int
) -> None:
    path = archive(tmp_path_factory.mktemp("truncated") / "m.keras", **MEMBERS)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * percent // 100])

    assert refusal(path).startswith("m.keras: isn't a complete zip archive: ")


def test_a_damaged_member_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in MEMBERS.items():
            file.writestr(name.replace("__", "."), content)
    data = bytearray(path.read_bytes())
    data[data.index(b"\x89HDF") + 1000] ^= 1
    path.write_bytes(data)

    assert refusal(path).startswith("m.keras: model.weights.h5 is damaged: Bad CRC-32")


class Touch:
    """What creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        """Create *path*."""
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        """Return the call that unpickling makes."""
        return Path.touch, (self.path,)


def numpy_weights(content: object) -> bytes:
    """Return a ``.npz`` whose layer holds *content*."""
    member, data = io.BytesIO(), io.BytesIO()
    np.save(member, np.array(content, dtype=object))
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("layers/dense.npy", member.getvalue())
    return data.getvalue()


def with_numpy_weights(path: Path, content: bytes) -> Path:
    """Write an archive with *content* for weights."""
    members = {name: MEMBERS[name] for name in ("config__json", "metadata__json")}
    return archive(path, **members, model__weights__npz=content)


def test_pickled_weights_are_read_without_unpickling(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    (_, kernel), (_, bias) = dense_arrays("a")
    content = numpy_weights({"0": kernel, "1": bias, "evil": Touch(touched)})

    line = refusal(with_numpy_weights(tmp_path / "m.keras", content))

    assert line.startswith(
        "m.keras: its NumPy weights 'layers/dense.npy' aren't plain arrays"
    )
    assert not touched.exists()


@pytest.mark.parametrize("order", ["C", "F"])
def test_pickled_arrays_are_read(tmp_path: Path, order: Literal["C", "F"]) -> None:
    (_, kernel), (_, bias) = dense_arrays("a")
    content = numpy_weights({"0": np.array(kernel, order=order), "1": bias})

    file = read(with_numpy_weights(tmp_path / "m.keras", content))

    assert np.array_equal(file.weights(("a",))[0].array(), kernel)


@given(st.data())
def test_damaged_pickles_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    plain = pickle.dumps(np.array({"0": np.ones(3)}, dtype=object))
    content = bytearray(plain)
    for _ in range(3):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    weights = io.BytesIO()
    with zipfile.ZipFile(weights, "w") as file:
        file.writestr("layers/dense.npy", b"\x93NUMPY\n" + content)
    path = tmp_path_factory.mktemp("damaged") / "m.keras"

    with suppress(CompileError):
        for tensor in read(with_numpy_weights(path, weights.getvalue())).weights(
            ("a",)
        ):
            tensor.array()


@pytest.mark.parametrize("shard", ["../w.h5", "/w.h5", "", 3, "missing.h5"])
def test_shards_lie_beside_their_list(tmp_path: Path, shard: object) -> None:
    (tmp_path / "m.json").write_text(json.dumps(CONFIG))
    (tmp_path / "w.json").write_text(json.dumps({"weight_map": {"/vars": shard}}))

    line = refusal(tmp_path / "m.json", weights_file=tmp_path / "w.json")

    assert line.startswith("w.json: its shard ")


# -- topologies ---------------------------------------------------------------------


def chain(*names: str) -> list[Json]:
    """Return layers each of which reads the one before."""
    return [
        called(dense(name), [[before, 0, 0, {}]]) for before, name in pairwise(names)
    ]


X = input_layer("x", 3)
IN, OUT = [["x", 0, 0]], [["b", 0, 0]]


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({}, "the configuration names no model class"),
        (
            {"class_name": "Mine", "config": {"units": 3}},
            (
                "'Mine' is a model defined by Python code, which isn't in the file"
                " (save it as a Sequential or functional model)"
            ),
        ),
        (sequential(), "the model has no layers"),
        (
            {"class_name": "Functional", "config": {"layers": [X]}},
            "the configuration names no inputs and outputs",
        ),
        (sequential(dense("a"), dense("a")), "2 layers have the name 'a'"),
        (sequential({"class_name": "Dense", "config": {"name": 3}}), NotImplemented),
        (sequential({"class_name": 3, "config": {}}), NotImplemented),
        (sequential({"class_name": "Dense"}), NotImplemented),
        (
            functional([X, *chain("x", "a"), *chain("c", "b")], IN, OUT),
            "layer 'b' (Dense): refers to the layer 'c', which isn't in the model",
        ),
        (
            functional([X, *chain("x", "a")], IN, OUT),
            (
                "the model's inputs or outputs refer to the layer 'b', which isn't in"
                " the model"
            ),
        ),
        (
            functional([X, called(dense("b"), [["x", 3, 0, {}]])], IN, OUT),
            (
                "layer 'b' (Dense): refers to call 3, output 0 of the layer 'x', which"
                " is called 1 times"
            ),
        ),
        (
            functional([X, *chain("b", "a", "b")], IN, OUT),
            "layer 'a' (Dense): its output is fed back to its input",
        ),
        (
            functional([X, *chain("x", "b")], [["b", 0, 0]], OUT),
            "its input 'b' is a Dense, not an InputLayer",
        ),
        (functional([X], [], IN), "the model has no inputs"),
        (
            functional([X, called(dense("b"), 3)], IN, OUT),  # type: ignore[arg-type]
            "layer 'b' (Dense): a call is neither a list nor an object",
        ),
    ],
)
def test_topologies_that_make_no_sense(config: Json, problem: str) -> None:
    with pytest.raises(CompileError) as caught:
        parse_model(config, where="m.h5")

    if problem is not NotImplemented:
        assert str(caught.value) == f"m.h5: {problem}"
    assert "\n" not in str(caught.value)


def test_an_input_without_a_shape(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", sequential(dense("a")), {"a": dense_arrays("a")})

    assert refusal(path) == (
        "m.h5: layer 'a_input' (InputLayer): the file doesn't say what shape the"
        " model's input has (give its first layer an input_shape and save it again)"
    )


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    inner = functional([X, *chain("c", "b")], IN, OUT)
    wrapper = layer("TimeDistributed", name="t", layer=inner)
    nested = {**inner, "config": {**inner["config"], "name": "nested"}}
    config = sequential(wrapper, nested)
    path = write_h5(tmp_path / "m.h5", config, {})

    assert len(refusal(path).splitlines()) == 2


def test_bytecode_stays_data(tmp_path: Path) -> None:
    function = {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}}
    config = sequential(
        layer("Lambda", name="l", function=function, batch_input_shape=[None, 3])
    )

    file = read(write_h5(tmp_path / "m.h5", config, {}))

    assert file.model.layers[1].config["function"] == function


KEYS = (
    *("class_name", "config", "name", "layers", "layer", "cells", "inbound_nodes"),
    *("args", "kwargs", "keras_history", "input_layers", "output_layers"),
)
JSON_VALUES = st.recursive(
    st.none() | st.integers(-3, 3) | st.sampled_from(["x", "b", "Dense", "LSTM"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


@given(JSON_VALUES, JSON_VALUES, st.sampled_from(["Sequential", "Functional", "Mine"]))
def test_any_json_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    value: object,
    outputs: object,
    class_name: str,
) -> None:
    folder = tmp_path_factory.mktemp("json")
    config: Json = {"layers": [X, value], "name": "m"}
    if class_name != "Sequential":
        config |= {"input_layers": IN, "output_layers": outputs}
    model = {"class_name": class_name, "config": config}

    with suppress(CompileError):
        read(write_h5(folder / "m.h5", model, {}))
