"""ConvLSTM: an LSTM whose products are convolutions; gates i, f, c', o side by side."""

from __future__ import annotations

import numpy as np

from keramos.runtime_min.interpreter.cells import (
    Cell,
    States,
    recurrent_activation_default,
)
from keramos.runtime_min.interpreter.convolution import convolution, rank_of
from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array
from keramos.runtime_min.interpreter.recurrent import WithOwnCell
from keramos.runtime_min.interpreter.registry import layer
from keramos.runtime_min.interpreter.windows import (
    from_channels_last,
    padded,
    to_channels_last,
)


class ConvLSTMCell(Cell):
    """c = f * c + i * activation(c'), h = o * activation(c), position by position."""

    state_count = 2

    def __init__(self, definition: Definition) -> None:
        """Read the window of the input's convolution and both kernels."""
        super().__init__(definition)
        rank = rank_of(definition)
        self.filters = definition.count("filters")
        self.kernel_size = definition.sizes("kernel_size", rank)
        self.strides = definition.sizes("strides", rank, 1)
        self.dilations = definition.sizes("dilation_rate", rank, 1)
        self.padding = definition.choice("padding", ("valid", "same"), "valid")
        self.channels_first = definition.channels_first()
        self.activation = definition.activation("activation", "tanh")
        self.recurrent_activation = definition.activation(
            "recurrent_activation", recurrent_activation_default(definition)
        )
        width = 4 * self.filters
        self.kernel = definition.weight("kernel", (*self.kernel_size, None, width))
        self.recurrent_kernel = definition.weight(
            "recurrent kernel", (*self.kernel_size, self.filters, width)
        )
        self.bias: Array | float = 0.0
        if definition.boolean("use_bias", default=True):
            self.bias = definition.weight("bias", (width,))

    def initial_states(self, step: Array) -> States:
        """Return zeros of the size that the input's convolution leaves."""
        sums = self._from_input(step)
        shape = (*sums.shape[:-1], self.filters)
        zeros = from_channels_last(
            np.zeros(shape, self.dtype), channels_first=self.channels_first
        )
        return [zeros, zeros]

    def call(self, inputs: Array, states: States) -> tuple[Array, States]:
        """Return h and the states h, c."""
        h, c = (
            to_channels_last(state, channels_first=self.channels_first)
            for state in states
        )
        ones = (1,) * len(self.kernel_size)
        inner = convolution(
            padded(h, "same", self.kernel_size, ones, ones),
            self.recurrent_kernel,
            ones,
            ones,
        )
        i, f, candidate, o = np.split(self._from_input(inputs) + inner, 4, -1)
        gate = self.recurrent_activation
        c = gate(f) * c + gate(i) * self.activation(candidate)
        h = gate(o) * self.activation(c)
        h, c = (
            from_channels_last(state, channels_first=self.channels_first)
            for state in (h, c)
        )
        return h, [h, c]

    def _from_input(self, inputs: Array) -> Array:
        """Return the input's share of the gates, channels last."""
        x = to_channels_last(inputs, channels_first=self.channels_first)
        x = padded(x, self.padding, self.kernel_size, self.strides, self.dilations)
        return convolution(x, self.kernel, self.strides, self.dilations) + self.bias


@layer("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
class ConvLSTM(WithOwnCell):
    """A ConvLSTM over a sequence of signals, images or volumes."""

    cell_class = ConvLSTMCell
