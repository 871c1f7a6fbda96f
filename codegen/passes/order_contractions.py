"""Put the axes of contractions into the order that matrix products have."""

from __future__ import annotations

from dataclasses import replace

from keramos.graph import Graph, Node, Value, apply
from keramos.primitives import Contract, Transpose


def order_contractions(graph: Graph) -> Graph:
    """Return the graph with paired axes in the order in which a value holds them.

    Constant weights become ``(*batch, *contracted, *rest)``.
    """
    return graph.rewrite(_visit)


def _visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Return the contraction with its pairs and its weights in order."""
    primitive = node.primitive
    if not isinstance(primitive, Contract):
        return None
    a, b, *extras = inputs
    pairs = list(zip(primitive.a_contract, primitive.b_contract, strict=True))
    if a.constant is not None and b.constant is None:
        pairs.sort(key=lambda pair: pair[1])
    else:
        pairs.sort()
    a_contract, b_contract = tuple(p for p, _ in pairs), tuple(q for _, q in pairs)
    a_batch, b_batch = primitive.a_batch, primitive.b_batch
    if a.constant is not None:
        a, a_batch, a_contract = _arranged(a, a_batch, a_contract)
    if b.constant is not None:
        b, b_batch, b_contract = _arranged(b, b_batch, b_contract)
    ordered = Contract(a_contract, b_contract, a_batch, b_batch)
    if ordered == primitive and (a, b) == inputs[:2]:
        return None
    return replace(node, primitive=ordered, inputs=(a, b, *extras)).results()


def _arranged(
    weights: Value, batch: tuple[int, ...], contract: tuple[int, ...]
) -> tuple[Value, tuple[int, ...], tuple[int, ...]]:
    """Return weights with the batch axes first and those contracted next."""
    axes = range(len(weights.shape))
    rest = tuple(axis for axis in axes if axis not in batch + contract)
    order = batch + contract + rest
    if order != tuple(axes):
        (weights,) = apply(Transpose(order), weights)
    last = len(batch) + len(contract)
    return weights, tuple(range(len(batch))), tuple(range(len(batch), last))
