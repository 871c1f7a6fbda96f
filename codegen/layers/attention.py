"""Attention: y = softmax(score(q, k)) v, where masks hide keys.

Dot: q k^T; additive: sum of tanh(q + k); multi-head: dot for each of several
projections, over sqrt of their size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from keramos import ops
from keramos.expr import call
from keramos.graph import Value, elementwise
from keramos.layers.definition import Definition
from keramos.layers.layer import Layer, Masked, shape_text
from keramos.layers.registry import layer
from keramos.layers.structure import Structure

HIDDEN = -1e9
THREE = 3


@layer("Attention")
class Attention(Layer):
    """Dot-product attention, or with ``score_mode="concat"`` a sum of tanh."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read how scores come about."""
        super().__init__(definition)
        self.use_scale = definition.boolean("use_scale", default=False)
        self.mode = definition.choice("score_mode", ("dot", "concat"), "dot")
        # Keras 2 had the option on the layer, Keras 3 has it on the call.
        self.causal = definition.boolean("causal", default=False)
        definition.option("dropout")

    def call(
        self,
        inputs: Structure,
        mask: Structure = None,
        *,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Structure:
        """Return the values that the scores pick, and the scores if asked for."""
        if not isinstance(inputs, list | tuple) or len(inputs) not in (2, 3):
            raise self.definition.refusal("takes a query, a value and maybe a key")
        query, value, *rest = inputs
        key = rest[0] if rest else value
        masks = list(mask) if isinstance(mask, list | tuple) else [None, None]
        scores = self.scores(query, key)
        hidden = None if masks[1] is None else ops.expand_dims(masks[1], 0)
        if self.causal or use_causal_mask:
            hidden = _both(hidden, _causal(query, key))
        if hidden is not None:
            scores = elementwise(
                lambda s, m: s + (1.0 - m) * HIDDEN, scores, ops.cast(hidden, "float32")
            )
        weights = ops.softmax(scores, -1)
        y = ops.einsum("...ts,...sd->...td", weights, value)
        if masks[0] is not None:
            y = ops.where(ops.expand_dims(masks[0], -1), y, 0.0)
        return [y, weights] if return_attention_scores else y

    def scores(self, query: Value, key: Value) -> Value:
        """Return how well each query goes with each key."""
        scale = self.definition.weight("scale", ()) if self.use_scale else None
        if self.mode == "dot":
            scores = ops.einsum("...td,...sd->...ts", query, key)
            return scores if scale is None else scores * scale
        factor = self.definition.weight("concat_score_weight", ())
        joint = ops.expand_dims(query, -2) + ops.expand_dims(key, -3)
        joint = joint if scale is None else joint * scale
        return ops.sum(ops.tanh(joint), -1) * factor

    def compute_mask(self, inputs: object, mask: Structure) -> Structure:
        """Return the query's mask."""
        del inputs
        return mask[0] if isinstance(mask, list | tuple) else None

    def check_weights(self) -> None:
        """Check the weights, beside which Dropout's random state may stand."""
        if not self.definition.option("dropout"):
            super().check_weights()


@layer("AdditiveAttention")
class AdditiveAttention(Attention):
    """Scores are weighted sums of ``tanh(q + k)`` over the features."""

    def __init__(self, definition: Definition) -> None:
        """Use a scale by default."""
        super().__init__(definition)
        self.use_scale = definition.boolean("use_scale", default=True)

    def scores(self, query: Value, key: Value) -> Value:
        """Return how well each query goes with each key."""
        joint = ops.tanh(ops.expand_dims(query, -2) + ops.expand_dims(key, -3))
        if not self.use_scale:
            return ops.sum(joint, -1)
        return ops.matmul(joint, self.definition.weight("scale", (query.shape[-1],)))


def _causal(query: Value, key: Value) -> Value:
    """Return where a key isn't later than the query: ``(queries, keys)``."""
    rows, columns = ops.positions(query, 0), ops.positions(key, 0)
    return ops.greater_equal(ops.expand_dims(rows, 1), ops.expand_dims(columns, 0))


def _near(query: Value, key: Value, width: int) -> Value:
    """Return where a key is nearer to the query than *width*."""
    rows, columns = ops.positions(query, 0), ops.positions(key, 0)
    return elementwise(
        lambda i, j: call("abs", i - j) < width,
        ops.expand_dims(rows, 1),
        ops.expand_dims(columns, 0),
    )


def _both(a: Value | None, b: Value | None) -> Value | None:
    """Return where both masks hold; None holds everywhere."""
    if a is None or b is None:
        return b if a is None else a
    return ops.logical_and(ops.cast(a, "bool"), ops.cast(b, "bool"))


class Projecting(Layer):
    """What attention with projections has in common."""

    supports_masking = True

    def __init__(self, definition: Definition) -> None:
        """Read the options that both kinds have."""
        super().__init__(definition)
        self.use_bias = definition.boolean("use_bias", default=True)
        self.use_gate = definition.boolean("use_gate", default=False)
        self.dropout = definition.number("dropout", 0.0)
        self.window = (
            definition.positive("sliding_window", 1)
            if definition.option("sliding_window") is not None
            else None
        )
        definition.option("flash_attention")

    def project(self, x: Value, name: str, heads: int, size: int) -> Value:
        """Return x times a kernel ``(features, heads, size)``, biased."""
        kernel = self.definition.weight(f"{name}/kernel", (x.shape[-1], heads, size))
        y = ops.einsum("...f,fhd->...hd", x, kernel)
        if self.use_bias:
            y = y + self.definition.weight(f"{name}/bias", (heads, size))
        return y

    def keys_shown(
        self, query: Value, value: Value, masks: Sequence[Value | None], *, causal: bool
    ) -> Value | None:
        """Return which keys a query sees: ``(queries, keys)``, None for all."""
        query_mask, value_mask, key_mask, stated = masks
        shown = None
        if query_mask is not None:
            shown = ops.expand_dims(query_mask, -1)
        for mask in (value_mask, key_mask):
            if mask is not None:
                shown = _both(shown, ops.expand_dims(mask, -2))
        if causal:
            shown = _both(shown, _causal(query, value))
        if self.window is not None:
            shown = _both(shown, _near(query, value, self.window))
        return _both(stated, shown)

    def weights_of(
        self, scores: Value, shown: Value | None, axes: Sequence[int], *, zero: bool
    ) -> Value:
        """Return the softmax of scores where keys are shown.

        Queries that see none share their attention equally, with *zero* they give 0.
        """
        if shown is None:
            return ops.softmax(scores, axes)
        shown = ops.cast(shown, "bool")
        weights = ops.softmax(ops.where(shown, scores, HIDDEN), axes)
        return ops.where(shown, weights, 0.0) if zero else weights

    def check_weights(self) -> None:
        """Check the weights, beside which Dropout's random state may stand."""
        if self.dropout == 0:
            super().check_weights()


@layer("MultiHeadAttention")
class MultiHeadAttention(Projecting):
    """Attention of several heads, over one axis or several."""

    def __init__(self, definition: Definition) -> None:
        """Read the sizes and the axes."""
        super().__init__(definition)
        self.heads = definition.positive("num_heads", 1)
        self.key_dim = definition.positive("key_dim", 1)
        self.value_dim = self.key_dim
        if definition.option("value_dim") is not None:
            self.value_dim = definition.positive("value_dim", 1)
        self.axes = definition.axes("attention_axes", None)
        self.output = definition.axes("output_shape", None)
        for name in ("query_shape", "key_shape", "value_shape"):
            definition.option(name)

    def call(  # noqa: PLR0913, PLR0917 - Keras' own arguments, in its order
        self,
        query: Value,
        value: Value,
        key: Value | None = None,
        query_mask: Value | None = None,
        value_mask: Value | None = None,
        key_mask: Value | None = None,
        attention_mask: Value | None = None,
        *,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Structure:
        """Return the projected result of all heads, and the scores if asked for."""
        key = value if key is None else key
        masks = (query_mask, value_mask, key_mask, attention_mask)
        shown = self.keys_shown(query, value, masks, causal=use_causal_mask)
        q = self.project(query, "query", self.heads, self.key_dim)
        k = self.project(key, "key", self.heads, self.key_dim)
        gate = None
        if self.use_gate:
            gate = ops.sigmoid(self.project(query, "gate", self.heads, self.value_dim))
        v = self.project(value, "value", self.heads, self.value_dim)
        rank = len(query.shape)
        axes = self._attention_axes(rank)
        scores_of, combine = _equations(rank, axes)
        scores = ops.einsum(scores_of, k, q * (1 / math.sqrt(self.key_dim)))
        last = list(range(len(scores.shape) - len(axes), len(scores.shape)))
        if shown is not None:
            missing = len(scores.shape) - len(shown.shape)
            at = len(shown.shape) - 2 * len(axes)
            shown = ops.expand_dims(shown, list(range(at, at + missing)))
        plain = self.dropout == 0 and not return_attention_scores and rank == len("td")
        zero = not plain and self.definition.generation >= THREE
        weights = self.weights_of(scores, shown, last, zero=zero)
        y = ops.einsum(combine, weights, v)
        if gate is not None:
            y = y * gate
        outputs: Structure = Masked(self._output(y, query), query_mask)
        return [outputs, weights] if return_attention_scores else outputs

    def _attention_axes(self, rank: int) -> list[int]:
        """Return the axes that attention runs over, all but the features by default."""
        if self.axes is None:
            return list(range(rank - 1))
        axes = [a - 1 if a >= 0 else rank + a for a in self.axes]
        if any(not 0 <= a < rank - 1 for a in axes):
            raise self.definition.refusal(
                f"attention_axes is {list(self.axes)}, which aren't axes of its input"
            )
        return axes

    def _output(self, y: Value, query: Value) -> Value:
        """Return the heads' results joined by the last projection."""
        sizes = tuple(self.output) if self.output else (query.shape[-1],)
        shape = (self.heads, self.value_dim, *sizes)
        kernel = self.definition.weight("attention_output/kernel", shape)
        letters = "uvwxyz"[: len(sizes)]
        y = ops.einsum(f"...hd,hd{letters}->...{letters}", y, kernel)
        if self.use_bias:
            y = y + self.definition.weight("attention_output/bias", sizes)
        return y


def _equations(rank: int, axes: Sequence[int]) -> tuple[str, str]:
    """Return how scores come from keys and queries, and results from scores.

    The operands have the axes of the input, the features replaced by heads and theirs.
    """
    target = [chr(ord("a") + i) for i in range(rank + 1)]
    source = [
        chr(ord("n") + i) if i in axes else letter for i, letter in enumerate(target)
    ]
    batch = [letter for i, letter in enumerate(target[:-1]) if i not in axes]
    scores = "".join([*batch, *(target[i] for i in axes), *(source[i] for i in axes)])
    keys, queries = "".join(source), "".join(target)
    return f"{keys},{queries}->{scores}", f"{scores},{keys}->{queries}"


@layer("GroupQueryAttention", "GroupedQueryAttention")
class GroupQueryAttention(Projecting):
    """Attention in which several query heads share a key and a value head."""

    def __init__(self, definition: Definition) -> None:
        """Read the sizes."""
        super().__init__(definition)
        self.size = definition.positive("head_dim", 1)
        self.heads = definition.positive("num_query_heads", 1)
        self.groups = definition.positive("num_key_value_heads", 1)
        if self.heads % self.groups:
            definition.note(
                f"num_query_heads is {self.heads}, which isn't a multiple of "
                f"num_key_value_heads, {self.groups}"
            )

    def call(  # noqa: PLR0913, PLR0917 - Keras' own arguments, in its order
        self,
        query: Value,
        value: Value,
        key: Value | None = None,
        query_mask: Value | None = None,
        value_mask: Value | None = None,
        key_mask: Value | None = None,
        attention_mask: Value | None = None,
        *,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
    ) -> Structure:
        """Return the projected result of all heads, and the scores if asked for."""
        key = value if key is None else key
        if len(query.shape) != len("td"):
            raise self.definition.refusal(
                f"takes 3 axes, not a query of shape {shape_text(query)}"
            )
        masks = (query_mask, value_mask, key_mask, attention_mask)
        shown = self.keys_shown(query, value, masks, causal=use_causal_mask)
        q = self.project(query, "query", self.heads, self.size)
        k = self.project(key, "key", self.groups, self.size)
        gate = None
        if self.use_gate:
            gate = ops.sigmoid(self.project(query, "gate", self.heads, self.size))
        v = self.project(value, "value", self.groups, self.size)
        k = ops.repeat(k, self.heads // self.groups, 1)
        v = ops.repeat(v, self.heads // self.groups, 1)
        scores = ops.einsum("thd,shd->hts", q, k) * (1 / math.sqrt(self.size))
        if shown is not None and len(shown.shape) < len(scores.shape):
            shown = ops.expand_dims(shown, 0)
        zero = self.dropout > 0 or return_attention_scores
        weights = self.weights_of(scores, shown, [-1], zero=zero)
        y = ops.einsum("hts,shd->thd", weights, v)
        if gate is not None:
            y = y * gate
        features = query.shape[-1]
        shape = (self.heads, self.size, features)
        kernel = self.definition.weight("attention_output/kernel", shape)
        y = ops.einsum("thd,hdf->tf", y, kernel)
        if self.use_bias:
            y = y + self.definition.weight("attention_output/bias", (features,))
        return [y, weights] if return_attention_scores else y
