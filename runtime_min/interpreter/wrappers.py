"""Layers around other layers: in both directions of time, or at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer, Masked, Value
from keramos.runtime_min.interpreter.recurrent import Recurrent
from keramos.runtime_min.interpreter.registry import layer
from keramos.runtime_min.interpreter.structure import (
    Structure,
    leaves,
    map_structure,
)

MERGE_MODES = ("concat", "sum", "mul", "ave")


@layer("Bidirectional")
class Bidirectional(Layer):
    """A recurrent layer forwards, its twin backwards, and both results as one."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Build both directions."""
        super().__init__(definition)
        mode = definition.option("merge_mode", "concat")
        self.merge_mode = mode
        if mode is not None:
            self.merge_mode = definition.choice("merge_mode", MERGE_MODES)
        forward = definition.option("layer")
        backward = definition.option("backward_layer", None)
        if backward is None:
            backward = _reversed(forward, always=definition.generation >= 3)
        self.forward_layer = self._direction("forward_layer", forward)
        self.backward_layer = self._direction("backward_layer", backward)

    def _direction(self, attribute: str, serialized: object) -> Recurrent:
        """Return one direction's layer."""
        child = self.definition.child(attribute, serialized)
        if not isinstance(child, Recurrent):
            raise self.definition.refusal(
                f"wraps a {child.definition.class_name}, which isn't recurrent"
            )
        if self.definition.is_tf_keras:
            # Keras forces it; the Keras 2 that wasn't part of TensorFlow didn't.
            child.zero_output_for_mask = child.return_sequences
        return child

    def sublayers(self) -> tuple[Layer, ...]:
        """Return both directions."""
        return (self.forward_layer, self.backward_layer)

    def call(
        self,
        sequences: Structure,
        initial_state: Structure = None,
        mask: Structure = None,
        constants: Structure = None,
    ) -> Structure:
        """Return the merged outputs, and the states of both directions if asked for."""
        if any(leaf is not None for leaf in leaves(constants)):
            raise self.definition.refusal("is called with constants")
        if isinstance(sequences, list | tuple):
            sequences, *others = sequences
            initial_state = others or initial_state
        states = [] if initial_state is None else list(leaves(initial_state))
        half = len(states) // 2
        forward = self.forward_layer.call(sequences, states[:half] or None, mask)
        backward = self.backward_layer.call(sequences, states[half:] or None, mask)
        y, *forward_states = _as_list(forward)
        y_reversed, *backward_states = _as_list(backward)
        if self.forward_layer.return_sequences:
            y_reversed = np.flip(y_reversed, 0 if self.forward_layer.time_major else 1)
        merged = self._merged(y, y_reversed)
        new_states = [*forward_states, *backward_states]
        return [*_as_list(merged), *new_states] if new_states else merged

    def _merged(self, y: Array, y_reversed: Array) -> Structure:
        """Return both directions' outputs as the merge mode has them."""
        match self.merge_mode:
            case "concat":
                return np.concatenate([y, y_reversed], -1)
            case "sum":
                return y + y_reversed
            case "ave":
                return (y + y_reversed) / 2
            case "mul":
                return y * y_reversed
            case _:
                return [y, y_reversed]

    def compute_mask(self, inputs: Any, mask: Structure) -> Structure:
        """Return the mask of the outputs, if they are still steps."""
        del inputs
        kept = next(leaves(mask), None) if self.forward_layer.return_sequences else None
        return [kept, kept] if self.merge_mode is None else kept


def _reversed(serialized: Any, *, always: bool) -> Any:
    """Return a layer's definition, running the other way through time."""
    if not isinstance(serialized, Mapping):
        return serialized
    config = serialized.get("config")
    if not isinstance(config, Mapping):
        return serialized
    backwards = always or not config.get("go_backwards", False)
    return {**serialized, "config": {**config, "go_backwards": backwards}}


def _as_list(item: Structure) -> list[Array]:
    """Return one array or several as a list."""
    return list(item) if isinstance(item, list | tuple) else [item]


@layer("TimeDistributed")
class TimeDistributed(Layer):
    """Another layer, applied to every step by itself."""

    supports_masking = True
    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Build the layer."""
        super().__init__(definition)
        self.layer = definition.child("layer", definition.option("layer"))

    def sublayers(self) -> tuple[Layer, ...]:
        """Return the wrapped layer."""
        return (self.layer,)

    def call(self, inputs: Structure, mask: Array | None = None) -> Structure:
        """Return the layer's results, the steps of all samples being one batch.

        The wrapped layer doesn't see a mask over steps, of which it gets only one.
        """
        batch, steps = next(leaves(inputs)).shape[:2]
        flat = map_structure(
            lambda array: array.reshape(batch * steps, *array.shape[2:]), inputs
        )
        if self.generation < 3:
            return self._as_keras_2(flat, mask, (batch, steps))
        results = self.layer.run_unmasked(flat)
        return map_structure(
            lambda array: array.reshape(batch, steps, *array.shape[1:]), results
        )

    def _as_keras_2(
        self, flat: Structure, mask: Array | None, shape: tuple[int, int]
    ) -> Masked:
        """Return the results with the masks that Keras 2 gives them.

        What a mask says inside of steps reaches the layer. The layer's own mask is the
        result's; if it has none, a step counts in which anything did.
        """
        inside = None
        if mask is not None and mask.ndim > 2:
            inside = mask.reshape(shape[0] * shape[1], *mask.shape[2:])
        values = self.layer(map_structure(lambda array: Value(array, inside), flat))
        results = map_structure(
            lambda y: y.array.reshape(*shape, *y.array.shape[1:]), values
        )
        own = [y.mask for y in leaves(values)]
        if all(each is None for each in own):
            outer = mask
            if mask is not None and mask.ndim > 2:
                outer = np.asarray(mask.any(tuple(range(2, mask.ndim))))
            return Masked(results, [outer for _ in own])
        return Masked(
            results,
            [
                None if each is None else each.reshape(*shape, *each.shape[1:])
                for each in own
            ],
        )
