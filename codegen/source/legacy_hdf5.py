"""The HDF5 files of Keras 1 to 3: configuration in an attribute, arrays per layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py

from keramos.errors import CompileError, Problem, quoted
from keramos.source.file import Tensor
from keramos.source.hdf5 import Hdf5Source
from keramos.source.json_text import parse_object


@dataclass(frozen=True, slots=True)
class LegacyWeights:
    """The arrays of each top-level layer, in the file's order.

    *backend* is the one that wrote them, empty where the file doesn't say;
    *keras_version* as well.
    """

    groups: Mapping[str, tuple[Tensor, ...]]
    keras_version: str
    backend: str


def legacy_config(source: Hdf5Source) -> dict[str, Any] | None:
    """Return the model's configuration, or None in a file of weights alone."""
    with source.root() as root:
        text = source.text(root, "model_config")
    if text is None:
        return None
    return parse_object(text, where=source.where, what="its model_config")


def is_legacy(source: Hdf5Source) -> bool:
    """Return whether the file is of this format, with or without a configuration."""
    with source.root() as root:
        return any(
            name in root.attrs
            for name in ("model_config", "layer_names", "layer_names0")
        )


def legacy_weights(source: Hdf5Source) -> LegacyWeights:
    """Return the arrays of the file, none of them read yet."""
    with source.root() as root:
        group = source.group(root, "model_weights") if "model_weights" in root else root
        names = source.texts(group, "layer_names")
        if names is None:
            raise CompileError.at(
                source.where,
                "holds no weights",
                "save the model with model.save(), not its configuration alone",
            )
        groups: dict[str, tuple[Tensor, ...]] = {}
        problems: list[Problem] = []
        for name in names:
            try:
                groups[name] = _layer_tensors(source, source.group(group, name), name)
            except CompileError as error:
                problems += error.problems
        if problems:
            raise CompileError(problems)
        return LegacyWeights(
            groups=groups,
            keras_version=_first_text(source, (root, group), "keras_version"),
            backend=_first_text(source, (root, group), "backend"),
        )


def keras_version(source: Hdf5Source) -> str:
    """Return the version that wrote the file, or an empty string."""
    with source.root() as root:
        return source.text(root, "keras_version") or ""


def _first_text(source: Hdf5Source, groups: tuple[h5py.Group, ...], name: str) -> str:
    """Return an attribute of the first group that has it, or an empty string."""
    texts = (source.text(group, name) for group in groups)
    return next((text for text in texts if text), "")


def _layer_tensors(
    source: Hdf5Source, group: h5py.Group, layer: str
) -> tuple[Tensor, ...]:
    """Return the arrays of one layer, in the order of its ``weight_names``."""
    names = source.texts(group, "weight_names")
    if names is None:
        raise CompileError.at(
            f"{source.where}: layer {quoted(layer)}", "its weights are incomplete"
        )
    return tuple(
        source.tensor(group, name, name=name)
        for name in names
        if not name.rpartition("/")[2].startswith("seed_generator_state")
    )
