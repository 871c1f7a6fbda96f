"""``read``: from a file of any format to a KerasFile."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keramos.errors import CompileError, Problem, quoted
from keramos.source import archive, legacy_hdf5, tensorflow_js
from keramos.source.file import KerasFile, Tensor
from keramos.source.hdf5 import Hdf5Source, is_hdf5
from keramos.source.json_text import LONGEST_TEXT, parse_object
from keramos.source.keras_js import BEGINNING, keras_js_model
from keramos.source.layer_tree import Owner, model_tree
from keramos.source.model_config import parse_model, without_losses
from keramos.source.numpy_archive import NumpyArchive
from keramos.source.old_weights import keras1_variables, modernised
from keramos.source.topology import LayerConfig, ModelConfig
from keramos.source.translation import speaks_keras1, translated
from keramos.source.variables import (
    LayerWeights,
    Variables,
    archive_variables,
    distributed,
    keras2_variables,
    legacy_variables,
    missing,
)

CHUNK = 1 << 20
ZIP = b"PK\x03\x04"
EMPTY_ZIP = b"PK\x05\x06"
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
WHITESPACE = b"\xef\xbb\xbf \t\r\n"
SAVE_WHOLE = "save the whole model with model.save('NAME.keras')"


@dataclass(frozen=True, slots=True)
class _Weights:
    """Stored weights: *variables* tells whose they are, given owners and version.

    *keras_version* is empty where the file doesn't say who wrote it. *sources* are the
    HDF5 files among *files*.
    """

    variables: Callable[[Owner, str], Variables]
    files: tuple[Path, ...]
    keras_version: str = ""
    sources: tuple[Hdf5Source, ...] = ()

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Leave the files open until the end of the block."""
        with ExitStack() as stack:
            for each in self.sources:
                stack.enter_context(each.kept_open())
            yield


@dataclass(frozen=True, slots=True)
class _Architecture:
    """A model's configuration, as its file has it."""

    form: str
    config: Mapping[str, Any]
    files: tuple[Path, ...]
    keras_version: str = ""


def read(path: str | Path, *, weights_file: str | Path | None = None) -> KerasFile:
    """Return what the model file *path* holds.

    *weights_file* has the weights of a *path* that is an architecture alone. Raises
    CompileError with every problem of the file and its topology.
    """
    path = Path(path)
    other = None if weights_file is None else Path(weights_file)
    for each in (path, other):
        if each is not None:
            _check_exists(each)
    beginning = b"" if path.is_dir() else _beginning(path)
    if path.is_dir() or beginning.startswith((ZIP, EMPTY_ZIP)):
        architecture, weights = _archive(path, other)
    elif is_hdf5(path):
        architecture, weights = _hdf5(path, other)
    elif beginning.lstrip(WHITESPACE)[:1] in {b"{", b'"', b"["}:
        architecture, weights = _json(path, other)
    elif beginning.startswith(BEGINNING):
        architecture, weights = _keras_js(path, other)
    else:
        raise CompileError.at(path.name, *_unknown(beginning))
    return _keras_file(path, architecture, weights)


def _check_exists(path: Path) -> None:
    """Refuse a path at which no file or directory lies (a pipe could block)."""
    try:
        exists = path.is_file() or path.is_dir()
    except (OSError, ValueError):  # a name too long, or with a null byte
        exists = False
    if not exists:
        raise CompileError.at(
            path.name or quoted(str(path)), "there is no such file or directory"
        )


