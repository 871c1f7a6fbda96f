"""Recurrent layers: a cell repeated over time, as one Scan.

Simple: h' = act(x K + h R + b). LSTM: i, f, o = gate(x K + h R + b) and
c' = f c + i act(...), h' = o act(c'). GRU: h' = z h + (1 - z) act(x K + (r h) R + b).
What doesn't depend on the states, x K + b, is computed for all steps at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from keramos import ops
from keramos.graph import Graph, Value, elementwise
from keramos.layers.activation import activation
from keramos.layers.definition import Definition
from keramos.layers.layer import (
    Layer,
    channels_first,
    channels_last,
    shape_text,
    spatial_rank,
)
from keramos.layers.registry import layer
from keramos.layers.structure import Structure, leaves, refilled
from keramos.primitives import Spec

# What RNNs and their gates mean changed with Keras 3.
THREE = 3
States = list[Value]


class Cell(Layer):
    """One step of a recurrent layer."""

    # Whether a step's output is its first state, so that it needn't be kept twice.
    gives_first_state: ClassVar[bool] = True

    def prepared(self, x: Value) -> Value:
        """Return what the steps read, for one step or for all steps at once."""
        return x

    def initial_states(self, x: Value) -> Structure:
        """Return the states before the first step of the sequence *x*."""
        raise NotImplementedError

    def step(self, x: Value, states: Structure) -> tuple[Value, Structure]:
        """Return the output and the next states."""
        raise NotImplementedError

    def call(self, inputs: Value, states: Structure) -> tuple[Value, Structure]:
        """Return the output and the next states for a step that isn't prepared."""
        return self.step(self.prepared(inputs), states)


class Gated(Cell):
    """What the built-in cells over vectors have in common."""

    gates: ClassVar[int] = 1
    state_count: ClassVar[int] = 1

    def __init__(self, definition: Definition) -> None:
        """Read the size, the activations and whether there is a bias."""
        super().__init__(definition)
        self.units = definition.positive("units", 1)
        self.use_bias = definition.boolean("use_bias", default=True)
        self.activation = activation(definition, default="tanh")
        definition.option("dropout")
        definition.option("unit_forget_bias")

    def kernel(self, x: Value) -> Value:
        """Return the weights of the input, all gates side by side."""
        size = x.shape[-1]
        if size is None:
            raise self.definition.refusal(
                "its input has an unknown number of features",
                "give it with --input-shape",
            )
        return self.definition.weight("kernel", (size, self.gates * self.units))

    def recurrent_kernel(self) -> Value:
        """Return the weights of the state, all gates side by side."""
        shape = (self.units, self.gates * self.units)
        return self.definition.weight("recurrent_kernel", shape)

    def bias(self) -> Value | None:
        """Return the bias that is added to the input's part."""
        if not self.use_bias:
            return None
        return self.definition.weight("bias", (self.gates * self.units,))

    def prepared(self, x: Value) -> Value:
        """Return x K + b."""
        kernel = self.kernel(x)
        self.recurrent_kernel()
        y, bias = ops.matmul(x, kernel), self.bias()
        return y if bias is None else y + bias

    def initial_states(self, x: Value) -> Structure:
        """Return zeros."""
        del x
        return [ops.zeros((self.units,)) for _ in range(self.state_count)]


@layer("SimpleRNNCell")
class SimpleRNNCell(Gated):
    """``h' = act(x K + h R + b)``."""

    def step(self, x: Value, states: Structure) -> tuple[Value, Structure]:
        """Return the next state twice."""
        (h,) = states
        h = self.activation(x + ops.matmul(h, self.recurrent_kernel()))
        return h, [h]


@layer("LSTMCell")
class LSTMCell(Gated):
    """Long short-term memory; the gates stand in the order i, f, c, o."""

    gates = 4
    state_count = 2

    def __init__(self, definition: Definition) -> None:
        """Read the activation of the gates too."""
        super().__init__(definition)
        self.gate = activation(
            definition, "recurrent_activation", _default_gate(definition)
        )

    def step(self, x: Value, states: Structure) -> tuple[Value, Structure]:
        """Return the next output and the next states h and c."""
        h, c = states
        joint = x + ops.matmul(h, self.recurrent_kernel())
        i, f, candidate, o = ops.split(joint, self.gates)
        c = elementwise(
            lambda keep, old, take, new: keep * old + take * new,
            self.gate(f),
            c,
            self.gate(i),
            self.activation(candidate),
        )
        h = self.gate(o) * self.activation(c)
        return h, [h, c]


def _default_gate(definition: Definition) -> str:
    """Return what the gates are activated by where the file says nothing."""
    return "sigmoid" if definition.generation >= THREE else "hard_sigmoid"


