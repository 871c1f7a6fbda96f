"""Layers around a layer: TimeDistributed for each step, Bidirectional both ways."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence

from keramos import ops
from keramos.graph import Value
from keramos.layers.definition import Definition
from keramos.layers.layer import MASKS_NAMED_SINCE, Layer, Masked
from keramos.layers.recurrent import Recurrence
from keramos.layers.registry import layer
from keramos.layers.structure import Structure, leaves

MODES = ("concat", "sum", "ave", "mul")


@layer("TimeDistributed")
class TimeDistributed(Layer):
    """The same layer for every step."""

    supports_masking = True
    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Make the layer."""
        super().__init__(definition)
        self.layer: Layer = definition.child("layer", definition.option("layer"))

    def call(self, inputs: Value, mask: Value | None = None) -> Structure:
        """Return the results of all steps."""
        if not inputs.shape:
            raise self.definition.refusal("its input has no steps")
        if not self.layer.keeps_integers:
            inputs = ops.cast(inputs, "float32")
        if self.definition.generation < MASKS_NAMED_SINCE:
            return self._with_inner_masks(inputs, mask)
        wants_mask = "mask" in inspect.signature(self.layer.call).parameters
        if self.layer.lowers_leading_axes and not (wants_mask and mask is not None):
            return self.layer.call(inputs)

        def step(x: Value, *rest: Value) -> tuple[Sequence[Value], Sequence[Value]]:
            given = {"mask": rest[0]} if rest else {}
            outputs = list(leaves(self.layer.call(x, **given)))
            return [], [y.value if isinstance(y, Masked) else y for y in outputs]

        masks = [mask] if wants_mask and mask is not None else []
        outputs = self._scanned(step, [inputs, *masks])
        if len(outputs) != 1:
            raise self.definition.refusal("its layer has more than one output")
        return outputs[0]

    def _with_inner_masks(self, inputs: Value, mask: Value | None) -> Masked:
        """Return the results as in Keras 2, whose steps have masks of their own.

        A mask of the steps inside of steps reaches the layer, and the layer's own
        mask becomes one; where there is none, a step counts of which anything did.
        """
        inside = mask if mask is not None and len(mask.shape) > 1 else None

        def step(x: Value, *rest: Value) -> tuple[Sequence[Value], Sequence[Value]]:
            made = self._single(Masked(x, rest[0] if rest else None))
            return [], [made.value, *([] if made.mask is None else [made.mask])]

        if self.layer.lowers_leading_axes and inside is None:
            result = self._single(Masked(inputs))
        else:
            masks = [] if inside is None else [inside]
            outputs = self._scanned(step, [inputs, *masks])
            result = Masked(outputs[0], outputs[1] if len(outputs) > 1 else None)
        if result.mask is not None or mask is None:
            return result
        counted = mask if inside is None else ops.max(mask, range(1, len(mask.shape)))
        return Masked(result.value, counted)

    def _scanned(
        self,
        step: Callable[..., tuple[Sequence[Value], Sequence[Value]]],
        sequences: Sequence[Value],
    ) -> tuple[Value, ...]:
        """Return what all steps give, each by itself."""
        states = dict(self.definition.session.states)
        outputs, _ = ops.scan(step, sequences, [])
        if states != self.definition.session.states:
            raise self.definition.refusal(
                "its layer is stateful, so that each step depends on the one before",
                "put a recurrent layer around it instead",
            )
        return outputs

    def _single(self, x: Masked) -> Masked:
        """Return the layer's only output."""
        outputs = [y for y in leaves(self.layer(x)) if isinstance(y, Masked)]
        if len(outputs) != 1:
            raise self.definition.refusal("its layer has more than one output")
        return outputs[0]

    def check_weights(self) -> None:
        """Check the layer's weights."""
        self.layer.check_weights()


@layer("Bidirectional")
class Bidirectional(Layer):
    """A recurrent layer forwards and one backwards, merged."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Make both layers."""
        super().__init__(definition)
        inner = definition.option("layer")
        other = definition.option("backward_layer")
        self.mode: str | None = None
        if definition.option("merge_mode", "concat") is not None:
            self.mode = definition.choice("merge_mode", MODES, "concat")
        self.forward = self._recurrent("forward_layer", inner)
        self.backward = self._recurrent("backward_layer", other or _reversed(inner))
        # Keras without TensorFlow (until 2.3) let masked outputs be.
        if definition.is_tf_keras:
            for each in (self.forward, self.backward):
                each.zero_output_for_mask = each.return_sequences

    def _recurrent(self, attribute: str, serialized: object) -> Recurrence:
        """Return one of the two layers."""
        made = self.definition.child(attribute, serialized)
        if not isinstance(made, Recurrence):
            raise self.definition.refusal(
                f"its layer is a {made.definition.class_name}, which isn't recurrent"
            )
        return made

    def call(
        self,
        sequences: Structure,
        initial_state: Structure = None,
        mask: Structure = None,
        constants: Structure = None,
    ) -> Structure:
        """Return the merged outputs, and the states of both if asked for."""
        if any(leaf is not None for leaf in leaves(constants)):
            raise self.definition.refusal("is called with constants")
        if isinstance(sequences, list | tuple):  # Keras 2: [x, *states]
            sequences, *rest = sequences
            initial_state = rest or initial_state
        states = [s for s in leaves(initial_state) if s is not None]
        half = len(states) // 2
        steps = next(leaves(mask), None)
        there = list(leaves(self.forward.call(sequences, states[:half] or None, steps)))
        back = list(leaves(self.backward.call(sequences, states[half:] or None, steps)))
        y, z = there[0], back[0]
        if self.backward.return_sequences:
            z = ops.flip(z, 0)
        merged = self._merged(y, z)
        if not self.forward.return_state:
            return merged[0] if len(merged) == 1 else merged
        return [*merged, *there[1:], *back[1:]]

    def _merged(self, y: Value, z: Value) -> list[Value]:
        """Return the two outputs as one, or both."""
        match self.mode:
            case "concat":
                return [ops.concatenate([y, z], -1)]
            case "sum":
                return [y + z]
            case "ave":
                return [(y + z) / 2.0]
            case "mul":
                return [y * z]
            case _:
                return [y, z]

    def compute_mask(self, inputs: object, mask: Structure) -> Structure:
        """Return the mask of the steps, where they are returned."""
        del inputs
        steps = next(leaves(mask), None) if self.forward.return_sequences else None
        return [steps] if self.mode else [steps, steps]

    def check_weights(self) -> None:
        """Check the weights of both."""
        self.forward.check_weights()
        self.backward.check_weights()


def _reversed(serialized: object) -> object:
    """Return the definition of a recurrent layer that goes the other way."""
    if not isinstance(serialized, Mapping):
        return serialized
    config = serialized.get("config")
    if not isinstance(config, Mapping):
        return serialized
    turned = {**config, "go_backwards": not config.get("go_backwards", False)}
    return {**serialized, "config": turned}
