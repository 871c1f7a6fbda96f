"""Results stored as halves: which of them may be, and what becomes of their numbers.

A device computes in float32 and rounds what it stores to 11 bits; some round to the
nearest half, others (like Direct3D) towards zero, which costs more and is modelled
here. Inputs are rounded to the nearest half before they are uploaded. Numbers beyond
65504 become infinite, or 65504.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from keramos.graph import Array, Graph, Node, Value, ValueKey
from keramos.plan.prepare import prepare
from keramos.primitives import (
    Concat,
    Gather,
    Map,
    Pad,
    Reshape,
    Scan,
    Slice,
    Spec,
    Transpose,
)

# What moves numbers, or makes whole numbers of them.
_PASSING = (Concat, Gather, Map, Pad, Reshape, Slice, Transpose)


def halved(numbers: Array) -> Array:
    """Return *numbers* as halves, rounded towards zero, in their own type."""
    if numbers.dtype.kind != "f":
        return numbers
    with np.errstate(over="ignore", invalid="ignore"):
        halves = numbers.astype(np.float16)
        larger = np.isfinite(halves) & (np.abs(halves) > np.abs(numbers))
        halves[larger] = np.nextafter(halves[larger], np.float16(0))
    return halves.astype(numbers.dtype)


def exact_values(graph: Graph, outputs: Collection[int] = ()) -> frozenset[ValueKey]:
    """Return the values that halves can't hold: whole numbers, and what indexes.

    So are those from which they are computed, and the *outputs* with these numbers.
    """
    found = {graph.outputs[k].key for k in outputs}
    for node in reversed(graph.nodes):
        needed = {k for k in range(len(node.specs)) if (node, k) in found}
        needed |= {k for k, spec in enumerate(node.specs) if spec.dtype == "int32"}
        found |= {(node, k) for k in needed}
        if isinstance(node.primitive, Scan):
            found |= _exact_inputs(node, node.primitive, needed)
            continue
        if isinstance(node.primitive, Gather):
            found.add(node.inputs[1].key)
        if needed and isinstance(node.primitive, _PASSING):
            found |= {x.key for x in node.inputs}
    return frozenset(found)


def exact_in_body(
    scan: Scan, body: Graph, results: Collection[int]
) -> tuple[frozenset[ValueKey], frozenset[int]]:
    """Return the exact values of a Scan's body, and which of its outputs are.

    *results* are those of the Scan that have to be exact.
    """
    # A Scan gives its sequences first, its body the states.
    wanted = {(k + scan.states) % len(body.outputs) for k in results}
    while True:
        found = exact_values(body, wanted)
        states = body.inputs[scan.sequences : scan.sequences + scan.states]
        more = {k for k, x in enumerate(states) if x.key in found} - wanted
        if not more:
            return found, frozenset(wanted)
        wanted |= more


def _exact_inputs(node: Node, scan: Scan, results: Collection[int]) -> set[ValueKey]:
    """Return the inputs of a Scan that its body takes exactly."""
    if not isinstance(scan.body, Graph):
        return set()
    found, _ = exact_in_body(scan, scan.body, results)
    pairs = zip(scan.body.inputs, node.inputs, strict=True)
    return {actual.key for formal, actual in pairs if formal.key in found}


@dataclass(frozen=True, slots=True)
class Rounding:
    """Evaluates the nodes of a prepared graph; all results but *exact* are halved."""

    exact: frozenset[ValueKey]

    def input(self, value: Value, array: Array) -> Array:
        """Return what is uploaded of an input."""
        if self.keeps(value) or array.dtype.kind != "f":
            return array
        with np.errstate(over="ignore"):
            return array.astype(np.float16).astype(array.dtype)

    def keeps(self, value: Value) -> bool:
        """Return whether *value* stays as it is."""
        return value.dtype == "int32" or value.key in self.exact

    def results(self, node: Node, *inputs: Array) -> tuple[Array, ...]:
        """Return what is stored of a node's results."""
        primitive = node.primitive
        if isinstance(primitive, Scan) and isinstance(primitive.body, Graph):
            needed = {k for k in range(len(node.specs)) if (node, k) in self.exact}
            _, outputs = exact_in_body(primitive, primitive.body, needed)
            body = _HalvedBody(prepare(primitive.body).graph, outputs)
            node = replace(node, primitive=replace(primitive, body=body))
        given = node.evaluate(*inputs)
        pairs = zip(node.results(), given, strict=True)
        return tuple(array if self.keeps(y) else halved(array) for y, array in pairs)


@dataclass(frozen=True, slots=True)
class _HalvedBody:
    """The body of a Scan, its results halved."""

    graph: Graph
    outputs: frozenset[int]

    @property
    def input_specs(self) -> tuple[Spec, ...]:
        """Return what the body takes."""
        return self.graph.input_specs

    @property
    def output_specs(self) -> tuple[Spec, ...]:
        """Return what the body gives."""
        return self.graph.output_specs

    @property
    def has_constants(self) -> bool:
        """Return whether the body reads constants."""
        return self.graph.has_constants

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """Run the body once."""
        rounding = Rounding(exact_values(self.graph, self.outputs))
        formal = (x.key for x in self.graph.inputs)
        known: dict[ValueKey, Array] = dict(zip(formal, inputs, strict=True))
        for node in self.graph.nodes:
            given = [_array(x, known) for x in node.inputs]
            results = rounding.results(node, *given)
            known |= {(node, k): array for k, array in enumerate(results)}
        return tuple(_array(y, known) for y in self.graph.outputs)


def _array(value: Value, known: Mapping[ValueKey, Array]) -> Array:
    if value.constant is None:
        return known[value.key]
    return value.constant.array()[None]
