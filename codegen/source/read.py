"""``read``: from a file of any format to a KerasFile."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keramos.errors import CompileError, Problem, quoted
from keramos.source import archive, legacy_hdf5
from keramos.source.file import KerasFile
from keramos.source.hdf5 import Hdf5Source, is_hdf5
from keramos.source.json_text import parse_object
from keramos.source.layer_tree import Owner, model_tree
from keramos.source.model_config import parse_model
from keramos.source.topology import LayerConfig, ModelConfig
from keramos.source.variables import (
    LayerWeights,
    Variables,
    archive_variables,
    keras2_variables,
    legacy_variables,
    missing,
)

CHUNK = 1 << 20
ZIP = b"PK\x03\x04"
EMPTY_ZIP = b"PK\x05\x06"
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
SAVE_WHOLE = "save the whole model with model.save('NAME.keras')"


@dataclass(frozen=True, slots=True)
class _Weights:
    """Variables found for a tree, with what their file says about itself."""

    variables: Variables
    files: tuple[Path, ...]
    keras_version: str = ""


def read(path: str | Path, *, weights_file: str | Path | None = None) -> KerasFile:
    """Return what the model file *path* holds.

    *weights_file* has the weights of a *path* that is an architecture alone. Raises
    CompileError with every problem of the file and its topology.
    """
    path = Path(path)
    where = path.name
    _check_exists(path, where)
    weights_path = None if weights_file is None else Path(weights_file)
    if weights_path is not None:
        _check_exists(weights_path, weights_path.name)
    if path.is_dir():
        return _read_archive(path, where, weights_path)
    beginning = _beginning(path, where)
    if beginning.startswith((ZIP, EMPTY_ZIP)):
        return _read_archive(path, where, weights_path)
    if is_hdf5(path):
        return _read_hdf5(path, where, weights_path)
    if beginning.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in {b"{", b'"', b"["}:
        return _read_json(path, where, weights_path)
    raise CompileError.at(where, *_unknown(beginning))


def _check_exists(path: Path, where: str) -> None:
    """Refuse a path at which nothing lies."""
    try:
        exists = path.exists()
    except (OSError, ValueError):  # a name too long, or with a null byte
        exists = False
    if not exists:
        raise CompileError.at(where or quoted(str(path)), "there is no such file")


def _beginning(path: Path, where: str) -> bytes:
    """Return the file's first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError as error:
        raise CompileError.at(where, f"can't be read: {error.strerror}") from None


def _unknown(beginning: bytes) -> tuple[str, str]:
    """Return what is wrong with a file of no known format, and what would work."""
    formats = "Keras writes .keras, .h5 and .json files"
    if not beginning:
        return "the file is empty", formats
    if beginning.startswith(PICKLES):
        return "is a Python pickle, which is never executed", SAVE_WHOLE
    if beginning.startswith(b"\x89HDF"):
        return "isn't a complete HDF5 file: it is cut off", formats
    return "isn't a Keras model: neither HDF5 nor zip nor JSON", formats


# -- formats ------------------------------------------------------------------------


def _read_archive(path: Path, where: str, weights_file: Path | None) -> KerasFile:
    """Read a ``.keras`` file, or one that was unpacked."""
    members = archive.Archive(where, path)
    names = members.names()
    if archive.CONFIG not in names:
        if path.is_dir():
            problem = "is a directory without a config.json"
            if (path / "saved_model.pb").is_file():
                problem = "is a TensorFlow SavedModel, which holds no Keras layers"
        else:
            problem = "is a zip archive without a config.json"
        raise CompileError.at(where, problem, SAVE_WHOLE)
    config = members.json(archive.CONFIG)
    version = archive.keras_version(members) if archive.METADATA in names else ""
    tree = model_tree(config, where=where)
    if weights_file is not None:
        weights = _weights(weights_file, tree)
    elif archive.WEIGHTS in names:
        source = Hdf5Source(where, members.opened(archive.WEIGHTS))
        groups = archive.archive_groups(source)
        weights = _Weights(archive_variables(tree, groups), ())
    elif archive.NUMPY_WEIGHTS in names:
        raise CompileError.at(where, "holds NumPy weights")
    else:
        raise CompileError.at(where, f"holds no {archive.WEIGHTS}", SAVE_WHOLE)
    files = [path / name for name in sorted(names)] if path.is_dir() else [path]
    return _keras_file(
        path, "keras", version or "3.0.0", config, tree, weights, files=files
    )