@layer("GRUCell")
class GRUCell(Gated):
    """Gated recurrent unit; the gates stand in the order z, r, h."""

    gates = 3

    def __init__(self, definition: Definition) -> None:
        """Read when the reset gate is applied, too.

        Files that don't say were written before the option was there, or by Keras 3.
        """
        super().__init__(definition)
        self.gate = activation(
            definition, "recurrent_activation", _default_gate(definition)
        )
        default = definition.generation >= THREE
        self.reset_after = definition.boolean("reset_after", default=default)

    def bias(self) -> Value | None:
        """Return the bias of the input's part: the first of two with reset_after."""
        biases = self._biases()
        return None if biases is None else biases[0]

    def _biases(self) -> tuple[Value, Value | None] | None:
        """Return the biases of the input's and of the state's part."""
        size = self.gates * self.units
        if not self.use_bias:
            return None
        if not self.reset_after:
            return self.definition.weight("bias", (size,)), None
        both = self.definition.weight("bias", (2, size))
        return both[0], both[1]

    def step(self, x: Value, states: Structure) -> tuple[Value, Structure]:
        """Return the next state twice."""
        (h,) = states
        kernel, u = self.recurrent_kernel(), self.units
        x_gates, x_candidate = x[: 2 * u], x[2 * u :]
        biases = self._biases()
        if self.reset_after:
            joint = ops.matmul(h, kernel)
            if biases is not None and biases[1] is not None:
                joint = joint + biases[1]
            z, r = ops.split(self.gate(x_gates + joint[: 2 * u]), 2)
            new = self.activation(x_candidate + r * joint[2 * u :])
        else:
            joint = ops.matmul(h, kernel[:, : 2 * u])
            z, r = ops.split(self.gate(x_gates + joint), 2)
            new = self.activation(x_candidate + ops.matmul(r * h, kernel[:, 2 * u :]))
        h = elementwise(lambda a, b, c: a * b + (1.0 - a) * c, z, h, new)
        return h, [h]


@layer("StackedRNNCells")
class StackedRNNCells(Cell):
    """Cells one behind the other, each with its states."""

    gives_first_state = False

    def __init__(self, definition: Definition) -> None:
        """Make the cells."""
        super().__init__(definition)
        cells = definition.option("cells", [])
        if not isinstance(cells, list) or not cells:
            raise definition.refusal("has no cells")
        self.cells = [
            cell_of(definition, str(number), cell) for number, cell in enumerate(cells)
        ]

    def prepared(self, x: Value) -> Value:
        """Prepare the first cell's input; the others' come step by step."""
        return self.cells[0].prepared(x)

    def initial_states(self, x: Value) -> Structure:
        """Return a list for each cell."""
        return [cell.initial_states(x) for cell in self.cells]

    def step(self, x: Value, states: Structure) -> tuple[Value, Structure]:
        """Return the last cell's output and all next states."""
        y, first = self.cells[0].step(x, states[0])
        new = [first]
        for cell, given in zip(self.cells[1:], states[1:], strict=True):
            y, later = cell.step(cell.prepared(y), given)
            new.append(later)
        return y, new

    def check_weights(self) -> None:
        """Check the cells' weights."""
        for cell in self.cells:
            cell.check_weights()


def cell_of(definition: Definition, attribute: str, serialized: object) -> Cell:
    """Return a cell that an option defines; refuse layers that aren't cells."""
    made = definition.child(attribute, serialized)
    if not isinstance(made, Cell):
        raise definition.refusal(
            f"its cell is a {made.definition.class_name}, which isn't a cell"
        )
    return made


