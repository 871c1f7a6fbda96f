"""Embedding: y[i] = E[x[i]]; and Masking, which names the steps to leave out."""

from __future__ import annotations

from keramos import ops
from keramos.expr import call
from keramos.graph import Value, elementwise
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, Masked
from keramos.layers.quantization import quantization_of, table_of
from keramos.layers.registry import layer


@layer("Embedding")
class Embedding(Layer):
    """A row of the table for each whole number."""

    keeps_integers = True
    lowers_leading_axes = True

    def __init__(self, definition: Definition) -> None:
        """Read the size of the table, and whether 0 means padding."""
        super().__init__(definition)
        self.input_dim = definition.positive("input_dim", 1)
        self.output_dim = definition.positive("output_dim", 1)
        self.mask_zero = definition.boolean("mask_zero", default=False)
        self.supports_masking = self.mask_zero
        self.quantization = quantization_of(definition)
        self.table: Value | None = None

    def call(self, inputs: Value) -> Value:
        """Return the rows."""
        return self.rows(inputs)

    def rows(self, inputs: Value) -> Value:
        """Return the table's rows at *inputs*."""
        if self.table is None and self.quantization is not None:
            self.table = table_of(self.definition, self.quantization, self.output_dim)
        if self.table is None:
            shape = (self.input_dim, self.output_dim)
            self.table = self.definition.weight("embeddings", shape)
        return ops.take(self.table, inputs, axis=0)

    def compute_mask(self, inputs: Value, mask: object) -> Value | None:
        """Return where the numbers aren't 0."""
        del mask
        return ops.not_equal(inputs, 0) if self.mask_zero else None


@layer("ReversibleEmbedding")
class ReversibleEmbedding(Layer):
    """An embedding that, called with ``reverse``, gives the scores of all rows."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read where the way back has its weights, and its bound."""
        super().__init__(definition)
        self.there = Embedding(definition)
        if self.there.quantization is not None:
            raise definition.refusal(
                "its weights are quantized, which Keramos can't turn back",
                "save the model without quantization",
            )
        self.tied = definition.boolean("tie_weights", default=True)
        self.cap = definition.optional_number("logit_soft_cap")
        definition.option("reverse_dtype")

    def call(self, inputs: Value, *, reverse: bool = False) -> Value | Masked:
        """Return the rows, with their mask, or the scores."""
        shape = (self.there.input_dim, self.there.output_dim)
        table = self.definition.weight("embeddings", shape)
        back = None
        if not self.tied:
            shape = (self.there.output_dim, self.there.input_dim)
            back = self.definition.weight("reverse_embeddings", shape)
        if not reverse:
            return Masked(
                self.there.rows(inputs), self.there.compute_mask(inputs, None)
            )
        logits = ops.matmul(inputs, ops.transpose(table) if back is None else back)
        if self.cap is None:
            return logits
        cap = self.cap
        return elementwise(lambda v: call("tanh", v / cap) * cap, logits)


@layer("Masking")
class Masking(Layer):
    """Steps whose features all have one value are masked, and become 0."""

    def __init__(self, definition: Definition) -> None:
        """Read the value."""
        super().__init__(definition)
        self.mask_value = definition.number("mask_value", 0.0)

    def call(self, inputs: Value) -> Masked:
        """Return the input and its mask."""
        kept = ops.max(ops.not_equal(inputs, self.mask_value), -1, keepdims=True)
        return Masked(ops.where(kept, inputs, 0.0), ops.squeeze(kept, -1))
