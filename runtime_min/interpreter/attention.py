"""Attention: every query gets a mean of the values, weighted by how well keys match.

weights = softmax(scores(query, key)), y = weights . value. Masked keys get no weight;
where nothing is left, Keras' ways differ, and so do the layers here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keramos.runtime_min.interpreter.activation_layers import masked_softmax
from keramos.runtime_min.interpreter.activations import sigmoid, softmax
from keramos.runtime_min.interpreter.definition import Definition
from keramos.runtime_min.interpreter.layer import Array, Layer
from keramos.runtime_min.interpreter.registry import layer

Masks = Sequence[Array | None]


def causal_mask(queries: int, keys: int) -> Array:
    """Return (queries, keys): True up to the query's own position."""
    return np.tril(np.ones((queries, keys), np.bool_))


def window_mask(queries: int, keys: int, window: int) -> Array:
    """Return (queries, keys): True less than *window* away."""
    distances = np.abs(np.arange(queries)[:, None] - np.arange(keys))
    return np.asarray(distances < window)


class DotAttention(Layer):
    """What Attention and AdditiveAttention share: all but the scores."""

    supports_masking = True

    def scores(self, query: Array, key: Array) -> Array:
        """Return (batch, queries, keys): how well they match."""
        raise NotImplementedError

    def call(
        self,
        inputs: list[Array],
        mask: Masks | None = None,
        *,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Return the weighted values, and the weights if asked for."""
        query, value, *key = inputs
        query_mask, value_mask, *_ = [*(mask or ()), None, None]
        scores = self.scores(query, key[0] if key else value)
        kept = np.ones((1, *scores.shape[1:]), np.bool_)
        causal = use_causal_mask or self.definition.boolean("causal", default=False)
        if causal:
            kept = kept & causal_mask(*scores.shape[-2:])
        if value_mask is not None:
            kept = kept & value_mask.astype(np.bool_)[:, None, :]
        weights = masked_softmax(scores, kept, (-1,), zeroed=False)
        y = weights @ value
        if query_mask is not None:
            y = np.where(query_mask.astype(np.bool_)[..., None], y, 0)
        return [y, weights] if return_attention_scores else y

    def compute_mask(self, inputs: Any, mask: Masks | None) -> Array | None:
        """Return the query's mask."""
        del inputs
        return mask[0] if mask else None


@layer("Attention")
class Attention(DotAttention):
    """Scores are products, or sums of tanh(query + key)."""

    def __init__(self, definition: Definition) -> None:
        """Read the way to score and its factors."""
        super().__init__(definition)
        modes = ("dot", "concat")
        self.score_mode = definition.choice("score_mode", modes, "dot")
        self.scale: Array | float = 1.0
        self.weight: Array | float = 1.0
        if definition.boolean("use_scale", default=False):
            self.scale = definition.weight("scale", ())
        if self.score_mode == "concat":
            self.weight = definition.weight("concat score weight", ())

    def scores(self, query: Array, key: Array) -> Array:
        """Return how well queries and keys match."""
        if self.score_mode == "dot":
            return np.asarray(query @ np.swapaxes(key, -1, -2) * self.scale)
        sums = query[:, :, None, :] + key[:, None, :, :]
        return np.asarray(self.weight * np.sum(np.tanh(self.scale * sums), -1))


@layer("AdditiveAttention")
class AdditiveAttention(DotAttention):
    """Scores are weighted sums of tanh(query + key) (Bahdanau)."""

    def __init__(self, definition: Definition) -> None:
        """Read the weights of the sum."""
        super().__init__(definition)
        self.scale: Array | float = 1.0
        if definition.boolean("use_scale", default=True):
            self.scale = definition.weight("scale", (None,))

    def scores(self, query: Array, key: Array) -> Array:
        """Return how well queries and keys match."""
        sums = query[:, :, None, :] + key[:, None, :, :]
        return np.asarray(np.sum(self.scale * np.tanh(sums), -1))


class Projection:
    """A product that splits features into heads, or joins heads to features."""

    def __init__(
        self,
        definition: Definition,
        name: str,
        shape: Sequence[int | None],
        joined: int,
    ) -> None:
        """Read the kernel, whose first *joined* axes are summed over, and the bias."""
        self.joined = joined
        self.kernel = definition.weight(f"{name} kernel", shape)
        self.bias: Array | float = 0.0
        if definition.boolean("use_bias", default=True):
            self.bias = definition.weight(f"{name} bias", self.kernel.shape[joined:])

    def __call__(self, x: Array) -> Array:
        """Return the products."""
        return np.asarray(np.tensordot(x, self.kernel, self.joined) + self.bias)


class ManyHeads(Layer):
    """What both layers with heads share: masks and weights."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the options."""
        super().__init__(definition)
        self.window = definition.option("sliding_window", None)
        self.dropout = definition.number("dropout", 0.0)
        self.use_gate = definition.boolean("use_gate", default=False)

    def merged_mask(
        self, masks: Masks, given: Array | None, sizes: tuple[int, int], *, causal: bool
    ) -> Array | None:
        """Return which key counts for which query: (batch or 1, queries, keys)."""
        query_mask, value_mask, key_mask = masks
        parts = [] if given is None else [given.astype(np.bool_)]
        if query_mask is not None:
            parts.append(query_mask.astype(np.bool_)[:, :, None])
        parts.extend(
            item.astype(np.bool_)[:, None, :]
            for item in (value_mask, key_mask)
            if item is not None
        )
        if causal:
            parts.append(causal_mask(*sizes)[None])
        if self.window is not None:
            window = self.definition.count("sliding_window")
            parts.append(window_mask(*sizes, window)[None])
        if not parts:
            return None
        merged = parts[0]
        for part in parts[1:]:
            merged = merged & part
        return merged

    def weights(self, scores: Array, kept: Array | None, *, explicit: bool) -> Array:
        """Return the softmax of the scores over the keys that are kept.

        Where a query keeps no key, all weights are 0 if Keras 3 computes them one by
        one (*explicit*), and equal if it leaves them to its fused attention.
        """
        if kept is None:
            return softmax(scores)
        return masked_softmax(
            scores, kept, (-1,), zeroed=explicit and self.generation >= 3
        )


@layer("MultiHeadAttention")
class MultiHeadAttention(ManyHeads):
    """Attention in several heads, over one axis of the inputs or several."""

    def __init__(self, definition: Definition) -> None:
        """Read the projections."""
        super().__init__(definition)
        heads, key_dim = definition.count("num_heads"), definition.count("key_dim")
        value_dim = key_dim
        if definition.option("value_dim", None) is not None:
            value_dim = definition.count("value_dim")
        self.key_dim = key_dim
        axes = definition.option("attention_axes", None)
        self.axes = None if axes is None else definition.axes("attention_axes")
        self.query = Projection(definition, "query", (None, heads, key_dim), 1)
        self.key = Projection(definition, "key", (None, heads, key_dim), 1)
        if self.use_gate:
            self.gate = Projection(definition, "gate", (None, heads, value_dim), 1)
        self.value = Projection(definition, "value", (None, heads, value_dim), 1)
        shape = definition.option("output_shape", None)
        outputs = len(shape) if isinstance(shape, list | tuple) else 1
        self.output = Projection(
            definition, "output", (heads, value_dim, *[None] * outputs), 2
        )

    def call(
        self,
        query: Array,
        value: Array,
        key: Array | None = None,
        query_mask: Array | None = None,
        value_mask: Array | None = None,
        key_mask: Array | None = None,
        attention_mask: Array | None = None,
        *,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Return the attended values, and the weights if asked for."""
        sizes = (query.shape[1], value.shape[1])
        kept = self.merged_mask(
            (query_mask, value_mask, key_mask),
            attention_mask,
            sizes,
            causal=use_causal_mask,
        )
        axes = self.axes or tuple(range(1, query.ndim - 1))
        heads = self.query(query) / np.sqrt(self.key_dim).astype(self.dtype)
        keys = self.key(value if key is None else key)
        values = self.value(value)
        explicit = return_attention_scores or self.dropout > 0 or query.ndim != 3
        y, weights = self._attend(heads, keys, values, kept, axes, explicit=explicit)
        if self.use_gate:
            y = y * sigmoid(self.gate(query))
        y = self.output(y)
        return [y, weights] if return_attention_scores else y

    def _attend(
        self,
        queries: Array,
        keys: Array,
        values: Array,
        kept: Array | None,
        axes: tuple[int, ...],
        *,
        explicit: bool,
    ) -> tuple[Array, Array]:
        """Return the heads' results and weights; arrays are (batch, *space, heads, n).

        The attended axes become one: (batch, *other axes, heads, positions, n).
        """
        attended = [axis % (queries.ndim - 1) for axis in axes]
        others = [axis for axis in range(1, queries.ndim - 2) if axis not in attended]
        order = (0, *others, queries.ndim - 2, *attended, queries.ndim - 1)
        rows = [x.transpose(order) for x in (queries, keys, values)]
        lead = 2 + len(others)
        flat = [
            x.reshape(*x.shape[:lead], int(np.prod(x.shape[lead:-1])), x.shape[-1])
            for x in rows
        ]
        scores = flat[0] @ np.swapaxes(flat[1], -1, -2)
        if kept is not None:
            if kept.ndim == 1 + 2 * len(axes):
                kept = kept.reshape(len(kept), *_halves(kept.shape[1:]))
            kept = kept.reshape(len(kept), *[1] * (lead - 1), *kept.shape[-2:])
        weights = self.weights(scores, kept, explicit=explicit)
        y = (weights @ flat[2]).reshape(*rows[0].shape[:-1], values.shape[-1])
        shape = (*scores.shape[:-2], *rows[0].shape[lead:-1], *rows[1].shape[lead:-1])
        return y.transpose(np.argsort(order)), weights.reshape(shape)


def _halves(sizes: tuple[int, ...]) -> tuple[int, int]:
    """Return the products of the first and of the second half."""
    middle = len(sizes) // 2
    return int(np.prod(sizes[:middle])), int(np.prod(sizes[middle:]))


@layer("GroupedQueryAttention", "GroupQueryAttention")
class GroupedQueryAttention(ManyHeads):
    """Attention in which several query heads share a head of keys and values."""

    def __init__(self, definition: Definition) -> None:
        """Read the projections."""
        super().__init__(definition)
        heads = definition.count("num_query_heads")
        shared = definition.count("num_key_value_heads")
        self.head_dim = definition.count("head_dim")
        self.repeats = heads // shared
        if shared * self.repeats != heads:
            raise definition.refusal(
                f"{heads} query heads can't share {shared} key and value heads evenly"
            )
        self.query = Projection(definition, "query", (None, heads, self.head_dim), 1)
        self.key = Projection(definition, "key", (None, shared, self.head_dim), 1)
        if self.use_gate:
            self.gate = Projection(definition, "gate", (None, heads, self.head_dim), 1)
        self.value = Projection(definition, "value", (None, shared, self.head_dim), 1)
        self.output = Projection(definition, "output", (heads, self.head_dim, None), 2)

    def call(
        self,
        query: Array,
        value: Array,
        key: Array | None = None,
        query_mask: Array | None = None,
        value_mask: Array | None = None,
        key_mask: Array | None = None,
        attention_mask: Array | None = None,
        *,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Any:
        """Return the attended values, and the weights if asked for."""
        kept = self.merged_mask(
            (query_mask, value_mask, key_mask),
            attention_mask,
            (query.shape[1], value.shape[1]),
            causal=use_causal_mask,
        )
        queries = self.query(query) / np.sqrt(self.head_dim).astype(self.dtype)
        keys = np.repeat(self.key(value if key is None else key), self.repeats, 2)
        values = np.repeat(self.value(value), self.repeats, 2)
        scores = np.einsum("bquh,bkuh->buqk", queries, keys)
        explicit = return_attention_scores or self.dropout > 0
        spread = kept if kept is None or kept.ndim == 4 else kept[:, None]
        weights = self.weights(scores, spread, explicit=explicit)
        y = np.einsum("buqk,bkuh->bquh", weights, values)
        if self.use_gate:
            y = y * sigmoid(self.gate(query))
        y = self.output(y)
        return [y, weights] if return_attention_scores else y