class Recurrence(Layer):
    """What recurrent layers have in common: a loop over time that obeys masks."""

    supports_masking = True

    def __init__(self, definition: Definition, cell: Cell) -> None:
        """Read the options of the loop."""
        super().__init__(definition)
        self.cell = cell
        self.return_sequences = definition.boolean("return_sequences", default=False)
        self.return_state = definition.boolean("return_state", default=False)
        self.go_backwards = definition.boolean("go_backwards", default=False)
        self.unrolled = definition.boolean("unroll", default=False)
        self.zero_output_for_mask = definition.boolean(
            "zero_output_for_mask", default=False
        )
        self.stateful = definition.boolean("stateful", default=False)
        definition.refuse("time_major", (False,), "but Keramos has the batch in front")
        definition.refuse(
            "num_constants", (None, 0), "which only Keras' own loop gives"
        )

    @property
    def zeroes(self) -> bool:
        """Return whether the outputs of masked steps are 0.

        Keras 3 forgets that where it unrolls the loop.
        """
        forgets = self.unrolled and self.definition.generation >= THREE
        return self.zero_output_for_mask and not forgets

    @property
    def repeats(self) -> bool:
        """Return whether masked steps repeat what came out last, zeros at first.

        So it is in the Keras 2 of TensorFlow; others take the first state.
        """
        return self.definition.generation < THREE and self.definition.is_tf_keras

    def call(
        self,
        sequences: Structure,
        initial_state: Structure = None,
        mask: Structure = None,
    ) -> Structure:
        """Return the last output or all outputs, and the last states if asked for."""
        x, states, stated = self._arguments(sequences, initial_state)
        mask = next(leaves(mask), None)
        if mask is not None and len(mask.shape) != 1:
            raise self.definition.refusal(
                f"its mask of shape {shape_text(mask)} isn't one of steps"
            )
        outputs, last, new_states = self._loop(x, states, mask, stated=stated)
        if self.stateful:
            self.definition.keep([*leaves(new_states)])
        result = self._turned(outputs) if self.return_sequences else last
        if not self.return_state:
            return result
        return [result, *leaves(new_states)]

    def _turned(self, outputs: Value) -> Value:
        """Return the outputs in the order in which they were made."""
        return ops.flip(outputs, 0) if self.go_backwards else outputs

    def _arguments(
        self, sequences: Structure, initial_state: Structure
    ) -> tuple[Value, Structure, bool]:
        """Return the sequence, the first states, and whether they may not be zeros."""
        if isinstance(sequences, list | tuple):  # Keras 2: [x, *states]
            sequences, *rest = sequences
            initial_state = rest or initial_state
        x = ops.cast(sequences, "float32")
        states = self.cell.initial_states(x)
        given = [s for s in leaves(initial_state) if s is not None]
        if self.stateful:
            kept = self.definition.states([zeros.spec for zeros in leaves(states)])
            self._check_order(x, kept)
            given = given or kept
        if not given:
            return x, states, False
        count = len(list(leaves(states)))
        if len(given) != count:
            raise self.definition.refusal(
                f"has {count} states, and is given {len(given)}"
            )
        return x, refilled(states, given), True

    def _check_order(self, x: Value, states: Sequence[Value]) -> None:
        """Refuse a call that doesn't read what came out of the call before it."""
        before = {state.node for state in states if state.node is not None}
        if before - {*Graph((), (x,), ("",)).nodes}:
            raise self.definition.refusal(
                "is stateful and called more than once side by side, so that its states"
                " depend on which call comes first",
                "give each call a layer of its own",
            )

    def _loop(
        self, x: Value, states: Structure, mask: Value | None, *, stated: bool
    ) -> tuple[Value, Value, Structure]:
        """Return all outputs in the order of x, the last one, and the last states."""
        cell = self.cell
        # Where the outputs of masked steps start from zeros, they need a state.
        keeps = (
            mask is not None
            and stated
            and not self.zeroes
            and (self.unrolled or self.repeats)
        )

        def step(*given: Value) -> tuple[Sequence[Value], Sequence[Value]]:
            items = list(given)
            now = items.pop(0)
            counts = items.pop(0) if mask is not None else None
            before = items.pop() if keeps else None
            old = refilled(states, items)
            y, new = cell.step(now, old)
            if counts is not None:
                y = self._masked(y, counts, old, before)
                new = refilled(
                    new,
                    [
                        ops.where(counts, after, kept)
                        for after, kept in zip(leaves(new), leaves(old), strict=True)
                    ],
                )
            return [*leaves(new), *([y] if keeps else [])], [y]

        prepared = cell.prepared(x)
        sequences = [prepared] if mask is None else [prepared, ops.cast(mask, "bool")]
        start = [*leaves(states)]
        if keeps:
            element = Value(Spec(prepared.shape[1:], prepared.dtype))
            y, _ = cell.step(element, states)
            start.append(ops.zeros([d or 0 for d in y.shape]))
        (outputs,), last = ops.scan(step, sequences, start, reverse=self.go_backwards)
        ends = refilled(states, last)
        first_state = cell.gives_first_state and not self.zeroes
        if keeps:
            final = last[-1]
        elif (mask is None and cell.gives_first_state) or first_state:
            final = last[0]
        else:
            final = outputs[0] if self.go_backwards else outputs[-1]
        return outputs, final, ends

    def _masked(
        self, y: Value, counts: Value, old: Structure, before: Value | None
    ) -> Value:
        """Return the output of a step, where it is masked that of the step before."""
        if self.zeroes:
            return ops.where(counts, y, 0.0)
        if before is None:
            last = old[-1] if isinstance(old[0], list | tuple) else old
            before = last[0]
        return ops.where(counts, y, before)

    def compute_mask(self, inputs: object, mask: Structure) -> Structure:
        """Return the mask of the steps, where they are returned."""
        del inputs
        steps = next(leaves(mask), None) if self.return_sequences else None
        return [steps]

    def check_weights(self) -> None:
        """Check the cell's weights."""
        self.cell.check_weights()


