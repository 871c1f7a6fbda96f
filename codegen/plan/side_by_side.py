"""Loops that don't need each other run as one, so that a draw computes a step of both.

The two directions of a Bidirectional layer above all: the sequences of the one that
runs backwards are turned around in front of the loop, and its results behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from keramos.graph import Graph, Node, Value, ValueKey, apply
from keramos.plan.cells import SAMPLERS, Region, is_elementwise, schedule
from keramos.plan.factor_scales import factor_scales
from keramos.plan.layout import canonical
from keramos.plan.prepare import Prepared, prepare
from keramos.primitives import Scan, Slice


def side_by_side(prepared: Prepared, *, draw_buffers: int) -> Prepared:
    """Return the graph with pairs of loops as one, if a draw can take a step of both.

    Such a draw writes no more than *draw_buffers* results.
    """
    while True:
        pair = next(_pairs(prepared.graph, draw_buffers), None)
        if pair is None:
            return prepared
        prepared = _joined(prepared, *pair)


def with_constants(body: Graph, known: Mapping[Value, Value]) -> Graph:
    """Return *body* with the inputs that are *known* replaced, and constants folded."""

    def visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        renewed = replace(node, inputs=tuple(known.get(x, x) for x in inputs))
        plain = not isinstance(node.primitive, Scan) and node.epilogue is None
        if plain and all(x.constant is not None for x in renewed.inputs):
            return apply(node.primitive, *renewed.inputs, origins=node.origins)
        return renewed.results()

    inlined = body.rewrite(visit)
    outputs = tuple(known.get(y, y) for y in inlined.outputs)
    return Graph(inlined.inputs, outputs, inlined.output_names)


@dataclass(frozen=True, slots=True)
class _Step:
    """What the draw that takes a step of a loop needs."""

    length: int | None
    shape: tuple[int, ...]
    reads: int
    targets: int


def _pairs(graph: Graph, draw_buffers: int) -> Iterator[tuple[Node, Node]]:
    """Yield the pairs of loops of which one draw can take a step."""
    used = {x.key for x in graph.uses()}
    found = []
    for node in graph.nodes:
        step = _step(node, used, draw_buffers)
        if step is not None:
            found.append((node, step))
    behind = _sources(graph) if len(found) > 1 else {}
    for (a, mine), (b, other) in combinations(found, 2):
        alike = (mine.length, mine.shape) == (other.length, other.shape)
        room = mine.targets + other.targets <= draw_buffers
        few = mine.reads + other.reads <= SAMPLERS
        # In the order of the graph, the second can't be a source of the first.
        if alike and room and few and a not in behind[b]:
            yield a, b


def _sources(graph: Graph) -> Mapping[Node, frozenset[Node]]:
    """Return the loops from which each node is computed, directly or not."""
    sources: dict[Node, frozenset[Node]] = {}
    for node in graph.nodes:
        near = [x.node for x in node.inputs if x.node is not None]
        loops = {x for x in near if isinstance(x.primitive, Scan)}
        sources[node] = frozenset(loops).union(*(sources[x] for x in near))
    return sources


def _step(node: Node, used: set[ValueKey], draw_buffers: int) -> _Step | None:
    """Return what a step takes, None for more than one draw."""
    scan = node.primitive
    if not isinstance(scan, Scan) or not isinstance(scan.body, Graph):
        return None
    if any(isinstance(inner.primitive, Scan) for inner in scan.body.nodes):
        return None
    pairs = zip(scan.body.inputs, node.inputs, strict=True)
    known = {x: actual for x, actual in pairs if actual.constant is not None}
    rest = scan.body.inputs[scan.sequences + scan.states :]
    constants = {x: known[x] for x in rest if x in known}
    body = prepare(factor_scales(with_constants(scan.body, constants))).graph
    outside = range(len(node.specs) - scan.states)
    wanted = [*range(scan.states)]
    wanted += [scan.states + k for k in outside if (node, k) in used]
    items = schedule(body, wanted=wanted, direct=wanted, draw_buffers=draw_buffers)
    if len(items) != 1:
        return None
    (item,) = items
    length = node.inputs[0].shape[0]
    if isinstance(item, Region):
        targets = sum(result.targets for result in item.results)
        return _Step(length, canonical(item.shape), len(item.reads), targets)
    if not is_elementwise(item):
        return None
    return _Step(length, canonical(item.specs[0].shape), len(item.inputs), len(wanted))


def _joined(prepared: Prepared, a: Node, b: Node) -> Prepared:
    """Return the graph with one loop for *a* and *b*, which don't need each other."""
    known: dict[ValueKey, Value] = {}

    def renewed(value: Value) -> Value:
        return known.get(value.key, value)

    nodes = prepared.graph.nodes
    needed = _needed(nodes, (a, b))
    first = [node for node in nodes if node in needed]
    rest = [node for node in nodes if node not in needed and node not in (a, b)]
    for node in first:
        _renew(node, known)
    inputs = [tuple(map(renewed, node.inputs)) for node in (a, b)]
    results = _both(replace(a, inputs=inputs[0]), replace(b, inputs=inputs[1]))
    for node, mine in zip((a, b), results, strict=True):
        known |= {(node, k): value for k, value in enumerate(mine)}
    for node in rest:
        _renew(node, known)
    outputs = tuple(map(renewed, prepared.graph.outputs))
    return replace(
        prepared,
        graph=replace(prepared.graph, outputs=outputs),
        results={
            node: tuple(map(renewed, values))
            for node, values in prepared.results.items()
        },
    )


