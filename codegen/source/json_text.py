"""JSON from a model file: parsed within limits that no hostile text can exceed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from keramos.errors import CompileError

# A model nested eight deep has about fifty levels; whoever reads a configuration may
# recurse into it without a limit of its own.
DEEPEST_NESTING = 200
# Configurations of the largest models are a few megabytes; vocabularies add to that.
LONGEST_TEXT = 256 << 20


def parse_json(
    text: bytes | str, *, where: str, what: str
) -> Any:  # noqa: ANN401 -- JSON has no narrower type
    """Return the value of *text*; *what* names it in errors: ``"config.json"``."""
    if len(text) > LONGEST_TEXT:
        raise CompileError.at(where, f"{what} is longer than {LONGEST_TEXT >> 20} MiB")
    try:
        value = json.loads(text)
        if isinstance(value, str):  # Keras 1 encoded its model.json twice.
            value = json.loads(value)
    except RecursionError:
        raise CompileError.at(where, f"{what} is nested too deeply") from None
    except ValueError as error:
        reason = str(error).splitlines()[0] if str(error) else "unreadable"
        raise CompileError.at(where, f"{what} isn't valid JSON: {reason}") from None
    if _depth(value) > DEEPEST_NESTING:
        raise CompileError.at(where, f"{what} is nested too deeply")
    return value


def parse_object(text: bytes | str, *, where: str, what: str) -> dict[str, Any]:
    """Return the JSON object *text* holds."""
    value = parse_json(text, where=where, what=what)
    if not isinstance(value, dict):
        raise CompileError.at(where, f"{what} doesn't hold a JSON object")
    return value


def _depth(value: object) -> int:
    """Return how deeply lists and objects are nested in *value*, without recursion."""
    depth = 0
    level: list[object] = [value]
    while level and depth <= DEEPEST_NESTING:
        level = [child for parent in level for child in _children(parent)]
        depth += 1
    return depth


def _children(value: object) -> Iterator[object]:
    """Yield the members of a list or an object."""
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
