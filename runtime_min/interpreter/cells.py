"""Recurrent cells: from one step's input and the states to an output and new states."""

from __future__ import annotations

from itertools import accumulate, pairwise

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer

States = list[Array]


class Cell(Layer):
    """One step of a recurrent layer."""

    state_count: int = 1

    def initial_states(self, step: Array) -> States:
        """Return states of zeros for a batch like that of *step*, one step's input."""
        raise NotImplementedError

    def call(self, inputs: Array, states: States) -> tuple[Array, States]:
        """Return the step's output and the states behind it."""
        raise NotImplementedError

    def output_state(self, states: States) -> Array:
        """Return the state that was the previous output."""
        return states[0]


class DenseCell(Cell):
    """A cell whose gates are matrix products: gates side by side in the kernels."""

    gates: int = 1

    def __init__(self, definition: Definition) -> None:
        """Read the kernels and the bias."""
        super().__init__(definition)
        self.units = definition.count("units")
        self.activation = definition.activation("activation", "tanh")
        self.use_bias = definition.boolean("use_bias", default=True)
        width = self.gates * self.units
        self.kernel = definition.weight("kernel", (None, width))
        self.recurrent_kernel = definition.weight(
            "recurrent kernel", (self.units, width)
        )

    def initial_states(self, step: Array) -> States:
        """Return zeros."""
        shape = (len(step), self.units)
        return [np.zeros(shape, self.dtype) for _ in range(self.state_count)]

    def bias_of(self, *shape: int) -> Array:
        """Return the bias, zeros where the cell has none."""
        if not self.use_bias:
            return np.zeros(shape, self.dtype)
        return self.definition.weight("bias", shape)


def recurrent_activation_default(definition: Definition) -> str:
    """Return what a file means that doesn't say: the default changed with Keras 3."""
    return "hard_sigmoid" if definition.generation < 3 else "sigmoid"


@layer("SimpleRNNCell")
class SimpleRNNCell(DenseCell):
    """h = activation(x . K + h . R + b)."""

    def __init__(self, definition: Definition) -> None:
        """Read the bias."""
        super().__init__(definition)
        self.bias = self.bias_of(self.units)

    def call(self, inputs: Array, states: States) -> tuple[Array, States]:
        """Return h, which is also the state."""
        sums = inputs @ self.kernel + self.bias + states[0] @ self.recurrent_kernel
        h = self.activation(sums)
        return h, [h]


@layer("LSTMCell")
class LSTMCell(DenseCell):
    """c = f * c + i * activation(c'), h = o * activation(c); gates i, f, c', o."""

    gates = 4
    state_count = 2

    def __init__(self, definition: Definition) -> None:
        """Read the gates' activation and the bias."""
        super().__init__(definition)
        self.recurrent_activation = definition.activation(
            "recurrent_activation", recurrent_activation_default(definition)
        )
        self.bias = self.bias_of(4 * self.units)

    def call(self, inputs: Array, states: States) -> tuple[Array, States]:
        """Return h and the states h, c."""
        h, c = states
        sums = inputs @ self.kernel + self.bias + h @ self.recurrent_kernel
        i, f, candidate, o = np.split(sums, 4, -1)
        gate = self.recurrent_activation
        c = gate(f) * c + gate(i) * self.activation(candidate)
        h = gate(o) * self.activation(c)
        return h, [h, c]


@layer("GRUCell")
class GRUCell(DenseCell):
    """h = z * h + (1 - z) * activation(candidate); gates z, r, candidate.

    The reset gate r works before the candidate's recurrent product, or behind it
    (``reset_after``), where the recurrent side has its own bias.
    """

    gates = 3

    def __init__(self, definition: Definition) -> None:
        """Read the gates' activation, the side of the reset gate, and the biases."""
        super().__init__(definition)
        self.recurrent_activation = definition.activation(
            "recurrent_activation", recurrent_activation_default(definition)
        )
        # Without the key, a file is older than the option: before the product.
        newest = definition.generation >= 3
        self.reset_after = definition.boolean("reset_after", default=newest)
        width = 3 * self.units
        if self.reset_after:
            self.bias, self.recurrent_bias = self.bias_of(2, width)
        else:
            self.bias = self.bias_of(width)
            self.recurrent_bias = np.zeros(width, self.dtype)

    def call(self, inputs: Array, states: States) -> tuple[Array, States]:
        """Return h, which is also the state."""
        h = states[0]
        x_z, x_r, x_h = np.split(inputs @ self.kernel + self.bias, 3, -1)
        kernel_z, kernel_r, kernel_h = np.split(self.recurrent_kernel, 3, -1)
        bias_z, bias_r, bias_h = np.split(self.recurrent_bias, 3)
        z = self.recurrent_activation(x_z + h @ kernel_z + bias_z)
        r = self.recurrent_activation(x_r + h @ kernel_r + bias_r)
        if self.reset_after:
            candidate = self.activation(x_h + r * (h @ kernel_h + bias_h))
        else:
            candidate = self.activation(x_h + (r * h) @ kernel_h)
        h = z * h + (1 - z) * candidate
        return h, [h]


@layer("StackedRNNCells")
class StackedRNNCells(Cell):
    """Cells of which each takes the output of the one before."""

    def __init__(self, definition: Definition) -> None:
        """Build the cells, which read their weights in turn."""
        super().__init__(definition)
        if definition.boolean("reverse_state_order", default=False):
            raise definition.refusal(
                "reverse_state_order is true, which Keras gave up", "set it to false"
            )
        cells = definition.option("cells")
        if not isinstance(cells, list | tuple) or not cells:
            raise definition.refusal("cells isn't a list of cells")
        self.cells = [shared_cell(definition, "cells", cell) for cell in cells]
        self.state_count = sum(cell.state_count for cell in self.cells)

    def sublayers(self) -> tuple[Layer, ...]:
        """Return the cells."""
        return tuple(self.cells)

    def initial_states(self, step: Array) -> States:
        """Return all cells' zeros."""
        return [state for cell in self.cells for state in cell.initial_states(step)]

    def call(self, inputs: Array, states: States) -> tuple[Array, States]:
        """Return the last cell's output and all states."""
        bounds = accumulate((cell.state_count for cell in self.cells), initial=0)
        new_states: States = []
        for cell, (start, stop) in zip(self.cells, pairwise(bounds), strict=True):
            inputs, own = cell.call(inputs, states[start:stop])
            new_states.extend(own)
        return inputs, new_states

    def output_state(self, states: States) -> Array:
        """Return the last cell's output state."""
        last = self.cells[-1]
        return last.output_state(states[len(states) - last.state_count :])


def shared_cell(definition: Definition, attribute: str, serialized: object) -> Cell:
    """Return the cell that an option defines; its weights are the owner's next ones."""
    own = definition.child_definition(attribute, serialized, own_weights=False)
    cell = definition.context.build(own)
    if not isinstance(cell, Cell):
        raise own.refusal("isn't a recurrent cell")
    return cell
