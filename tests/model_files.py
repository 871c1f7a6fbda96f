"""A small real model, and files in which something about it is wrong."""

from __future__ import annotations

import json
import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
from keras import layers

logging.getLogger("absl").setLevel(logging.ERROR)

Json = dict[str, Any]
# Keras has no types.
KerasModel = Any


def small_model() -> KerasModel:
    """Return an image model with weights that are the same every time."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Conv2D(2, 3, name="conv1"),
            layers.Flatten(name="flat"),
            layers.Dense(3, name="dense1"),
        ],
        name="small",
    )
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape).astype(np.float32))
    return model


def saved(path: Path, model: KerasModel = None) -> Path:
    """Write *model*, by default the small one, to *path*."""
    (model or small_model()).save(path)
    return path


def edited(
    path: Path, edit: Callable[[list[Json]], None], model: KerasModel = None
) -> Path:
    """Write a ``.keras`` file whose layers in the configuration *edit* has changed."""
    saved(path, model)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    edit(config["config"]["layers"])
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_option(
    path: Path, layer: int, name: str, value: object, model: KerasModel = None
) -> Path:
    """Write a ``.keras`` file in which layer number *layer* has another option."""

    def edit(entries: list[Json]) -> None:
        entries[layer]["config"][name] = value

    return edited(path, edit, model)


def with_class(path: Path, layer: int, class_name: str) -> Path:
    """Write a ``.keras`` file in which layer number *layer* is of another class."""

    def edit(entries: list[Json]) -> None:
        entries[layer]["class_name"] = class_name

    return edited(path, edit)


def with_lambda(path: Path, *, name: str = "double") -> Path:
    """Write a file with a Lambda layer."""
    model = keras.Sequential(
        [keras.Input((4,), name="x"), layers.Lambda(lambda x: 2 * x, name=name)]
    )
    return saved(path, model)


def with_free_length(path: Path) -> Path:
    """Write a model of sequences of any length."""
    model = keras.Sequential(
        [keras.Input((None, 3), name="steps"), layers.Conv1D(2, 3, name="conv")]
    )
    return saved(path, model)


def with_two_inputs(path: Path) -> Path:
    """Write a model with two inputs and two outputs."""
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    total = layers.Add(name="total")([a, b])
    product = layers.Multiply(name="product")([a, b])
    return saved(path, keras.Model([a, b], [total, product]))


def cut(path: Path) -> Path:
    """Write the first half of a file."""
    whole = saved(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def without_weights(path: Path, layer: str) -> Path:
    """Write an HDF5 file that lacks the weights of *layer*."""
    with h5py.File(saved(path), "a") as file:
        del file[f"model_weights/{layer}"]
    return path


def with_shape(path: Path, layer: str, shape: tuple[int, ...]) -> Path:
    """Write an HDF5 file in which the first weight of *layer* has another shape."""
    with h5py.File(saved(path), "a") as file:
        group = file[f"model_weights/{layer}"]
        name = group.attrs["weight_names"][0]
        del group[name]
        group[name] = np.zeros(shape, np.float32)
    return path


def without_config(path: Path) -> Path:
    """Write a zip archive that is no model."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    return path


def with_bytes(path: Path, content: bytes) -> Path:
    """Write *content*."""
    path.write_bytes(content)
    return path
