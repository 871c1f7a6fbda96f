"""The plan of the JavaScript path: stages in order, and where each value lies.

All values of one sample lie in one arena of float32, each at its own place for as long
as somebody reads it. Integers and truth values are floats too. A Reshape is another
view of what it reads; a Map may write over an operand that nobody reads afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

from keramos.errors import CompileError, Problem, quoted
from keramos.expr import operand
from keramos.graph import Graph, Node, Value, ValueKey, apply
from keramos.plan.cpu import Names
from keramos.plan.names import input_names, stage_names
from keramos.primitives import Map, Reshape, Scan, Shape
from keramos.text import identifier

# What starts at a multiple of 16 bytes shares no more cache lines than it must.
_ALIGNMENT = 4


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """A place in the arena for *length* numbers."""

    name: str
    length: int


# Where a value is found: in the arena, or, where it is a constant, among the tensors.
Source = Buffer | Value


@dataclass(frozen=True, slots=True)
class State:
    """What a Scan keeps from step to step: it begins as *initial*, then takes *new*."""

    buffer: Buffer
    initial: Source
    new: Source


@dataclass(frozen=True, slots=True)
class Loop:
    """The steps of a Scan.

    *steps* hold one step of each sequence, which it takes from. *sequences* are what
    the stages give and where the steps of it are joined.
    """

    length: int
    reverse: bool
    steps: tuple[tuple[Source, Buffer], ...]
    states: tuple[State, ...]
    sequences: tuple[tuple[Source, Buffer], ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """A node at *place* in the order of the whole program.

    *function* is what the module calls it; *operands* say where its inputs are found,
    *results* where its results go: None where nobody reads one.
    """

    name: str
    function: str
    node: Node
    place: int
    operands: tuple[Source, ...]
    results: tuple[Source | None, ...]
    loop: Loop | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages of a model.

    *uses* are the places at which each buffer is written or read.
    """

    inputs: tuple[Buffer, ...]
    outputs: tuple[Source, ...]
    stages: tuple[Stage, ...]
    uses: Mapping[Buffer, Sequence[int]]


def plan(graph: Graph, names: Names, *, where: str) -> Plan:
    """Return the plan of *graph*, whose buffers are called what *names* gives.

    *where* names the model in errors. Raises CompileError where a dimension is free.
    """
    _refuse_free(graph, where)
    planner = _Planner(names)
    sources: dict[ValueKey, Source] = {}
    for x, text in input_names(graph).items():
        sources[x] = planner.buffer(text, x.shape)
    inputs = tuple(planner.uses)
    stages = planner.stages(graph, sources, kept=frozenset())
    outputs = tuple(_source(y, sources) for y in graph.outputs)
    planner.use(outputs)
    return Plan(inputs, outputs, stages, planner.uses)


def _refuse_free(graph: Graph, where: str) -> None:
    """Raise CompileError where a value's length isn't known."""
    free = [x for x in graph.inputs if None in x.shape]
    values = [y for node in graph.nodes for y in node.results()]
    if not free and not any(None in y.shape for y in values):
        return
    hint = "pass --input-shape INPUT=D1,D2,... for each, or --target cpu"
    problems = [
        Problem(
            where,
            f"the web target needs fixed shapes, but input {quoted(x.name)}"
            f" is {x.spec}",
            hint,
        )
        for x in free
    ]
    if not problems:
        problem = "the web target needs fixed shapes, but lengths depend on the data"
        problems = [Problem(where, problem, hint)]
    raise CompileError(problems)


def length(shape: Shape) -> int:
    """Return the number of elements."""
    return math.prod(d or 0 for d in shape)


def _source(value: Value, where: Mapping[ValueKey, Source]) -> Source:
    return value if value.constant is not None else where[value.key]


