"""What the layers of make_models.py compute, for ``keramos compile --custom``."""

from __future__ import annotations

import keramos
from keramos import Definition, ops
from keramos.ops import Value


@keramos.custom_layer("soft_limit")
def soft_limit(layer: Definition, x: Value) -> Value:
    """Bend what goes beyond the limit: the Lambda layer of this name."""
    limit = float(layer.option("arguments")["limit"])
    return ops.tanh(x / limit) * limit


@keramos.custom_layer("AttentionPooling")
def attention_pooling(layer: Definition, x: Value, mask: Value | None = None) -> Value:
    """Sum up the steps of a sequence, each by its score."""
    units = layer.positive("units", 1)
    kernel = layer.weight("kernel", (x.shape[-1], units))
    bias = layer.weight("bias", (units,))
    query = layer.weight("query", (units,))
    scores = ops.matmul(ops.tanh(ops.matmul(x, kernel) + bias), query)
    scores = scores / layer.number("temperature", 1.0)
    if mask is not None:
        scores = ops.where(mask, scores, -1e9)
    return ops.einsum("t,tc->c", ops.softmax(scores), x)


@keramos.custom_layer(
    "MinimalGatedCell", state_sizes=lambda layer: [layer.positive("units", 1)]
)
def minimal_gated_cell(
    layer: Definition, x: Value, states: list[Value]
) -> tuple[Value, list[Value]]:
    """Take one step: a GRU with a single gate, which forgets and resets."""
    units = layer.positive("units", 1)
    kernel = layer.weight("kernel", (x.shape[-1], 2 * units))
    recurrent_kernel = layer.weight("recurrent_kernel", (units, 2 * units))
    bias = layer.weight("bias", (2 * units,))
    (state,) = states
    of_gate, of_candidate = ops.split(ops.matmul(x, kernel) + bias, 2)
    gate_kernel, candidate_kernel = ops.split(recurrent_kernel, 2)
    gate = ops.sigmoid(of_gate + ops.matmul(state, gate_kernel))
    candidate = ops.tanh(of_candidate + ops.matmul(gate * state, candidate_kernel))
    state = (1.0 - gate) * state + gate * candidate
    return state, [state]
