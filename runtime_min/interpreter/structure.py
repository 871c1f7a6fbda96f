"""Nested arguments and results: lists, tuples and dicts with leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Structure = Any


def map_structure(function: Callable[[Any], Any], structure: Structure) -> Structure:
    """Return *structure* with *function* applied to every leaf."""
    if isinstance(structure, dict):
        return {key: map_structure(function, item) for key, item in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)([map_structure(function, item) for item in structure])
    return function(structure)


def leaves(structure: Structure) -> Iterator[Any]:
    """Yield every leaf; dicts in the order of their sorted keys, as Keras does."""
    if isinstance(structure, dict):
        for key in sorted(structure):
            yield from leaves(structure[key])
    elif isinstance(structure, list | tuple):
        for item in structure:
            yield from leaves(item)
    else:
        yield structure


def refill(structure: Structure, new_leaves: Iterator[Any]) -> Structure:
    """Return *structure* with its leaves replaced, in the order of :func:`leaves`."""
    if isinstance(structure, dict):
        filled = {key: refill(structure[key], new_leaves) for key in sorted(structure)}
        return {key: filled[key] for key in structure}
    if isinstance(structure, list | tuple):
        return type(structure)([refill(item, new_leaves) for item in structure])
    return next(new_leaves)
