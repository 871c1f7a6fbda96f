"""The ``.bin`` files of Keras.js: a protobuf message of an HDF5 file's content.

Model{1 id, 2 name, 3 keras_version, 4 backend, 5 model_config, 6 model_weights},
Weights{1 layer_name, 2 weight_name, 3 shape, 4 type, 5 data, 6 quantize_min,
7 quantize_max}.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from keramos.errors import CompileError, quoted
from keramos.source.file import Tensor
from keramos.source.json_text import LONGEST_TEXT, parse_object

# Field 1 of Model, 36 characters long: a UUID.
BEGINNING = b"\x0a\x24"
# Wire types, and the fields that need more than their value.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MODEL_WEIGHTS = 6
SHAPE, DATA = 3, 5
LONGEST_VARINT = 10
STORED: Mapping[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "uint8": np.dtype("u1"),
}
LEVELS = 255.0


@dataclass(frozen=True, slots=True)
class KerasJsModel:
    """What a ``.bin`` holds; the weights are read when asked for."""

    config: dict[str, Any]
    keras_version: str
    backend: str
    groups: dict[str, tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class _Weights:
    """The fields of one Weights message; *data* is where its bytes lie."""

    layer_name: str
    weight_name: str
    shape: tuple[int, ...]
    kind: str
    data: tuple[int, int]
    low: float
    high: float


def keras_js_model(path: Path, *, where: str) -> KerasJsModel:
    """Return the model in *path*."""
    texts = {3: "", 4: "", 5: ""}
    groups: dict[str, tuple[Tensor, ...]] = {}
    with path.open("rb") as file:
        size = path.stat().st_size
        reader = _Reader(file, where)
        for number, kind, start, stop in reader.fields(0, size):
            if number in texts and kind == BYTES:
                texts[number] = reader.text(start, stop)
            elif number == MODEL_WEIGHTS and kind == BYTES:
                weights = reader.weights(start, stop)
                tensor = _tensor(path, weights, where)
                existing = groups.get(weights.layer_name, ())
                groups[weights.layer_name] = (*existing, tensor)
    config = parse_object(texts[5], where=where, what="its model_config")
    return KerasJsModel(config, texts[3], texts[4], groups)


class _Reader:
    """Reads protobuf's wire format, by position."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        """Read *file*; errors name *where*."""
        self.file = file
        self.where = where

    def broken(self) -> CompileError:
        """Return the error for bytes that make no sense."""
        return CompileError.at(self.where, "is damaged, or isn't a Keras.js model")

    def fields(self, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield each field of a message: number, wire type, where its value lies."""
        position = start
        while position < stop:
            tag, position = self.varint(position, stop)
            number, kind = tag >> 3, tag & 7
            if kind == BYTES:
                length, position = self.varint(position, stop)
            elif kind == VARINT:
                _, after = self.varint(position, stop)
                length = after - position
            elif kind in {FIXED32, FIXED64}:
                length = 4 if kind == FIXED32 else 8
            else:
                raise self.broken()
            if position + length > stop:
                raise self.broken()
            yield number, kind, position, position + length
            position += length

    def varint(self, start: int, stop: int) -> tuple[int, int]:
        """Return the number at *start*, and the position after it."""
        self.file.seek(start)
        value = 0
        for index, byte in enumerate(self.file.read(min(LONGEST_VARINT, stop - start))):
            value |= (byte & 0x7F) << (7 * index)
            if not byte & 0x80:
                return value, start + index + 1
        raise self.broken()

    def text(self, start: int, stop: int) -> str:
        """Return a string."""
        if stop - start > LONGEST_TEXT:
            raise self.broken()
        self.file.seek(start)
        try:
            return self.file.read(stop - start).decode()
        except UnicodeDecodeError:
            raise self.broken() from None

    def weights(self, start: int, stop: int) -> _Weights:
        """Return one Weights message without its data."""
        texts = {1: "", 2: "", 4: ""}
        limits = {6: 0.0, 7: 0.0}
        shape: list[int] = []
        data = (0, 0)
        for number, kind, begin, end in self.fields(start, stop):
            if number in texts and kind == BYTES:
                texts[number] = self.text(begin, end)
            elif number in limits and kind == FIXED32:
                limits[number] = self.number(begin)
            elif number == SHAPE:  # each size on its own, or packed
                shape += self.varints(begin, end)
            elif number == DATA and kind == BYTES:
                data = (begin, end)
        return _Weights(
            layer_name=texts[1],
            weight_name=texts[2],
            shape=tuple(shape),
            kind=texts[4],
            data=data,
            low=limits[6],
            high=limits[7],
        )

    def varints(self, start: int, stop: int) -> Iterator[int]:
        """Yield the numbers between two positions."""
        position = start
        while position < stop:
            number, position = self.varint(position, stop)
            yield number

    def number(self, start: int) -> float:
        """Return the 32-bit float at *start*."""
        self.file.seek(start)
        value: float = struct.unpack("<f", self.file.read(4))[0]
        return value


def _tensor(path: Path, weights: _Weights, where: str) -> Tensor:
    """Return one array, to be read when needed."""
    stored = STORED.get(weights.kind)
    start, stop = weights.data
    shape = weights.shape
    if stored is None or math.prod(shape) * stored.itemsize != stop - start:
        raise CompileError.at(
            where,
            f"the weight {quoted(weights.weight_name)} has {stop - start} bytes, which"
            f" isn't a {weights.kind or 'typeless'} array of shape {shape}",
        )
    read = partial(_values, path, weights, stored)
    return Tensor(name=weights.weight_name, shape=shape, dtype="float32", read=read)


def _values(path: Path, weights: _Weights, stored: np.dtype[Any]) -> NDArray[Any]:
    """Return an array's values, dequantised in double precision and rounded once."""
    start, stop = weights.data
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(stop - start)
    if len(data) != stop - start:
        raise CompileError.at(path.name, "is shorter than it was before")
    values = np.frombuffer(data, stored).reshape(weights.shape)
    if stored.kind == "u":
        step = (weights.high - weights.low) / LEVELS
        return (values.astype(np.float64) * step + weights.low).astype(np.float32)
    return values.astype(np.float32)