def _beginning(path: Path) -> bytes:
    """Return the file's first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise CompileError.at(path.name, f"can't be read: {error.strerror}") from None


def _unknown(beginning: bytes) -> tuple[str, str]:
    """Return what is wrong with a file of no known format, and what would work."""
    formats = "Keras writes .keras, .h5 and .json files"
    if not beginning:
        return "the file is empty", formats
    if beginning.startswith(PICKLES):
        return "is a Python pickle, which is never executed", SAVE_WHOLE
    return "isn't a Keras model: neither HDF5 nor zip nor JSON", formats


# -- formats ------------------------------------------------------------------------


def _archive(path: Path, other: Path | None) -> tuple[_Architecture, _Weights]:
    """Read a ``.keras`` file, or one that was unpacked."""
    members = archive.Archive(path.name, path)
    names = members.names()
    if archive.CONFIG not in names:
        raise CompileError.at(path.name, *_without_config(path))
    version = archive.keras_version(members) if archive.METADATA in names else ""
    inside = tuple(path / name for name in sorted(names))
    files = inside if path.is_dir() else (path,)
    architecture = _Architecture(
        "keras", members.json(archive.CONFIG), files, version or "3.0.0"
    )
    if other is not None:
        return architecture, _weights(other)
    if archive.WEIGHTS in names:
        source = Hdf5Source(path.name, members.opened(archive.WEIGHTS))
        groups = archive.archive_groups(source)
        found = _with(groups, members.vocabularies())
        return architecture, _by_group(found, (), source)
    if archive.NUMPY_WEIGHTS in names:
        arrays = NumpyArchive(path.name, members.opened(archive.NUMPY_WEIGHTS))
        groups = arrays.groups()
        return architecture, _by_group(_with(groups, members.vocabularies()), ())
    raise CompileError.at(path.name, f"holds no {archive.WEIGHTS}", SAVE_WHOLE)


def _with(groups: archive.Groups, vocabularies: archive.Groups) -> archive.Groups:
    """Return the groups with a vocabulary in each that is empty and has one."""
    found = {name: item for name, item in vocabularies.items() if not groups.get(name)}
    return {**groups, **found}


def _without_config(path: Path) -> tuple[str, str]:
    """Return what is wrong with an archive or directory that has no config.json."""
    if not path.is_dir():
        return "is a zip archive without a config.json", SAVE_WHOLE
    if (path / "saved_model.pb").is_file():
        return "is a TensorFlow SavedModel, which holds no Keras layers", SAVE_WHOLE
    return "is a directory without a config.json", SAVE_WHOLE


def _hdf5(path: Path, other: Path | None) -> tuple[_Architecture, _Weights]:
    """Read an HDF5 file with configuration and weights."""
    where = path.name
    source = Hdf5Source(where, lambda: path)
    config = legacy_hdf5.legacy_config(source)
    if config is None:
        if legacy_hdf5.is_legacy(source) or archive.is_variables(source):
            raise CompileError.at(
                where,
                "holds weights, but no architecture",
                "compile the architecture's JSON and pass this as --weights-file",
            )
        raise CompileError.at(where, "is an HDF5 file, but not a Keras model")
    version = legacy_hdf5.keras_version(source)
    weights = _weights(path if other is None else other)
    return _Architecture("hdf5", config, (path,), version), weights


def _json(path: Path, other: Path | None) -> tuple[_Architecture, _Weights]:
    """Read an architecture with its weights in another file, or TensorFlow.js."""
    where = path.name
    with path.open("rb") as file:
        text = file.read(LONGEST_TEXT + 1)
    value = parse_object(text, where=where, what="the file")
    if tensorflow_js.is_tensorflow_js(value):
        config, version = tensorflow_js.topology(value, where=where)
        architecture = _Architecture("tensorflow.js", config, (path,), version)
        if other is not None:
            return architecture, _weights(other)
        tensors, files = tensorflow_js.manifest_tensors(
            value, directory=path.parent, where=where
        )
        return architecture, _by_name(where, tensors, files)
    if "weight_map" in value:
        raise CompileError.at(
            where,
            "lists weights, but holds no architecture",
            "compile the architecture's JSON and pass this as --weights-file",
        )
    if "class_name" not in value:
        raise CompileError.at(where, "isn't the JSON of a Keras model")
    if other is None:
        raise CompileError.at(
            where, "holds an architecture, but no weights", "pass --weights-file FILE"
        )
    version = value.get("keras_version", "3.0.0" if "module" in value else "")
    return _Architecture("json", value, (path,), version), _weights(other)


def _keras_js(path: Path, other: Path | None) -> tuple[_Architecture, _Weights]:
    """Read a ``.bin`` of Keras.js."""
    model = keras_js_model(path, where=path.name)
    architecture = _Architecture("keras.js", model.config, (path,), model.keras_version)
    if other is not None:
        return architecture, _weights(other)
    stored = legacy_hdf5.LegacyWeights(model.groups, model.keras_version, model.backend)
    return architecture, _by_layer(path, stored)


def _weights(path: Path) -> _Weights:
    """Return the weights in a file of them, of whatever format."""
    where = path.name
    if path.suffix == ".json":
        groups, shards = archive.sharded_groups(path, where)
        files = (path, *(path.with_name(shard.where) for shard in shards))
        return _by_group(groups, files, *shards)
    if path.is_dir() or not is_hdf5(path):
        raise CompileError.at(
            where, "isn't a file of weights: neither HDF5 nor .weights.json"
        )
    source = Hdf5Source(where, lambda: path)
    if legacy_hdf5.is_legacy(source):
        return _by_layer(path, legacy_hdf5.legacy_weights(source), source)
    return _by_group(archive.archive_groups(source), (path,), source)


def _by_group(
    groups: archive.Groups, files: tuple[Path, ...], *sources: Hdf5Source
) -> _Weights:
    """Return weights that have a group for every layer and cell."""
    return _Weights(
        lambda tree, _: archive_variables(tree, groups), files, sources=sources
    )


def _by_layer(
    path: Path, stored: legacy_hdf5.LegacyWeights, *sources: Hdf5Source
) -> _Weights:
    """Return weights that are listed for each top-level layer."""

    def variables(tree: Owner, version: str) -> Variables:
        is_keras1 = _is_keras1(version)
        expected = keras1_variables if is_keras1 else keras2_variables
        found = legacy_variables(path.name, tree, stored.groups, expected=expected)
        return modernised(
            path.name, tree, found, is_keras1=is_keras1, backend=stored.backend
        )

    return _Weights(variables, (path,), stored.keras_version, sources)


def _by_name(
    where: str, tensors: tuple[Tensor, ...], files: tuple[Path, ...]
) -> _Weights:
    """Return weights of which nothing but their names tells whose they are."""

    def variables(tree: Owner, _: str) -> Variables:
        found = distributed(where, (tree,), tensors, keras2_variables)
        return modernised(where, tree, found, is_keras1=False, backend="")

    return _Weights(variables, files)


# -- assembly -----------------------------------------------------------------------


def _keras_file(
    path: Path, architecture: _Architecture, weights: _Weights
) -> KerasFile:
    """Return the KerasFile, unless something is missing."""
    where = path.name
    version = architecture.keras_version or weights.keras_version
    if not version:
        version = "1.0.0" if speaks_keras1(architecture.config) else "2.0.0"
    if problems := _version_problems(where, version):
        raise CompileError(problems)
    config = translated(architecture.config, where=where, is_keras1=_is_keras1(version))
    tree = model_tree(config, where=where)
    model = parse_model(config, where=where)
    variables = weights.variables(tree, version)
    problems = [*_input_problems(where, model), *missing(where, tree, variables)]
    if problems:
        raise CompileError(problems)
    return KerasFile(
        path=path,
        format=architecture.form,
        keras_version=version,
        sha256=_digest(dict.fromkeys((*architecture.files, *weights.files))),
        model=without_losses(model),
        layer_weights=LayerWeights(where, tree, variables),
        kept_open=weights.kept_open,
    )


def _is_keras1(version: str) -> bool:
    """Return whether a file of this version is in the words of Keras 1."""
    return version.startswith("1.")


def _version_problems(where: str, version: object) -> list[Problem]:
    """Return what is wrong with the version a file claims."""
    if isinstance(version, str) and re.match(r"[123]\.\d", version):
        return []
    return [Problem(where, f"its Keras version {quoted(version)} isn't 1, 2 or 3")]


def _input_problems(where: str, model: ModelConfig) -> list[Problem]:
    """Return a problem for each input whose shape nothing tells."""
    return [
        Problem(
            f"{where}: layer {quoted(layer.name)} (InputLayer)",
            "the file doesn't say what shape the model's input has",
            "give its first layer an input_shape and save it again",
        )
        for layer in model.layers
        if layer.class_name == "InputLayer" and not _has_shape(layer)
    ]


def _has_shape(layer: LayerConfig) -> bool:
    """Return whether an InputLayer's shape is a list of sizes or None."""
    shape = layer.config.get("batch_shape")
    return isinstance(shape, list) and all(
        size is None or (type(size) is int and size >= 0) for size in shape
    )


def _digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the files' contents, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