@layer("SimpleRNN", "LSTM", "GRU")
class VectorRecurrence(Recurrence):
    """A built-in cell over a sequence of vectors."""

    cells: ClassVar[dict[str, type[Gated]]] = {
        "SimpleRNN": SimpleRNNCell,
        "LSTM": LSTMCell,
        "GRU": GRUCell,
    }

    def __init__(self, definition: Definition) -> None:
        """Make the cell, whose options stand beside those of the loop."""
        super().__init__(definition, self.cells[definition.class_name](definition))

    def check_weights(self) -> None:
        """Check the weights, which are the cell's."""
        Layer.check_weights(self)


@layer("RNN")
class RNN(Recurrence):
    """A cell of its own definition over a sequence."""

    def __init__(self, definition: Definition) -> None:
        """Make the cell."""
        super().__init__(
            definition, cell_of(definition, "cell", definition.option("cell"))
        )


class ConvLSTMCell(Cell):
    """An LSTM whose products with weights are convolutions; channels come last."""

    def __init__(self, definition: Definition) -> None:
        """Read the options of the convolutions and the activations."""
        super().__init__(definition)
        self.rank = spatial_rank(definition.class_name)
        self.filters = definition.positive("filters", 1)
        self.kernel_size = definition.sizes("kernel_size", self.rank, 1)
        self.strides = definition.sizes("strides", self.rank, 1)
        self.dilation = definition.sizes("dilation_rate", self.rank, 1)
        self.padding = definition.choice("padding", ("valid", "same"), "valid")
        self.use_bias = definition.boolean("use_bias", default=True)
        self.activation = activation(definition, default="tanh")
        gate = _default_gate(definition)
        self.gate = activation(definition, "recurrent_activation", gate)
        definition.option("unit_forget_bias")
        definition.option("dropout")

    def _projected(self, x: Value) -> Value:
        """Return the convolution of one step of the input."""
        channels = x.shape[-1]
        weight = self.definition.weight
        kernel = weight("kernel", (*self.kernel_size, channels, 4 * self.filters))
        weight("recurrent_kernel", (*self.kernel_size, self.filters, 4 * self.filters))
        y = ops.conv(
            x,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
        )
        return y + weight("bias", (4 * self.filters,)) if self.use_bias else y

    def initial_states(self, x: Value) -> Structure:
        """Return zeros in the shape of a step's result."""
        if None in x.shape[1:]:
            raise self.definition.refusal(
                f"its input of shape {shape_text(x)} needs steps of known shape",
                "give it with --input-shape",
            )
        template = self._projected(ops.zeros([d or 0 for d in x.shape[1:]]))
        shape = [*(d or 0 for d in template.shape[:-1]), self.filters]
        return [ops.zeros(shape), ops.zeros(shape)]

    def step(self, x: Value, states: Structure) -> tuple[Value, Structure]:
        """Return the next output and the next states h and c."""
        h, c = states
        shape = (*self.kernel_size, self.filters, 4 * self.filters)
        kernel = self.definition.weight("recurrent_kernel", shape)
        joint = self._projected(x) + ops.conv(h, kernel, padding="same")
        i, f, candidate, o = ops.split(joint, 4)
        c = elementwise(
            lambda keep, old, take, new: keep * old + take * new,
            self.gate(f),
            c,
            self.gate(i),
            self.activation(candidate),
        )
        h = self.gate(o) * self.activation(c)
        return h, [h, c]


@layer("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
class ConvLSTM(Recurrence):
    """A convolutional LSTM over a sequence of images."""

    def __init__(self, definition: Definition) -> None:
        """Make the cell, whose options stand beside those of the loop."""
        super().__init__(definition, ConvLSTMCell(definition))
        self.channels_first = definition.channels_first()

    def call(
        self,
        sequences: Structure,
        initial_state: Structure = None,
        mask: Structure = None,
    ) -> Structure:
        """Return the outputs; channels-first is turned around the loop."""
        if not self.channels_first:
            return super().call(sequences, initial_state, mask)
        if isinstance(sequences, list | tuple):
            sequences, *rest = sequences
            initial_state = rest or initial_state
        rank = len(sequences.shape)
        x = ops.transpose(sequences, (0, *range(2, rank), 1))
        states = [channels_last(s) for s in leaves(initial_state) if s is not None]
        outputs = super().call(x, states, mask)
        if not self.return_state:
            return self._first(outputs)
        y, *states = outputs
        return [self._first(y), *map(channels_first, states)]

    def _first(self, y: Value) -> Value:
        """Return an output with the channels in front of the image."""
        if not self.return_sequences:
            return channels_first(y)
        rank = len(y.shape)
        return ops.transpose(y, (0, rank - 1, *range(1, rank - 1)))

    def check_weights(self) -> None:
        """Check the weights, which are the cell's."""
        Layer.check_weights(self)
