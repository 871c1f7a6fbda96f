"""What a layer is to the importer: made once from its definition, then called.

A layer's ``call`` takes values by the names that Keras gives the arguments, since files
state keyword arguments by name. Masks travel beside the values, as in Keras.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from keramos import ops
from keramos.graph import Value
from keramos.layers.definition import Definition
from keramos.layers.structure import Structure, leaves, mapped, refilled


@dataclass(frozen=True, slots=True)
class Masked:
    """A value with its mask: true where a step counts."""

    value: Value
    mask: Value | None = None


# Until Keras 2 a layer took the mask of its first argument alone.
MASKS_NAMED_SINCE = 3


class Layer:
    """One layer of a model."""

    call: Callable[..., Structure]
    supports_masking: bool = False
    keeps_integers: ClassVar[bool] = False
    # Whether axes in front of those it looks at don't matter to it.
    lowers_leading_axes: bool = False

    def __init__(self, definition: Definition) -> None:
        """Keep the definition; families read their options."""
        self.definition = definition

    def compute_mask(self, inputs: Structure, mask: Structure) -> Structure:
        """Return the masks of the outputs, by default those of the inputs."""
        del inputs
        return mask

    def finish(self) -> None:
        """Note what the file says about the layer and what nobody has read."""
        self.definition.finish()

    def check_weights(self) -> None:
        """Note weights that the file has and the layer doesn't use."""
        spare = self.definition.weights_left()
        if spare > 0:
            weights = "weight" if spare == 1 else "weights"
            self.definition.note(
                f"the file has {spare} {weights} more than it uses",
                "the weights belong to another configuration",
            )

    def __call__(self, *args: Structure, **kwargs: Structure) -> Structure:
        """Return the outputs, Masked leaves in the structure that ``call`` gives.

        Raises ValueError or TypeError where the arguments don't fit.
        """
        signature = inspect.signature(self.call)
        kwargs = {key: item for key, item in kwargs.items() if key != "training"}
        stated = None
        if "mask" not in signature.parameters:
            stated = mapped(self._value, kwargs.pop("mask", None))
        given = dict(signature.bind(*args, **kwargs).arguments)
        variadic = {
            name
            for name, parameter in signature.parameters.items()
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        }
        masks = (
            {}
            if variadic
            else _automatic_masks(
                given, signature.parameters, generation=self.definition.generation
            )
        )
        plain = {name: mapped(self._value, item) for name, item in given.items()}
        first = next(iter(given.values()), None)
        previous = plain.get("mask", stated)
        if all(leaf is None for leaf in leaves(previous)):
            previous = masks.get("mask", mapped(_mask_of, first))
        bound = inspect.BoundArguments(
            signature,
            {
                name: {**plain, **masks}[name]
                for name in signature.parameters
                if name in plain or name in masks
            },
        )
        outputs = self.call(*bound.args, **bound.kwargs)
        if any(isinstance(leaf, Masked) for leaf in leaves(outputs)):
            return mapped(
                lambda y: y if isinstance(y, Masked) or y is None else Masked(y),
                outputs,
            )
        if not self.supports_masking:
            return mapped(lambda y: None if y is None else Masked(y), outputs)
        taken = next((item for item in plain.values()), None)
        return _attached(outputs, self.compute_mask(taken, previous))

    def _value(self, item: object) -> object:
        """Return the value that a layer computes with."""
        if not isinstance(item, Masked):
            return item
        value = item.value
        if value.dtype == "int32" and not self.keeps_integers:
            return ops.cast(value, "float32")
        return value


def _mask_of(item: object) -> Value | None:
    """Return the mask of a Masked."""
    return item.mask if isinstance(item, Masked) else None


def _holds_tensors(item: Structure) -> bool:
    """Return whether *item* is a tensor or a nest of them (or of None)."""
    flat = list(leaves(item))
    return any(isinstance(leaf, Masked) for leaf in flat) and all(
        leaf is None or isinstance(leaf, Masked) for leaf in flat
    )


def _automatic_masks(
    given: Mapping[str, Structure],
    parameters: Mapping[str, inspect.Parameter],
    *,
    generation: int,
) -> dict[str, Structure]:
    """Return the mask arguments that Keras fills in from the inputs' own masks.

    One tensor argument: ``mask``. Several: ``<argument>_mask`` for each, so that a call
    with a second tensor (an RNN's initial state) sees no mask at all in Keras 3; in
    Keras 2, ``mask`` is that of the first argument whatever follows.
    """
    tensors = {name: item for name, item in given.items() if _holds_tensors(item)}
    wanted = (
        {"mask": next(iter(tensors.values()), None)}
        if len(tensors) == 1
        or (generation < MASKS_NAMED_SINCE and "mask" in parameters)
        else {f"{name}_mask": item for name, item in tensors.items()}
    )
    return {
        name: mapped(_mask_of, item)
        for name, item in wanted.items()
        if name in parameters and given.get(name) is None
    }


def _attached(outputs: Structure, masks: Structure) -> Structure:
    """Return the outputs with their masks, leaf by leaf."""
    flat = iter(()) if masks is None else leaves(masks)
    return refilled(
        outputs, [Masked(value, next(flat, None)) for value in leaves(outputs)]
    )


def as_masked(structure: Structure) -> Structure:
    """Return *structure* with Values as Masked leaves without a mask."""
    return mapped(lambda x: Masked(x) if isinstance(x, Value) else x, structure)


def channels_last(x: Value) -> Value:
    """Return a channels-first value with its channels at the end."""
    rank = len(x.shape)
    return ops.transpose(x, (*range(1, rank), 0))


def channels_first(x: Value) -> Value:
    """Return a channels-last value with its channels in front."""
    rank = len(x.shape)
    return ops.transpose(x, (rank - 1, *range(rank - 1)))


def without_batch(axis: int, x: Value, definition: Definition) -> int:
    """Return a Keras axis, which counts the batch as 0, as an axis of *x*."""
    rank = len(x.shape) + 1
    if not -rank <= axis < rank or axis % rank == 0:
        raise definition.refusal(
            f"axis {axis} isn't an axis of its input of shape {shape_text(x)}"
            if axis % rank
            else "works across the samples of a batch, which Keramos keeps apart"
        )
    return axis % rank - 1


def shape_text(x: Value) -> str:
    """Return a value's shape as Keras writes it, with the batch."""
    return str((None, *x.shape))


def spatial_rank(class_name: str) -> int:
    """Return the number of spatial axes that a class name states (``Conv2D``: 2)."""
    return int(next(c for c in class_name if c.isdigit()))