def _renew(node: Node, known: dict[ValueKey, Value]) -> None:
    """Note the results of *node* on the inputs that are *known*."""
    inputs = tuple(known.get(x.key, x) for x in node.inputs)
    same = all(x is y for x, y in zip(inputs, node.inputs, strict=True))
    kept = node if same else replace(node, inputs=inputs)
    known |= {(node, k): value for k, value in enumerate(kept.results())}


def _needed(nodes: Sequence[Node], wanted: Sequence[Node]) -> set[Node]:
    """Return the nodes from which *wanted* are computed."""
    needed = {x.node for node in wanted for x in node.inputs if x.node is not None}
    for node in reversed(nodes):
        if node in needed:
            needed |= {x.node for x in node.inputs if x.node is not None}
    return needed


def _both(a: Node, b: Node) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Return the results of both loops, computed by one."""
    first, second = a.primitive, b.primitive
    if not (isinstance(first, Scan) and isinstance(second, Scan)):
        raise TypeError("only loops run side by side")
    turned = first.reverse != second.reverse
    mine, others = _parts(a.inputs, first), _parts(b.inputs, second)
    sequences = [_turned(x, b) if turned else x for x in others[0]]
    inputs = (*mine[0], *sequences, *mine[1], *others[1], *mine[2], *others[2])
    body = _side_by_side(first, second)
    scan = Scan(
        body,
        first.sequences + second.sequences,
        first.states + second.states,
        first.reverse,
    )
    specs = scan.infer(*(x.spec for x in inputs))
    origins = tuple(dict.fromkeys((*a.origins, *b.origins)))
    found = Node(scan, inputs, specs, origins).results()
    written = len(a.specs) - first.states, len(b.specs) - second.states
    sizes = (*written, first.states)
    outputs, more, states, last = _split(found, sizes)
    more = tuple(_turned(y, b) if turned else y for y in more)
    return (*outputs, *states), (*more, *last)


def _parts(values: Sequence[Value], scan: Scan) -> tuple[tuple[Value, ...], ...]:
    """Return the sequences, the states and the invariants among a loop's inputs."""
    return _split(values, (scan.sequences, scan.states))


def _split(
    values: Sequence[Value], sizes: Sequence[int]
) -> tuple[tuple[Value, ...], ...]:
    """Return runs of *values* of these sizes, and what is left."""
    runs = []
    for size in sizes:
        runs.append(tuple(values[:size]))
        values = values[size:]
    return (*runs, tuple(values))


def _turned(sequence: Value, node: Node) -> Value:
    """Return *sequence* from its end."""
    whole = (None, None, 1)
    slices = ((None, None, -1), *(whole for _ in sequence.shape[1:]))
    return apply(Slice(slices), sequence, origins=node.origins)[0]


def _side_by_side(first: Scan, second: Scan) -> Graph:
    """Return one body of two, which may be the same."""
    bodies = [_renamed(first.body), _renamed(second.body)]
    mine, others = (
        _parts(body.inputs, scan)
        for body, scan in zip(bodies, (first, second), strict=True)
    )
    inputs = [
        x for pair in zip(mine, others, strict=True) for x in (*pair[0], *pair[1])
    ]
    states = [
        y
        for body, scan in zip(bodies, (first, second), strict=True)
        for y in body.outputs[: scan.states]
    ]
    sequences = [
        y
        for body, scan in zip(bodies, (first, second), strict=True)
        for y in body.outputs[scan.states :]
    ]
    outputs = (*states, *sequences)
    return Graph(tuple(inputs), outputs, tuple(map(str, range(len(outputs)))))


def _renamed(body: object) -> Graph:
    """Return *body* with nodes and inputs of its own."""
    if not isinstance(body, Graph):
        raise TypeError("the body is no graph")
    fresh = {x: Value(x.spec, name=x.name) for x in body.inputs}
    renewed = with_constants(body, fresh)
    return replace(renewed, inputs=tuple(fresh.values()))