class _Planner:
    """Gives out buffers, and notes when each is used."""

    def __init__(self, names: Names) -> None:
        """Begin at the first place."""
        self.names = names
        self.uses: dict[Buffer, list[int]] = {}
        self.place = 0

    def buffer(self, name: str, shape: Shape) -> Buffer:
        """Return a fresh buffer that is used here."""
        buffer = Buffer(self.names.take(name), length(shape))
        self.uses[buffer] = [self.place]
        return buffer

    def use(self, sources: Iterable[Source | None]) -> None:
        """Note that *sources* are used here."""
        for source in sources:
            if isinstance(source, Buffer):
                self.uses[source].append(self.place)

    def stages(
        self,
        graph: Graph,
        where: dict[ValueKey, Source],
        *,
        kept: frozenset[Source],
        within: str = "",
    ) -> tuple[Stage, ...]:
        """Return the stages of *graph*, its values added to *where*.

        Nothing is written over the sources *kept*. *within* goes before names.
        """
        labels = stage_names(graph)
        functions = {
            node: self.names.take(identifier(f"{within}{text}"))
            for node, text in labels.items()
        }
        last = _last_readers(graph)
        planned = []
        for number, node in enumerate(graph.nodes):
            operands = tuple(_source(x, where) for x in node.inputs)
            self.place += 1
            if isinstance(node.primitive, Scan):
                names = (labels[node], functions[node])
                stage = self._scan(node, node.primitive, names, operands, last)
            else:
                result = _view(node, operands) or self._over(
                    node, number, operands, last, kept
                )
                if result is None:
                    name = f"after_{functions[node]}"
                    result = self.buffer(name, node.specs[0].shape)
                stage = Stage(
                    name=labels[node],
                    function=functions[node],
                    node=node,
                    place=self.place,
                    operands=operands,
                    results=(result,),
                )
            self.use((*operands, *stage.results))
            for index, source in enumerate(stage.results):
                if source is not None:
                    where[node, index] = source
            planned.append(stage)
        self.place += 1
        return tuple(planned)

    def _over(
        self,
        node: Node,
        number: int,
        operands: Sequence[Source],
        last: Mapping[ValueKey, int],
        kept: frozenset[Source],
    ) -> Source | None:
        """Return the operand over which an elementwise node may write, if any."""
        if not isinstance(node.primitive, Map) or node.epilogue is not None:
            return None
        for x, source in zip(node.inputs, operands, strict=True):
            if (
                isinstance(source, Buffer)
                and source not in kept
                and source.length == length(node.specs[0].shape)
                and last[_root(x)] == number
            ):
                return source
        return None

    def _scan(
        self,
        node: Node,
        scan: Scan,
        names: tuple[str, str],
        operands: tuple[Source, ...],
        last: Mapping[ValueKey, int],
    ) -> Stage:
        """Return the stage of a Scan, its body planned for this one use."""
        if node.epilogue is not None:
            raise ValueError("a Scan has no epilogue")
        label, name = names
        start = self.place
        count = len(node.specs) - scan.states
        used = [k for k in range(count) if (node, k) in last]
        body = _body(scan, used)
        where: dict[ValueKey, Source] = dict(zip(body.inputs, operands, strict=True))
        own = scan.sequences + scan.states
        buffers = [
            self.buffer(f"{name}_{identifier(x.name)}", x.shape)
            for x in body.inputs[:own]
        ]
        where.update(zip(body.inputs, buffers, strict=False))
        steps, states = buffers[: scan.sequences], buffers[scan.sequences :]
        joined = [self.buffer(f"after_{name}", node.specs[k].shape) for k in used]
        kept = frozenset(where.values())
        stages = self.stages(body, where, kept=kept, within=f"{name}_")
        given = [_source(y, where) for y in body.outputs]
        self.use((*given, *buffers, *joined))
        initial = operands[scan.sequences : own]
        loop = Loop(
            length=node.inputs[0].shape[0] or 0,
            reverse=scan.reverse,
            steps=tuple(zip(operands, steps, strict=False)),
            states=tuple(map(State, states, initial, given)),
            sequences=tuple(zip(given[scan.states :], joined, strict=True)),
            stages=stages,
        )
        by_index: dict[int, Source] = dict(zip(used, joined, strict=True))
        results = [by_index.get(k) for k in range(count)]
        return Stage(label, name, node, start, operands, (*results, *states), loop)


def _body(scan: Scan, used: Sequence[int]) -> Graph:
    """Return the body of *scan* with the output sequences *used* alone.

    A new state that is another state as it was is copied first: it is written over.
    """
    body = scan.body
    if not isinstance(body, Graph):
        raise TypeError(f"the body of a Scan is {type(body)}, not a Graph")
    states = body.inputs[scan.sequences : scan.sequences + scan.states]
    outputs = [
        _copy(y) if _root(y) in {*states} - {state} else y
        for y, state in zip(body.outputs, states, strict=False)
    ]
    outputs += [body.outputs[scan.states + k] for k in used]
    kept = [*range(scan.states), *(scan.states + k for k in used)]
    labels = tuple(body.output_names[k] for k in kept)
    return replace(body, outputs=tuple(outputs), output_names=labels)


def _copy(value: Value) -> Value:
    return apply(Map(operand(0), value.dtype), value)[0]


def _is_view(node: Node | None) -> TypeGuard[Node]:
    """Return whether *node* gives the numbers that it reads."""
    return (
        node is not None
        and isinstance(node.primitive, Reshape)
        and node.epilogue is None
    )


def _view(node: Node, operands: Sequence[Source]) -> Source | None:
    """Return where the result lies if it is what the node reads."""
    return operands[0] if _is_view(node) else None


def _root(value: Value) -> ValueKey:
    """Return the value in whose place *value* lies."""
    while _is_view(value.node):
        value = value.node.inputs[0]
    return value.key


def _last_readers(graph: Graph) -> dict[ValueKey, int]:
    """Return the last node that reads each value or a view of it; outputs are last."""
    last = {
        _root(x): number
        for number, node in enumerate(graph.nodes)
        if not _is_view(node)
        for x in node.inputs
    }
    return last | {_root(y): len(graph.nodes) for y in graph.outputs}


def arena(uses: Mapping[Buffer, Sequence[int]]) -> tuple[dict[Buffer, int], int]:
    """Return where in the arena each buffer begins, and the arena's length.

    The largest ones choose first, the lowest place that is free while they are used.
    """
    offsets: dict[Buffer, int] = {}
    for buffer in sorted(uses, key=lambda b: -b.length):
        taken = sorted(
            (offsets[other], offsets[other] + other.length)
            for other in offsets
            if _overlap(uses[buffer], uses[other])
        )
        start = 0
        for low, high in taken:
            if start + buffer.length <= low:
                break
            start = max(start, -(-high // _ALIGNMENT) * _ALIGNMENT)
        offsets[buffer] = start
    end = max((start + b.length for b, start in offsets.items()), default=0)
    return offsets, end


def _overlap(a: Sequence[int], b: Sequence[int]) -> bool:
    return min(a) <= max(b) and min(b) <= max(a)