def _read_hdf5(path: Path, where: str, weights_file: Path | None) -> KerasFile:
    """Read an HDF5 file with configuration and weights."""
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
    tree = model_tree(config, where=where)
    weights = _weights(weights_file or path, tree, where=where)
    version = weights.keras_version or legacy_hdf5.OLDEST_VERSION
    return _keras_file(path, "hdf5", version, config, tree, weights, files=[path])


def _read_json(path: Path, where: str, weights_file: Path | None) -> KerasFile:
    """Read an architecture with its weights in another file."""
    config = parse_object(path.read_bytes(), where=where, what="the file")
    if "class_name" not in config:
        raise CompileError.at(where, "isn't the JSON of a Keras model")
    if weights_file is None:
        raise CompileError.at(
            where, "holds an architecture, but no weights", "pass --weights-file FILE"
        )
    tree = model_tree(config, where=where)
    weights = _weights(weights_file, tree)
    version = config.get("keras_version") or weights.keras_version
    version = version or ("3.0.0" if "module" in config else legacy_hdf5.OLDEST_VERSION)
    return _keras_file(path, "json", version, config, tree, weights, files=[path])


def _weights(path: Path, tree: Owner, *, where: str | None = None) -> _Weights:
    """Return the weights of *tree* in a file of weights, of whatever format."""
    where = where or path.name
    if path.suffix == ".json":
        groups, shards = archive.sharded_groups(path, where)
        return _Weights(archive_variables(tree, groups), (path, *shards))
    if not is_hdf5(path):
        raise CompileError.at(where, "isn't an HDF5 file of weights")
    source = Hdf5Source(where, lambda: path)
    if not legacy_hdf5.is_legacy(source):
        groups = archive.archive_groups(source)
        return _Weights(archive_variables(tree, groups), (path,))
    stored = legacy_hdf5.legacy_weights(source)
    variables = legacy_variables(where, tree, stored.groups, expected=keras2_variables)
    return _Weights(variables, (path,), stored.keras_version)


# -- assembly -----------------------------------------------------------------------


def _keras_file(  # noqa: PLR0913 -- a KerasFile has as many parts
    path: Path,
    form: str,
    version: object,
    config: Mapping[str, Any],
    tree: Owner,
    weights: _Weights,
    *,
    files: Iterable[Path],
) -> KerasFile:
    """Return the KerasFile, unless something is missing."""
    where = path.name
    model = parse_model(config, where=where)
    problems = [*_version_problems(where, version), *_input_problems(where, model)]
    problems += missing(where, tree, weights.variables)
    if problems:
        raise CompileError(problems)
    return KerasFile(
        path=path,
        format=form,
        keras_version=str(version),
        sha256=_digest(dict.fromkeys((*files, *weights.files))),
        model=model,
        layer_weights=LayerWeights(where, tree, weights.variables),
    )


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
            "build the model, or give its first layer an input_shape, and save it again",
        )
        for layer in model.layers
        if layer.class_name == "InputLayer" and not _has_shape(layer)
    ]


def _has_shape(layer: LayerConfig) -> bool:
    """Return whether an InputLayer's shape is a list of sizes or None."""
    shape = layer.config.get("batch_shape")
    return isinstance(shape, list) and all(
        size is None or (isinstance(size, int) and size >= 0) for size in shape
    )


def _digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the files' contents, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
