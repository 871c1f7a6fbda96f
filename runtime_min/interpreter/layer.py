"""What a layer is: built once from its definition, then called on arrays.

Masks travel beside the arrays as in Keras: a layer whose ``call`` has a ``mask``
argument gets the mask of its input, and a layer that supports masking says with
``compute_mask`` which mask its output carries. The argument names of ``call`` are
those of Keras, because files state keyword arguments by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.structure import (
    Structure,
    leaves,
    map_structure,
    refill,
)

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Value:
    """An array with the mask it carries: True where a step counts."""

    array: Array
    mask: Array | None = None


@dataclass(frozen=True, slots=True)
class Masked:
    """What a ``call`` returns that computes its outputs' masks itself."""

    outputs: Structure
    masks: Structure


class Layer:
    """One layer of a model, ready to be called."""

    call: Callable[..., Any]
    supports_masking: bool = False
    keeps_integers: ClassVar[bool] = False

    def __init__(self, definition: Definition) -> None:
        """Keep what every layer needs; families read their options and weights."""
        self.definition = definition
        self.dtype = definition.dtype
        self.generation = definition.generation

    def compute_mask(self, inputs: Structure, mask: Structure) -> Structure:
        """Return the outputs' masks: by default those of the inputs."""
        del inputs
        return mask

    def sublayers(self) -> tuple[Layer, ...]:
        """Return the layers that this one wraps."""
        return ()

    def reset_states(self) -> None:
        """Forget what earlier calls left behind."""
        for sublayer in self.sublayers():
            sublayer.reset_states()

    def __call__(self, *args: Structure, **kwargs: Structure) -> Structure:
        """Return the outputs, Values in the structure that the layer gives them."""
        given = self.bind(args, kwargs)
        parameters = inspect.signature(self.call).parameters
        masks = _automatic_masks(given, parameters, generation=self.generation)
        arrays = {
            name: map_structure(self._convert, item) for name, item in given.items()
        }
        first = next(iter(given.values()))
        explicit = map_structure(self._convert, kwargs.get("mask"))
        previous = masks.get("mask", map_structure(_mask_of, first))
        if explicit is not None:
            previous = explicit
        outputs = self.call(**{**arrays, **masks})
        if isinstance(outputs, Masked):
            return _attach(outputs.outputs, outputs.masks)
        if not self.supports_masking:
            return map_structure(Value, outputs)
        return _attach(
            outputs, self.compute_mask(next(iter(arrays.values())), previous)
        )

    def run_unmasked(self, inputs: Structure) -> Structure:
        """Return the arrays for arrays, in the type that the layer computes with."""
        values = self(map_structure(Value, inputs))
        return map_structure(lambda value: value.array, values)

    def bind(
        self, args: tuple[Structure, ...], kwargs: Mapping[str, Structure]
    ) -> dict[str, Structure]:
        """Return the arguments of ``call`` by name; a TypeError names unknown ones.

        Whether to train is no question here, and a mask may pass a layer by.
        """
        signature = inspect.signature(self.call)
        passing = {"mask", "training"} - signature.parameters.keys()
        known = {name: item for name, item in kwargs.items() if name not in passing}
        return signature.bind(*args, **known).arguments

    def _convert(self, item: object) -> object:
        """Return the array of a Value in the type that the layer computes with."""
        if not isinstance(item, Value):
            return item
        array = item.array
        if array.dtype.kind == "f" or (
            array.dtype.kind in "iub" and not self.keeps_integers
        ):
            return array.astype(self.dtype, copy=False)
        return array


def _mask_of(item: object) -> Array | None:
    """Return the mask of a Value."""
    return item.mask if isinstance(item, Value) else None


def _holds_tensors(item: Structure) -> bool:
    """Say whether *item* is a tensor or a nest of them (or of None), as Keras asks."""
    if isinstance(item, Value):
        return True
    if not isinstance(item, list | tuple | dict):
        return False
    flat = list(leaves(item))
    return bool(flat) and all(leaf is None or isinstance(leaf, Value) for leaf in flat)


def _automatic_masks(
    given: Mapping[str, Structure],
    parameters: Mapping[str, inspect.Parameter],
    *,
    generation: int,
) -> dict[str, Structure]:
    """Return the mask arguments that Keras fills in from the inputs' own masks.

    One tensor argument: ``mask``. Several: ``<argument>_mask`` for each. A call with
    a second tensor argument (an RNN's initial state) therefore sees no mask at all in
    Keras 3; in Keras 2, ``mask`` is that of the first argument whatever follows.
    """
    tensors = {name: item for name, item in given.items() if _holds_tensors(item)}
    wanted = (
        {"mask": next(iter(tensors.values()), None)}
        if len(tensors) == 1 or (generation < 3 and "mask" in parameters)
        else {f"{name}_mask": item for name, item in tensors.items()}
    )
    return {
        name: map_structure(_mask_of, item)
        for name, item in wanted.items()
        if name in parameters and given.get(name) is None
    }


def _attach(outputs: Structure, masks: Structure) -> Structure:
    """Return the outputs as Values with their masks, leaf by leaf."""
    remaining = iter(()) if masks is None else leaves(masks)
    values = (Value(array, next(remaining, None)) for array in leaves(outputs))
    return refill(outputs, values)


def broadcast_mask(mask: Array, rank: int) -> Array:
    """Return *mask* with axes of one appended until it has *rank* axes."""
    return mask.reshape(mask.shape + (1,) * (rank - mask.ndim)).astype(np.bool_)
