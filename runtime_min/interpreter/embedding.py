"""Where masks begin: Embedding looks tokens up, Masking hides empty steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition, plain
from keramos.runtime_min.interpreter.layer import Array, Layer, Masked
from keramos.runtime_min.interpreter.registry import layer


@layer("Embedding")
class Embedding(Layer):
    """One row of a table per token; with mask_zero, token 0 doesn't count."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the table."""
        super().__init__(definition)
        shape = (definition.integer("input_dim"), definition.integer("output_dim"))
        self.supports_masking = definition.boolean("mask_zero", default=False)
        self.table = definition.weight("embeddings", shape)

    def call(self, inputs: Array) -> Array:
        """Return the rows."""
        return looked_up(self.table, inputs)

    def compute_mask(self, inputs: Array, mask: Any) -> Array:
        """Return where the token isn't 0."""
        del mask
        return np.asarray(inputs != 0)


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
