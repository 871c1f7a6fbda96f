"""Read a safetensors file: 8 bytes of header length, a JSON header, raw numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

DTYPES = {
    "F32": np.float32,
    "F16": np.float16,
    "U8": np.uint8,
    "I32": np.int32,
    "BOOL": np.bool_,
}
LENGTH_BYTES = 8
# What stands between tensors, so that each begins at a multiple of 64 bytes.
FILLER = "_gap_"
# The byte that stands for zero.
MIDDLE = 128


@dataclass(frozen=True, slots=True)
class Tensors:
    """The tensors of one file as stored, read-only, mapped rather than read."""

    path: Path
    arrays: dict[str, NDArray[Any]]

    def take(
        self, name: str, shape: tuple[int, ...], dtype: type[Scalar]
    ) -> NDArray[Scalar]:
        """Return the tensor *name*; raise ValueError where it isn't as expected.

        What is stored in fewer bits becomes float32.
        """
        array = self._decoded(name) if dtype == np.float32 else self.arrays.get(name)
        if array is None or array.shape != shape or array.dtype != dtype:
            found = "nothing" if array is None else f"{array.dtype} {array.shape}"
            wanted = f"{np.dtype(dtype)} {shape}"
            raise ValueError(f"{self.path}: expected {name} {wanted}, found {found}")
        return array

    def _decoded(self, name: str) -> NDArray[Any] | None:
        """Return halves as float32, and bytes as ``(byte - 128) * scale``."""
        array = self.arrays.get(name)
        if array is None or array.dtype not in (np.float16, np.uint8):
            return array
        numbers = array.astype(np.float32)
        if array.dtype == np.uint8:
            numbers -= MIDDLE
            numbers *= self.arrays[f"{name}.scale"]
        return numbers


def read_tensors(path: Path) -> Tensors:
    """Map *path* without copying; raise ValueError where it is damaged."""
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    start = LENGTH_BYTES + int.from_bytes(raw[:LENGTH_BYTES].tobytes(), "little")
    if start > raw.size:
        raise ValueError(f"{path}: the header is cut off")
    header = json.loads(raw[LENGTH_BYTES:start].tobytes())
    header.pop("__metadata__", None)
    data = np.asarray(raw)[start:]
    arrays: dict[str, NDArray[Any]] = {}
    for name, entry in header.items():
        if name.startswith(FILLER):
            continue
        begin, end = entry["data_offsets"]
        if end > data.size:
            raise ValueError(f"{path}: the numbers of {name} are cut off")
        numbers: NDArray[Any] = data[begin:end].view(DTYPES[entry["dtype"]])
        arrays[name] = numbers.reshape(entry["shape"])
    return Tensors(path, arrays)
