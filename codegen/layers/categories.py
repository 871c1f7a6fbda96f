"""Preprocessing of categories: whole numbers as hot or counted, bins, look-ups."""

from __future__ import annotations

import numpy as np

from keramos import ops
from keramos.errors import quoted
from keramos.expr import call
from keramos.graph import Value, elementwise
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, shape_text
from keramos.layers.registry import layer

MODES = ("multi_hot", "one_hot", "count")


def encoded(
    x: Value, mode: str, depth: int, weights: Value | None, definition: Definition
) -> Value:
    """Return whole numbers as vectors: hot, hot for any of them, or counted."""
    if mode == "one_hot":
        single = len(x.shape) >= 1 and x.shape[-1] == 1
        return ops.one_hot(ops.squeeze(x, -1) if single else x, depth)
    if not x.shape:
        raise definition.refusal(
            f"counts over the samples of a batch for an input of shape {shape_text(x)}",
            "give each sample an axis of its own",
        )
    hot = ops.one_hot(x, depth)
    if mode == "multi_hot":
        return ops.max(hot, 0)
    if weights is not None:
        hot = hot * ops.expand_dims(weights, -1)
    return ops.sum(hot, 0)


@layer("CategoryEncoding")
class CategoryEncoding(Layer):
    """Whole numbers below *num_tokens* as vectors."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the number of tokens and the mode."""
        super().__init__(definition)
        self.count = definition.positive("num_tokens", 1)
        mode = definition.choice("output_mode", (*MODES, "binary"), "multi_hot")
        self.mode = "multi_hot" if mode == "binary" else mode

    def call(self, inputs: Value, count_weights: Value | None = None) -> Value:
        """Return the vectors."""
        whole = ops.cast(inputs, "int32")
        return encoded(whole, self.mode, self.count, count_weights, self.definition)


@layer("Discretization")
class Discretization(Layer):
    """The number of the bin that holds x: how many boundaries aren't above it."""

    def __init__(self, definition: Definition) -> None:
        """Read the boundaries and the mode."""
        super().__init__(definition)
        value = definition.option("bin_boundaries")
        try:
            self.boundaries = np.asarray([] if value is None else value, np.float32)
        except (TypeError, ValueError):
            self.boundaries = np.zeros(0, np.float32)
        if value is None or self.boundaries.ndim != 1:
            definition.note(
                f"bin_boundaries is {quoted(value)}, not a list of numbers",
                "adapt the layer before the model is saved",
            )
        for name in ("num_bins", "epsilon"):
            definition.option(name)
        self.mode = definition.choice("output_mode", ("int", *MODES), "int")

    def call(self, inputs: Value) -> Value:
        """Return the bins."""
        # NaN belongs to the last bin, as in NumPy.
        above = elementwise(
            lambda x, b: call("not", x < b),
            ops.expand_dims(inputs, -1),
            ops.constant(self.boundaries),
        )
        bins = ops.sum(ops.cast(above, "int32"), -1)
        if self.mode == "int":
            return bins
        depth = len(self.boundaries) + 1
        return encoded(bins, self.mode, depth, None, self.definition)


def _is_int32(value: object) -> bool:
    """Return whether *value* is a whole number that every target has."""
    limit = 2**31
    return isinstance(value, int) and -limit <= value < limit


@layer("IntegerLookup")
class IntegerLookup(Layer):
    """The place of a whole number in a vocabulary, or the number at a place.

    Places count the mask first (where there is one and the mode is "int"), then the
    numbers that aren't in the vocabulary, then the vocabulary.
    """

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the vocabulary and how places are counted."""
        super().__init__(definition)
        self.vocabulary = self._vocabulary()
        self.unknown = definition.integer("num_oov_indices", 1)
        self.mask = (
            definition.integer("mask_token", 0)
            if definition.has("mask_token")
            else None
        )
        definition.option("mask_token")
        self.oov_token = definition.integer("oov_token", -1)
        self.invert = definition.boolean("invert", default=False)
        self.mode = definition.choice("output_mode", ("int", *MODES), "int")
        self.size = None
        if definition.boolean("pad_to_max_tokens", default=False):
            self.size = definition.positive("max_tokens", 1)
        definition.choice("oov_method", ("floormod",), "floormod")
        for name in ("max_tokens", "vocabulary_dtype", "idf_weights", "encoding"):
            definition.option(name)
        for name in ("vocabulary_size", "salt", "has_input_vocabulary"):
            definition.option(name)
        if self.mask is not None and self.vocabulary[:1] == [self.mask]:
            self.vocabulary = self.vocabulary[1:]
        while self.vocabulary[:1] == [self.oov_token]:
            self.vocabulary = self.vocabulary[1:]

    def _vocabulary(self) -> list[int]:
        """Return the numbers that the options state, or those beside the weights."""
        value = self.definition.option("vocabulary")
        if value is None:
            path = self.definition.path
            adapted = self.definition.session.file.weights(path)
            value = adapted[0].array().tolist() if adapted else None
        if isinstance(value, list) and all(_is_int32(v) for v in value):
            return list(value)
        self.definition.note(
            (
                "its vocabulary isn't in the file"
                if value is None
                else "its vocabulary isn't one of whole numbers of 32 bits"
            ),
            "make the layer with vocabulary=[...]",
        )
        return [0]

    def check_weights(self) -> None:
        """Have none; a vocabulary that the layer was adapted to stands for one."""

    def call(self, inputs: Value) -> Value:
        """Return the places, or vectors that state them."""
        masked = int(self.mask is not None and self.mode == "int")
        first = masked + self.unknown
        if self.invert:
            front = [self.mask or 0] * masked + [self.oov_token] * self.unknown
            table = np.array([*front, *self.vocabulary], np.int32)
            whole = ops.cast(inputs, "int32")
            known = elementwise(
                lambda x: call("and", x >= 0.0, x < float(len(table))), whole
            )
            return ops.where(
                known, ops.take(ops.constant(table), whole, 0), self.oov_token
            )
        whole = ops.cast(inputs, "int32")
        tokens = ops.constant(np.array(self.vocabulary, np.int32))
        places = ops.arange(len(self.vocabulary)) + first
        same = ops.equal(ops.expand_dims(whole, -1), tokens)
        found = ops.max(ops.where(same, places, -1), -1)
        if self.unknown == 1:
            missing = elementwise(lambda x: x * 0.0 + masked, whole, dtype="int32")
        elif self.unknown > 1:
            missing = ops.mod(whole, self.unknown) + masked
        else:
            missing = found
        found = ops.where(ops.less(found, 0), missing, found)
        if self.mask is not None:
            found = ops.where(ops.equal(whole, self.mask), 0 if masked else -1, found)
        if self.mode == "int":
            return found
        depth = self.size or first + len(self.vocabulary)
        return encoded(found, self.mode, depth, None, self.definition)
