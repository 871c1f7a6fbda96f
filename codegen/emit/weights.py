"""Write safetensors files: 8 bytes of header length, a JSON header, raw numbers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from keramos.graph import Constant, Graph, Value
from keramos.plan.factor_scales import scale_name
from keramos.plan.names import constant_names
from keramos.primitives import DType

Kind = DType | Literal["float16", "uint8"]

ALIGNMENT = 64
KINDS: Mapping[Kind, str] = {
    "float32": "F32",
    "float16": "F16",
    "uint8": "U8",
    "int32": "I32",
    "bool": "BOOL",
}
# What is added to codes, to store them as bytes.
MIDDLE = 128


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor to be written; the numbers are made when their turn comes."""

    shape: tuple[int, ...]
    dtype: Kind
    load: Callable[[], NDArray[Any]]

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        count = int(np.prod(self.shape, dtype=np.int64))
        return count * np.dtype(self.dtype).itemsize


def safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the file; each tensor starts at a multiple of 64 bytes.

    The format allows no gaps between tensors, so that fillers named ``_gap_N`` stand
    there.
    """
    header: dict[str, object] = {}
    end = 0
    for name, tensor in tensors.items():
        begin = end
        end = begin + tensor.size
        header[name] = {
            "dtype": KINDS[tensor.dtype],
            "shape": [*tensor.shape],
            "data_offsets": [begin, end],
        }
        gap = -end % ALIGNMENT
        if gap:
            header[f"_gap_{len(header)}"] = {
                "dtype": "U8",
                "shape": [gap],
                "data_offsets": [end, end + gap],
            }
            end += gap
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    out = io.BytesIO()
    out.write(len(text).to_bytes(8, "little"))
    out.write(text)
    for tensor in tensors.values():
        array = np.asarray(tensor.load(), np.dtype(tensor.dtype).newbyteorder("<"))
        out.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        out.write(b"\0" * (-tensor.size % ALIGNMENT))
    return out.getvalue()


def weights(graph: Graph, more: Mapping[str, Value]) -> bytes:
    """Return the graph's constants, and *more*, under the names that all targets use.

    Raises ValueError where a name is taken twice.
    """
    named = {name: value for value, name in constant_names(graph).items()}
    twice = named.keys() & more.keys()
    if twice:
        raise ValueError(f"constants of two targets are named {sorted(twice)}")
    named.update(more)
    tensors: dict[str, Tensor] = {}
    for name, value in named.items():
        if value.constant is None:
            raise ValueError(f"{value} isn't a constant")
        tensors |= _stored(name, value.constant)
    return safetensors(tensors)


def _stored(name: str, constant: Constant) -> dict[str, Tensor]:
    """Return the tensors that hold a constant, by name."""
    shape = tuple(d for d in constant.spec.shape if d is not None)
    if constant.factors is not None:
        codes, scale = constant.factors.codes, constant.factors.scale
        return _stored(name, codes) | _stored(scale_name(name), scale)
    if constant.storage == "uint8":
        return {name: Tensor(shape, "uint8", lambda: constant.array() + MIDDLE)}
    kind: Kind = constant.spec.dtype
    if constant.storage == "float16":
        kind = "float16"
    return {name: Tensor(shape, kind, constant.array)}
