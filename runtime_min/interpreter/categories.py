"""Preprocessing of categories: numbers to indices, indices to zeros and ones."""

from __future__ import annotations

import numpy as np

from keramos.runtime_min.interpreter.definition import Definition, plain
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer

MODES = ("int", "one_hot", "multi_hot", "count")


def encoded(
    indices: Array,
    mode: str,
    depth: int,
    dtype: np.dtype[np.floating],
    weights: Array | None = None,
) -> Array:
    """Return the indices as *mode* has them; those outside of the range count nowhere.

    Keras gathers along axis 1, also where there are more axes.
    """
    if mode == "int":
        return indices
    if mode == "one_hot" and indices.ndim > 1 and indices.shape[-1] == 1:
        indices = indices[..., 0]
    hits: Array = (indices[..., None] == np.arange(depth)).astype(dtype)
    if mode == "one_hot":
        return hits
    axis = 1 if indices.ndim > 1 else 0
    if mode == "multi_hot":
        return np.asarray(np.max(hits, axis, initial=0))
    weighted = hits if weights is None else hits * weights[..., None]
    return np.asarray(np.sum(weighted, axis))


@layer("CategoryEncoding")
class CategoryEncoding(Layer):
    """Ones where an index occurs, or how often."""

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the number of categories and the mode; Keras 2.3 called it binary."""
        super().__init__(definition)
        name = "num_tokens" if "num_tokens" in definition.config else "max_tokens"
        self.depth = definition.integer(name)
        modes = (*MODES[1:], "binary")
        mode = definition.choice("output_mode", modes, "multi_hot")
        self.mode = "multi_hot" if mode == "binary" else mode

    def call(self, inputs: Array, count_weights: Array | None = None) -> Array:
        """Return the encoded indices."""
        indices = inputs.astype(np.int64)
        return encoded(indices, self.mode, self.depth, self.dtype, count_weights)


@layer("Discretization")
class Discretization(Layer):
    """In which interval between the boundaries each number lies."""

    def __init__(self, definition: Definition) -> None:
        """Read the boundaries."""
        super().__init__(definition)
        name = "bin_boundaries" if "bin_boundaries" in definition.config else "bins"
        boundaries = plain(definition.option(name, None))
        if not isinstance(boundaries, list | tuple):
            raise definition.refusal(
                "it has no bin_boundaries", "adapt it before saving"
            )
        # Keras compares in float32.
        self.boundaries = np.asarray(boundaries, np.float32).astype(self.dtype)
        self.mode = definition.choice("output_mode", MODES, "int")

    def call(self, inputs: Array) -> Array:
        """Return the intervals' numbers, encoded."""
        indices = np.digitize(inputs, self.boundaries).astype(np.int32)
        return encoded(indices, self.mode, len(self.boundaries) + 1, self.dtype)


@layer("IntegerLookup")
class IntegerLookup(Layer):
    """The place of each number in a vocabulary, or the number at each place.

    Places begin with the mask token, if there is one, and those for unknown numbers.
    """

    keeps_integers = True

    def __init__(self, definition: Definition) -> None:
        """Read the vocabulary."""
        super().__init__(definition)
        vocabulary = plain(definition.option("vocabulary", None))
        if vocabulary is None:
            # What a layer was adapted to lies beside the weights, in .keras files.
            vocabulary = definition.stored("vocabulary").tolist()
        if not isinstance(vocabulary, list | tuple):
            raise definition.refusal("its vocabulary isn't a list of numbers")
        mode = definition.choice("output_mode", (*MODES, "binary"), "int")
        self.mode = "multi_hot" if mode == "binary" else mode
        self.invert = definition.boolean("invert", default=False)
        self.unknown = definition.integer("num_oov_indices", 1)
        self.mask_token = definition.option("mask_token", None)
        if definition.option("oov_method", "floormod") != "floormod":
            raise definition.refusal("oov_method isn't 'floormod'")
        self.oov_token = definition.option("oov_token", -1)
        has_mask = self.mask_token is not None and self.mode == "int"
        self.first = self.unknown + has_mask
        special = [self.mask_token] * has_mask + [self.oov_token] * self.unknown
        tokens = list(vocabulary)
        if tokens[: len(special)] == special:
            tokens = tokens[len(special) :]
        self.tokens = np.asarray(tokens, np.int64)
        self.depth = self.first + len(tokens)
        if definition.boolean("pad_to_max_tokens", default=False):
            self.depth = definition.integer("max_tokens")

    def call(self, inputs: Array) -> Array:
        """Return the places, encoded, or the numbers."""
        numbers = inputs.astype(np.int64)
        if self.invert:
            return self._numbers(numbers)
        order = np.argsort(self.tokens, kind="stable")
        places = np.searchsorted(self.tokens, numbers, sorter=order)
        found = order[np.minimum(places, len(order) - 1)]
        is_known = self.tokens[found] == numbers
        indices = np.where(is_known, found + self.first, self._unknown(numbers))
        if self.unknown == 0 and not np.all(is_known | self._is_mask(numbers)):
            raise ValueError(
                "a number isn't in the vocabulary, and there is no place "
                "for unknown ones"
            )
        nowhere = 0 if self.mode == "int" else -1
        indices = np.where(self._is_mask(numbers), nowhere, indices)
        return encoded(indices, self.mode, self.depth, self.dtype)

    def _is_mask(self, numbers: Array) -> Array:
        """Return which numbers are the mask token."""
        if self.mask_token is None:
            return np.zeros(numbers.shape, np.bool_)
        return np.asarray(numbers == self.mask_token)

    def _unknown(self, numbers: Array) -> Array:
        """Return the places of unknown numbers."""
        start = self.first - self.unknown
        return np.asarray(start + numbers % max(self.unknown, 1))

    def _numbers(self, places: Array) -> Array:
        """Return the numbers at some places."""
        index = places - self.first
        inside = (index >= 0) & (index < len(self.tokens))
        numbers = self.tokens[np.clip(index, 0, len(self.tokens) - 1)]
        numbers = np.where(inside, numbers, self.oov_token)
        is_mask = (places == 0) & (self.mask_token is not None)
        return np.where(is_mask, self.mask_token or 0, numbers)


@layer("StringLookup", "TextVectorization", "Hashing", "HashedCrossing")
class OfStrings(Layer):
    """A layer that reads text."""

    def __init__(self, definition: Definition) -> None:
        """Refuse."""
        raise definition.refusal(
            "works on strings or hashes, which no array of numbers holds",
            "run it before the model, and feed the model its integers",
        )
