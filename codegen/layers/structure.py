"""Nested arguments and results of layers: lists, tuples and dicts with leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

# A leaf, or lists, tuples and dicts of structures.
Structure = Any


def mapped(function: Callable[[Any], Any], structure: Structure) -> Structure:
    """Return *structure* with *function* applied to every leaf."""
    if isinstance(structure, Mapping):
        return {key: mapped(function, item) for key, item in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)([mapped(function, item) for item in structure])
    return function(structure)


def leaves(structure: Structure) -> Iterator[Any]:
    """Yield every leaf; dicts in the order of their sorted keys, as Keras does."""
    if isinstance(structure, Mapping):
        for key in sorted(structure):
            yield from leaves(structure[key])
    elif isinstance(structure, list | tuple):
        for item in structure:
            yield from leaves(item)
    else:
        yield structure


def refilled(structure: Structure, new: Iterable[Any]) -> Structure:
    """Return *structure* with its leaves replaced, in the order of :func:`leaves`."""
    remaining = iter(new)

    def fill(item: Structure) -> Structure:
        if isinstance(item, Mapping):
            filled = {key: fill(item[key]) for key in sorted(item)}
            return {key: filled[key] for key in item}
        if isinstance(item, list | tuple):
            return type(item)([fill(child) for child in item])
        return next(remaining)

    return fill(structure)
