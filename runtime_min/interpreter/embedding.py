"""Where masks begin: Embedding looks tokens up, Masking hides empty steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition, plain
from keramos.runtime_min.interpreter.layer import Array, Layer, Masked
from keramos.runtime_min.interpreter.quantization import (
    quantization_of,
    rounded_inputs,
    stored_table,
)
from keramos.runtime_min.interpreter.registry import layer


@layer("Embedding")
class Embedding(Layer):
    """One row of a table per token; with mask_zero, token 0 doesn't count."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the table."""
        super().__init__(definition)
        shape = (definition.count("input_dim"), definition.count("output_dim"))
        self.supports_masking = definition.boolean("mask_zero", default=False)
        self.quantization = quantization_of(definition)
        if self.quantization is None:
            self.table = definition.weight("embeddings", shape)
        else:
            self.table = stored_table(definition, self.quantization, shape[1])

    def call(self, inputs: Array) -> Array | Masked:
        """Return the rows."""
        return looked_up(self.table, inputs)

    def compute_mask(self, inputs: Array, mask: Any) -> Array:
        """Return where the token isn't 0."""
        del mask
        return np.asarray(inputs != 0)


@layer("ReversibleEmbedding")
class ReversibleEmbedding(Embedding):
    """A table that is read forwards, tokens to rows, or backwards, rows to scores."""

    def __init__(self, definition: Definition) -> None:
        """Read the table, and the backward one if there is one."""
        super().__init__(definition)
        self.hides_zero, self.supports_masking = self.supports_masking, False
        self.soft_cap = definition.optional_number("logit_soft_cap")
        self.backward = self.table.T
        if definition.boolean("tie_weights", default=True):
            return
        if self.quantization is None:
            self.backward = definition.weight("backward table", self.table.shape[::-1])
        elif self.quantization.mode == "int8":
            stored = definition.stored("backward table")
            scale = definition.stored("backward scale")
            self.backward = definition.computed(stored / scale)
        else:
            raise definition.refusal(
                "its backward table is quantized as int4", "use int8, or tie_weights"
            )

    def call(self, inputs: Array, *, reverse: bool = False) -> Array | Masked:
        """Return rows, or scores."""
        if not reverse:
            rows = looked_up(self.table, inputs)
            return Masked(rows, inputs != 0) if self.hides_zero else rows
        x = inputs.astype(self.dtype)
        if self.quantization is not None:
            x = rounded_inputs(x, -1, self.quantization.limit)
        scores = x @ self.backward
        if self.soft_cap is None:
            return scores
        return np.asarray(np.tanh(scores / self.soft_cap) * self.soft_cap)


def looked_up(table: Array, tokens: Array) -> Array:
    """Return a table's rows for tokens, which may be whole floating-point numbers."""
    indices = tokens.astype(np.int64)
    if np.any((indices < 0) | (indices >= len(table))):
        raise ValueError(
            f"tokens go from 0 to {len(table) - 1}, "
            f"got {indices.min()} to {indices.max()}"
        )
    return table[indices]


@layer("Masking")
class Masking(Layer):
    """Steps in which every feature has the mask's value become 0 and don't count."""

    supports_masking = True
    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the value, or one per feature."""
        super().__init__(definition)
        self.value = np.asarray(plain(definition.option("mask_value", 0.0)))

    def call(self, inputs: Array) -> Masked:
        """Return the steps and the mask."""
        kept = np.any(inputs != self.value.astype(inputs.dtype), -1)
        return Masked(np.where(kept[..., None], inputs, 0).astype(inputs.dtype), kept)
