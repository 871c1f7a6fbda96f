"""What a model takes and gives, and the check of what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMBERS = "biuf"


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output; *shape* leaves the batch out, None is a free dimension."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def __str__(self) -> str:
        """Return ``(n, 28, 28, 1)``."""
        dims = ["n", *("any" if d is None else str(d) for d in self.shape)]
        return f"({', '.join(dims)})" if self.shape else "(n,)"


def arrays(
    model: str, inputs: Sequence[Tensor], given: Sequence[object]
) -> list[NDArray[Any]]:
    """Return *given*, arrays in order or a single mapping by name, as the inputs.

    Numbers of any type are cast. Raises TypeError for what isn't numbers, and
    ValueError for wrong names and shapes.
    """
    if len(given) == 1 and isinstance(given[0], Mapping):
        given = _in_order(model, inputs, given[0])
    if len(given) != len(inputs):
        names = ", ".join(repr(x.name) for x in inputs)
        count = f"{len(inputs)} input{'s' if len(inputs) != 1 else ''}"
        raise ValueError(f"{model} takes {count} ({names}), not {len(given)}")
    result = [_array(x, value) for x, value in zip(inputs, given, strict=True)]
    if len({len(x) for x in result}) > 1:
        pairs = zip(inputs, result, strict=True)
        sizes = ", ".join(f"{x.name!r} {len(value)}" for x, value in pairs)
        raise ValueError(f"the inputs differ in batch size: {sizes}")
    return result


def _in_order(
    model: str, inputs: Sequence[Tensor], given: Mapping[Any, object]
) -> list[object]:
    names = [x.name for x in inputs]
    listed = ", ".join(map(repr, names))
    for name in given:
        if name not in names:
            raise ValueError(f"{model} has no input {name!r} (it has {listed})")
    for name in names:
        if name not in given:
            raise ValueError(f"input {name!r} is missing ({model} takes {listed})")
    return [given[name] for name in names]


def _array(tensor: Tensor, value: object) -> NDArray[Any]:
    """Return *value* as a contiguous array of the type that *tensor* has."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"input {tensor.name!r} isn't an array: {error}") from error
    if array.dtype.kind not in NUMBERS:
        raise TypeError(
            f"input {tensor.name!r} must be real numbers, not {array.dtype}"
        )
    expected = tensor.shape
    fits = array.ndim == len(expected) + 1 and all(
        wanted in (None, found)
        for wanted, found in zip(expected, array.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"input {tensor.name!r} must have shape {tensor}, n the batch size, "
            f"not {array.shape}"
        )
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(array, np.dtype(tensor.dtype))
