"""Recurrent layers: a cell, step after step, with Keras' rules for masked steps."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from keramos.runtime_min.interpreter.cells import (
    Cell,
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    States,
    shared_cell,
)
from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer, broadcast_mask
from keramos.runtime_min.interpreter.registry import layer
from keramos.runtime_min.interpreter.structure import Structure, leaves


class Recurrent(Layer):
    """The loop over time, which all recurrent layers share."""

    supports_masking = True

    def __init__(self, definition: Definition, cell: Cell) -> None:
        """Read the options of the loop."""
        super().__init__(definition)
        self.cell = cell
        self.return_sequences = definition.boolean("return_sequences", default=False)
        self.return_state = definition.boolean("return_state", default=False)
        self.go_backwards = definition.boolean("go_backwards", default=False)
        self.stateful = definition.boolean("stateful", default=False)
        self.unroll = definition.boolean("unroll", default=False)
        self.time_major = definition.boolean("time_major", default=False)
        self.zero_output_for_mask = definition.boolean(
            "zero_output_for_mask", default=False
        )
        self.states: States | None = None

    def sublayers(self) -> tuple[Layer, ...]:
        """Return the cell."""
        return (self.cell,)

    def reset_states(self) -> None:
        """Start from zeros again."""
        self.states = None

    def call(
        self,
        sequences: Structure,
        initial_state: Structure = None,
        mask: Structure = None,
    ) -> Structure:
        """Return the outputs of all steps or of the last, and the states if asked for.

        Keras 2 passes initial states behind the sequence, in one list.
        """
        if isinstance(sequences, list | tuple):
            sequences, *others = sequences
            initial_state = others or initial_state
        kept = next(leaves(mask), None)
        if self.time_major:
            sequences = np.swapaxes(sequences, 0, 1)
        outputs, states = self._run(sequences, initial_state, kept)
        y = outputs if self.return_sequences else outputs[:, -1]
        if self.time_major and self.return_sequences:
            y = np.swapaxes(y, 0, 1)
        return [y, *states] if self.return_state else y

    def _run(
        self, sequences: Array, initial_state: Structure, mask: Array | None
    ) -> tuple[Array, States]:
        """Return every step's output, in the order of the steps' processing."""
        states = self._first_states(sequences, initial_state)
        steps = range(sequences.shape[1])
        outputs: list[Array] = []
        for step in reversed(steps) if self.go_backwards else steps:
            y, new_states = self.cell.call(sequences[:, step], states)
            if mask is None:
                states = new_states
            else:
                kept = mask[:, step]
                y = chosen(kept, y, self._masked_output(outputs, states, y))
                states = [
                    chosen(kept, new, old)
                    for new, old in zip(new_states, states, strict=True)
                ]
            outputs.append(y)
        if self.stateful and len(sequences):
            self.states = states
        return np.stack(outputs, 1), states

    def _first_states(self, sequences: Array, initial_state: Structure) -> States:
        """Return the states to begin with: given, kept from the last call, or zeros.

        An empty batch neither uses nor leaves a state.
        """
        if initial_state is not None:
            return list(leaves(initial_state))
        if not self.stateful or self.states is None or not len(sequences):
            return self.cell.initial_states(sequences[:, 0])
        if len(self.states[0]) != len(sequences):
            raise ValueError(
                f"the states are those of a batch of {len(self.states[0])}, "
                f"got {len(sequences)}: call reset_states() first"
            )
        return self.states

    def _masked_output(self, outputs: list[Array], states: States, y: Array) -> Array:
        """Return what a masked step gives.

        Keras 3 takes the previous output from the states; tf.keras, and every
        unrolled loop, repeat what came out last, and begin with zeros; the Keras 2
        that wasn't part of TensorFlow takes the first state. Zeros on demand are
        what only the unrolled loop of Keras 3 forgets.
        """
        if self.zero_output_for_mask and not (self.unroll and self.generation >= 3):
            return np.zeros_like(y)
        if self.unroll or (self.generation < 3 and self.definition.is_tf_keras):
            return outputs[-1] if outputs else np.zeros_like(y)
        return self.cell.output_state(states)

    def compute_mask(self, inputs: Any, mask: Structure) -> Structure:
        """Return the mask of the outputs, if they are still steps."""
        del inputs
        return next(leaves(mask), None) if self.return_sequences else None


def chosen(kept: Array, new: Array, old: Array) -> Array:
    """Return *new* for the samples that are kept, *old* for the others."""
    return np.where(broadcast_mask(kept, new.ndim), new, old)


@layer("RNN")
class RNN(Recurrent):
    """Any cell, or several on top of each other."""

    def __init__(self, definition: Definition) -> None:
        """Build the cell."""
        serialized = definition.option("cell")
        if isinstance(serialized, list | tuple):
            config = {"cells": serialized}
            serialized = {"class_name": "StackedRNNCells", "config": config}
        super().__init__(definition, shared_cell(definition, "cell", serialized))


class WithOwnCell(Recurrent):
    """A layer whose options are also those of its cell."""

    cell_class: ClassVar[type[Cell]]

    def __init__(self, definition: Definition) -> None:
        """Build the cell."""
        super().__init__(definition, self.cell_class(definition))


@layer("SimpleRNN")
class SimpleRNN(WithOwnCell):
    """h = activation(x . K + h . R + b)."""

    cell_class = SimpleRNNCell


@layer("LSTM")
class LSTM(WithOwnCell):
    """Long short-term memory."""

    cell_class = LSTMCell


@layer("GRU")
class GRU(WithOwnCell):
    """Gated recurrent unit."""

    cell_class = GRUCell
