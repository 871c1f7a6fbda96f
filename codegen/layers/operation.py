"""Bare operations in a model's graph: ``x + y``, slices, ``keras.ops.*``.

An operation is a function of values whose keyword arguments are the options of Keras'
class. Its axes count the batch as 0, as in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from keramos import ops
from keramos.errors import quoted
from keramos.graph import Array, Value
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, Masked
from keramos.layers.structure import Structure, mapped
from keramos.layers.unsupported_operations import UNSUPPORTED

Function = Callable[..., Structure]
FunctionType = TypeVar("FunctionType", bound=Function)

OPERATIONS: dict[str, Function] = {}
_NOT_OPTIONS = frozenset({"name", "trainable", "dtype"})
_ACROSS_BATCH = "it works across the samples of a batch, which Keramos keeps apart"


def operation(*class_names: str) -> Callable[[FunctionType], FunctionType]:
    """Register the decorated function under the class names of Keras' operations."""

    def register(function: FunctionType) -> FunctionType:
        """Enter the function; two functions claiming one name is our bug."""
        for class_name in class_names:
            if class_name in OPERATIONS:
                raise KeyError(class_name)
            OPERATIONS[class_name] = function
        return function

    return register


class Operation(Layer):
    """One operation of Keras 3 with its options."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Look the function up."""
        super().__init__(definition)
        function = OPERATIONS.get(definition.class_name)
        if function is None:
            reason = UNSUPPORTED.get(definition.class_name)
            raise definition.refusal(
                reason
                or f"the operation {quoted(definition.class_name)} isn't one that "
                "Keramos knows",
                "put it into a layer of your own, and pass --custom FILE.py that"
                " defines it",
            )
        self.function = function
        kept = () if definition.class_name != "Cast" else ("dtype",)
        self.options = {
            name: definition.option(name)
            for name in definition.config
            if name not in _NOT_OPTIONS or name in kept
        }

    def __call__(self, *args: Structure, **kwargs: Structure) -> Structure:
        """Return the results, which carry no masks."""
        plain, named = mapped(
            lambda x: x.value if isinstance(x, Masked) else x, (args, kwargs)
        )
        result = self.function(*plain, **named, **self.options)
        return mapped(lambda y: Masked(y) if isinstance(y, Value) else y, result)

    def check_weights(self) -> None:
        """Operations have none."""


def position(axis: int, rank: int) -> int:
    """Return a Keras axis of a tensor of *rank* axes, the batch included, without it.

    Raises ValueError for the batch axis.
    """
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} isn't one of {rank}")
    if axis % rank == 0:
        raise ValueError(_ACROSS_BATCH)
    return axis % rank - 1


def positions(axis: int | Sequence[int] | None, x: Value) -> tuple[int, ...]:
    """Return the axes of a reduction of *x*."""
    if axis is None:
        raise ValueError(_ACROSS_BATCH)
    given = [axis] if isinstance(axis, int) else axis
    return tuple(position(a, len(x.shape) + 1) for a in given)


def shape_without_batch(shape: Sequence[int | None], what: str) -> list[int | None]:
    """Return a shape that a file states, without its batch axis."""
    if not shape or shape[0] not in (None, -1, 1):
        raise ValueError(f"{what} {tuple(shape)} changes the batch axis")
    rest = [-1 if d is None else d for d in shape[1:]]
    return list(rest)


def beside(x: Structure, other: Structure) -> Value | float:
    """Return *x* as an operand beside *other*; arrays must not have a batch."""
    if isinstance(x, Value):
        if isinstance(other, Value) and len(other.shape) != len(x.shape):
            raise ValueError(
                f"inputs of {len(x.shape) + 1} and {len(other.shape) + 1} axes don't"
                " line up with their batch axes"
            )
        return x
    if isinstance(x, bool | int | float):
        return x
    array = constant_array(x)
    if isinstance(other, Value) and array.ndim > len(other.shape):
        if array.shape[: array.ndim - len(other.shape)] != (1,):
            raise ValueError("a constant has a batch axis of its own")
        array = array.reshape(array.shape[1:])
    return ops.constant(array) if array.ndim else array.item()


def constant_array(x: Structure) -> Array:
    """Return a constant argument as numbers."""
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{quoted(x)} isn't a number or an array of numbers")
    return array


def value(x: Structure) -> Value:
    """Return a tensor argument; refuse anything else."""
    if not isinstance(x, Value):
        raise TypeError(f"{quoted(x)} stands where a tensor is needed")
    return x
