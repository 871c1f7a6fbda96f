"""TensorFlow.js layers models: a ``model.json`` with files of weights beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keramos.errors import CompileError, quoted
from keramos.source.file import Tensor

# What TensorFlow.js' own files correspond to; it writes "tfjs-layers 0.8.5".
NATIVE_VERSION = "2.0.0"
STORED = {
    "float32": np.dtype("<f4"),
    "int32": np.dtype("<i4"),
    "bool": np.dtype("?"),
    "float16": np.dtype("<f2"),
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
}
LARGEST_RANK = 32


@dataclass(frozen=True, slots=True)
class _Piece:
    """A file that holds the bytes *start* to *stop* of a group of weights."""

    file: Path
    start: int
    stop: int


def is_tensorflow_js(value: Mapping[str, Any]) -> bool:
    """Return whether a JSON object is a TensorFlow.js model."""
    return "modelTopology" in value or "weightsManifest" in value


def topology(value: Mapping[str, Any], *, where: str) -> tuple[dict[str, Any], str]:
    """Return the configuration and the Keras version of a layers model."""
    found = value.get("modelTopology")
    if value.get("format") == "graph-model" or (
        isinstance(found, Mapping) and "node" in found
    ):
        raise CompileError.at(
            where,
            "is a TensorFlow.js graph model, which holds no Keras layers",
            "convert the Keras model with --output_format tfjs_layers_model",
        )
    if not isinstance(found, Mapping):
        raise CompileError.at(where, "holds weights, but no architecture")
    config = found.get("model_config", found)
    if isinstance(config, Mapping) and "class_name" in config:
        version = found.get("keras_version", value.get("keras_version"))
        if not isinstance(version, str) or not re.match(r"\d+\.\d", version):
            version = NATIVE_VERSION
        return dict(config), version
    raise CompileError.at(where, "its modelTopology isn't that of a Keras model")


def manifest_tensors(
    value: Mapping[str, Any], *, directory: Path, where: str
) -> tuple[tuple[Tensor, ...], tuple[Path, ...]]:
    """Return the weights listed in the manifest, and the files they are in."""
    groups = value.get("weightsManifest", [])
    if not isinstance(groups, list):
        raise CompileError.at(where, "its weightsManifest isn't a list")
    tensors: list[Tensor] = []
    files: list[Path] = []
    for group in groups:
        if not isinstance(group, Mapping):
            raise CompileError.at(where, "its weightsManifest has a malformed group")
        paths = [
            _shard(name, directory=directory, where=where)
            for name in _list(group, "paths", where)
        ]
        tensors += _group(_list(group, "weights", where), _pieces(paths), where)
        files += paths
    return tuple(tensors), tuple(files)


def _list(group: Mapping[str, Any], key: str, where: str) -> list[Any]:
    """Return the list *key* of a group."""
    value = group.get(key)
    if not isinstance(value, list):
        raise CompileError.at(where, f"its weightsManifest has a group without {key}")
    return value


def _shard(name: object, *, directory: Path, where: str) -> Path:
    """Return the file *name* in the model's directory."""
    if not isinstance(name, str):
        raise CompileError.at(where, f"its file of weights {quoted(name)} has no name")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "://" in name:
        raise CompileError.at(
            where, f"its file of weights {quoted(name)} isn't beside it"
        )
    try:
        is_file = (directory / path).is_file()
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        raise CompileError.at(
            where, f"its file of weights {quoted(name)} isn't beside it"
        )
    return directory / path


def _pieces(paths: Sequence[Path]) -> tuple[_Piece, ...]:
    """Return where in the concatenation of the files each one lies."""
    pieces = []
    start = 0
    for path in paths:
        stop = start + path.stat().st_size
        pieces.append(_Piece(path, start, stop))
        start = stop
    return tuple(pieces)


def _group(
    entries: Sequence[Any], pieces: Sequence[_Piece], where: str
) -> Iterator[Tensor]:
    """Yield the tensors of one group, which lie one after the other."""
    position = 0
    size = pieces[-1].stop if pieces else 0
    for entry in entries:
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if not isinstance(name, str):
            raise CompileError.at(where, "its weightsManifest has a nameless weight")
        stored, dtype, scale, offset = _encoding(entry, name, where)
        shape = _shape(entry, name, where)
        length = math.prod(shape) * stored.itemsize
        if position + length > size:
            raise CompileError.at(
                where,
                f"its files of weights are too short for {quoted(name)}:"
                f" {size} bytes instead of at least {position + length}",
            )
        read = partial(
            _values,
            pieces=tuple(pieces),
            position=position,
            length=length,
            stored=stored,
            dtype=dtype,
            scale=scale,
            offset=offset,
            shape=shape,
        )
        yield Tensor(name=name, shape=shape, dtype=dtype.name, read=read)
        position += length


def _shape(entry: Mapping[str, Any], name: str, where: str) -> tuple[int, ...]:
    """Return a weight's shape."""
    shape = entry.get("shape")
    if (
        isinstance(shape, list)
        and len(shape) <= LARGEST_RANK
        and all(type(size) is int and size >= 0 for size in shape)
    ):
        return tuple(shape)
    raise CompileError.at(where, f"the weight {quoted(name)} has no valid shape")


def _encoding(
    entry: Mapping[str, Any], name: str, where: str
) -> tuple[np.dtype[Any], np.dtype[Any], float, float]:
    """Return how a weight is stored, its type, and what stored values stand for."""
    dtype = entry.get("dtype")
    quantization = entry.get("quantization")
    stored, scale, offset = dtype, 1.0, 0.0
    if isinstance(quantization, Mapping):
        stored = quantization.get("dtype")
        scale = quantization.get("scale", 1.0)
        offset = quantization.get("min", 0.0)
    numbers = all(isinstance(number, (int, float)) for number in (scale, offset))
    names = isinstance(stored, str) and isinstance(dtype, str)
    if names and stored in STORED and dtype in STORED and numbers:
        return STORED[stored], STORED[dtype].newbyteorder("="), scale, offset
    raise CompileError.at(
        where, f"the weight {quoted(name)} is of type {quoted(stored or dtype)}"
    )


def _values(  # noqa: PLR0913 -- what a manifest says about a weight
    *,
    pieces: tuple[_Piece, ...],
    position: int,
    length: int,
    stored: np.dtype[Any],
    dtype: np.dtype[Any],
    scale: float,
    offset: float,
    shape: tuple[int, ...],
) -> NDArray[Any]:
    """Return a weight's values, dequantised in double precision and rounded once."""
    data = bytearray()
    for piece in pieces:
        start = max(position, piece.start)
        stop = min(position + length, piece.stop)
        if start < stop:
            with piece.file.open("rb") as file:
                file.seek(start - piece.start)
                data += file.read(stop - start)
    if len(data) != length:
        raise CompileError.at(pieces[0].file.name, "is shorter than it was before")
    values = np.frombuffer(bytes(data), stored).reshape(shape)
    if stored.kind == "u":
        exact = values.astype(np.float64) * scale + offset
        return (exact if dtype.kind == "f" else np.rint(exact)).astype(dtype)
    return values.astype(dtype)
