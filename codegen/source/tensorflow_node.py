"""TensorFlow's NodeDef, as TensorFlowOpLayer states it: JSON, or protobuf in a string.

NodeDef: op = 2, attr = 5 (a map: key = 1, value = 2). AttrValue: list = 1, s = 2,
i = 3, f = 4, b = 5, type = 6. ListValue: i = 3, the only one that matters here.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
LONGEST_VARINT = 10
# TensorFlow's numbers of element types.
TYPES: Mapping[int, str] = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    19: "float16",
}
NAMED_TYPES: Mapping[str, str] = {
    "DT_FLOAT": "float32",
    "DT_DOUBLE": "float64",
    "DT_HALF": "float16",
    **{f"DT_{name.upper()}": name for name in TYPES.values()},
}


@dataclass(frozen=True, slots=True)
class NodeDefinition:
    """One operation of TensorFlow with its attributes as plain values."""

    operation: str
    attributes: Mapping[str, Any]


def parse_node(definition: object) -> NodeDefinition:
    """Return the node that a layer's configuration states; raise ValueError if none."""
    if isinstance(definition, str):
        return _from_bytes(definition.encode())
    if not isinstance(definition, Mapping) or not isinstance(definition.get("op"), str):
        raise ValueError("its node_def isn't one of TensorFlow")  # noqa: TRY004
    attributes = definition.get("attr", {})
    if not isinstance(attributes, Mapping):
        raise ValueError("its node_def has no attributes")  # noqa: TRY004
    return NodeDefinition(
        definition["op"], {key: _from_json(item) for key, item in attributes.items()}
    )


def _from_json(item: object) -> Any:  # noqa: ANN401 - any attribute
    """Return an attribute's value, which JSON marks with its kind."""
    if not isinstance(item, Mapping) or len(item) != 1:
        return None
    ((kind, value),) = item.items()
    match kind:
        case "i" if isinstance(value, str | int):
            return int(value)
        case "type":
            return NAMED_TYPES.get(str(value))
        case "s":
            try:
                return base64.b64decode(str(value), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return None
        case "list" if isinstance(value, Mapping):
            numbers = value.get("i", [])
            return [int(n) for n in numbers] if isinstance(numbers, list) else []
        case _:
            return value


def _from_bytes(data: bytes) -> NodeDefinition:
    """Return the node of a serialised message."""
    operation, attributes = "", {}
    for number, value in _fields(data):
        if not isinstance(value, bytes):
            continue
        if number == 2:  # noqa: PLR2004 - a field's number
            operation = value.decode()
        elif number == 5:  # noqa: PLR2004 - a field's number
            entry = dict(_fields(value))
            key, stated = entry.get(1), entry.get(2)
            if isinstance(key, bytes) and isinstance(stated, bytes):
                attributes[key.decode()] = _attribute(stated)
    if not operation:
        raise ValueError("its node_def isn't one of TensorFlow")
    return NodeDefinition(operation, attributes)


def _attribute(data: bytes) -> Any:  # noqa: ANN401 - any attribute
    """Return an attribute's value."""
    for number, value in _fields(data):
        match number, value:
            case 1, bytes():
                numbers: list[int] = []
                for inner, item in _fields(value):
                    if inner == 3:  # noqa: PLR2004 - a field's number
                        numbers += (
                            _signed(item) if isinstance(item, bytes) else [_whole(item)]
                        )
                return numbers
            case 2, bytes():
                return value.decode()
            case 3, int():
                return _whole(value)
            case 4, float():
                return value
            case 5, int():
                return bool(value)
            case 6, int():
                return TYPES.get(value)
    # What has its type's default value isn't written.
    return 0


def _signed(data: bytes) -> list[int]:
    """Return packed whole numbers."""
    numbers, position = [], 0
    while position < len(data):
        number, position = _varint(data, position)
        numbers.append(_whole(number))
    return numbers


def _whole(number: float) -> int:
    """Return a 64-bit number with its sign."""
    whole = int(number)
    return whole - 2**64 if whole >= 2**63 else whole


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Yield the numbers and values of a message's fields, ValueError if broken."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, position = _varint(data, position)
            yield number, value
        elif kind == BYTES:
            size, position = _varint(data, position)
            yield number, _part(data, position, size)
            position += size
        elif kind == FIXED32:
            yield number, float(struct.unpack("<f", _part(data, position, 4))[0])
            position += 4
        elif kind == FIXED64:
            _part(data, position, 8)
            position += 8
        else:
            raise ValueError("its node_def isn't one of TensorFlow")


def _part(data: bytes, start: int, size: int) -> bytes:
    """Return some bytes, which must be there."""
    part = data[start : start + size]
    if len(part) != size:
        raise ValueError("its node_def isn't one of TensorFlow")
    return part


def _varint(data: bytes, start: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, and where it ends."""
    value = 0
    for index, byte in enumerate(data[start : start + LONGEST_VARINT]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:  # noqa: PLR2004 - the mark that more follows
            return value, start + index + 1
    raise ValueError("its node_def isn't one of TensorFlow")
