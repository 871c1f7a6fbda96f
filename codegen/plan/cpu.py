"""The plan of the CPU: stages in order, who keeps which value, and for how long.

A stage is one function of the emitted module. The function that calls the stages keeps
a value that only the next stage reads in ``x``, every other one in ``after_STAGE``
until its last reader has run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from keramos.graph import Graph, Node, Value, ValueKey
from keramos.plan.names import constant_names, input_names, stage_names
from keramos.primitives import DType, Reshape, Scan, Slice, Transpose
from keramos.text import identifier

# A variable has one type.
CHAINS: Mapping[DType, str] = {"float32": "x", "int32": "x_int32", "bool": "x_bool"}


def result_name(stage: str, index: int) -> str:
    """Return the name under which result *index* of a stage is verified."""
    return f"{stage}[{index}]" if index else stage


@dataclass(frozen=True, slots=True)
class Stage:
    """A node as a function.

    *used* are the results that somebody reads, *variables* where they are kept.
    *dead* are the variables that nobody reads once the stage has run. *fixed* says that
    the results depend on constants alone, so that they have no batch axis.
    """

    name: str
    node: Node
    used: tuple[int, ...]
    variables: tuple[str, ...]
    dead: tuple[str, ...]
    fixed: bool
    body: Plan | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A function that calls stages in order.

    *variables* says where each value that isn't stored among the weights is found,
    *constants* the names of those that are. *fixed* values have no batch axis, *unread*
    parameters have no influence. *copied*
    are the outputs that would share memory with an argument or with each other.
    """

    name: str
    graph: Graph
    parameters: tuple[Value, ...]
    stages: tuple[Stage, ...]
    variables: Mapping[ValueKey, str]
    constants: Mapping[Value, str]
    fixed: frozenset[ValueKey]
    unread: frozenset[Value]
    copied: frozenset[int]


class Names:
    """Names that are taken in the emitted module; each is given once."""

    def __init__(self, taken: Iterable[str]) -> None:
        """Begin with the names *taken*."""
        self._taken = set(taken)

    def take(self, name: str) -> str:
        """Return *name*, with a number behind where it is taken already."""
        candidate, count = name, 1
        while candidate in self._taken:
            count += 1
            candidate = f"{name}_{count}"
        self._taken.add(candidate)
        return candidate


def plan(graph: Graph, *, constants: Mapping[Value, str] | None = None) -> Plan:
    """Return the plan of a model; *constants* may name its constants otherwise."""
    stages = stage_names(graph)
    names = Names(stages.values())
    planned = _plan(graph, "predict", stages, names, frozenset())
    return planned if constants is None else replace(planned, constants=constants)


def _plan(
    graph: Graph,
    name: str,
    stages: Mapping[Node, str],
    names: Names,
    constants: frozenset[Value],
) -> Plan:
    """Return the plan of *graph*, whose inputs *constants* have no batch axis."""
    local = Names(stages.values())
    fixed = _fixed(graph, constants)
    chains = {dtype: local.take(text) for dtype, text in CHAINS.items()}
    readers = _readers(graph)
    variables: dict[ValueKey, str] = {
        x: local.take(text) for x, text in input_names(graph).items()
    }
    planned = []
    for place, node in enumerate(graph.nodes):
        used = tuple(k for k in range(len(node.specs)) if (node, k) in readers)
        for index in used:
            suffix = f"_{index}" if index else ""
            variables[node, index] = (
                chains[node.specs[index].dtype]
                if len(used) == 1 and set(readers[node, index]) == {place + 1}
                else local.take(f"after_{stages[node]}{suffix}")
            )
        given = dict.fromkeys(x.key for x in node.inputs if x.node is not None)
        dead = [variables[x] for x in given if readers[x][-1] == place]
        planned.append(
            Stage(
                name=stages[node],
                node=node,
                used=used,
                variables=tuple(variables[node, index] for index in used),
                dead=tuple(text for text in dead if text not in chains.values()),
                fixed=(node, 0) in fixed,
                body=_body(node, used, stages[node], names, fixed),
            )
        )
    return Plan(
        name=name,
        graph=graph,
        parameters=graph.inputs,
        stages=tuple(planned),
        variables=variables,
        constants=constant_names(graph),
        fixed=fixed,
        unread=frozenset(x for x in graph.inputs if x not in readers),
        copied=_copied(graph),
    )


def _fixed(graph: Graph, constants: frozenset[Value]) -> frozenset[ValueKey]:
    """Return the values that don't depend on the batch."""
    fixed: set[ValueKey] = {*constants, *graph.constants()}
    for node in graph.nodes:
        if all(x.key in fixed for x in node.inputs):
            fixed.update((node, index) for index in range(len(node.specs)))
    return frozenset(fixed)


def _readers(graph: Graph) -> dict[ValueKey, list[int]]:
    """Return the positions of the nodes that read each value; the caller's is last."""
    readers: dict[ValueKey, list[int]] = {}
    for place, node in enumerate(graph.nodes):
        for x in node.inputs:
            readers.setdefault(x.key, []).append(place)
    for y in graph.outputs:
        readers.setdefault(y.key, []).append(len(graph.nodes))
    return readers


def _body(
    node: Node,
    used: Sequence[int],
    name: str,
    names: Names,
    fixed: frozenset[ValueKey],
) -> Plan | None:
    """Return the plan of the steps that a Scan repeats, None for other nodes."""
    scan = node.primitive
    if not isinstance(scan, Scan):
        return None
    body = scan.body
    if not isinstance(body, Graph):
        raise TypeError(f"the body of a Scan is {type(body)}, not a Graph")
    sequences = len(node.specs) - scan.states
    kept = [*range(scan.states), *(scan.states + k for k in used if k < sequences)]
    body = Graph(
        body.inputs,
        tuple(body.outputs[k] for k in kept),
        tuple(body.output_names[k] for k in kept),
        body.name,
    )
    pairs = zip(body.inputs, node.inputs, strict=True)
    invariant = list(pairs)[scan.sequences + scan.states :]
    constants = frozenset(mine for mine, given in invariant if given.key in fixed)
    step = names.take(identifier(f"{name}_step"))
    stages = {
        inner: names.take(identifier(f"{name}_{text}"))
        for inner, text in stage_names(body).items()
    }
    return _plan(body, step, stages, names, constants)


def _copied(graph: Graph) -> frozenset[int]:
    """Return the outputs whose memory isn't theirs alone."""
    roots = [_root(y) for y in graph.outputs]
    return frozenset(
        index
        for index, root in enumerate(roots)
        if not isinstance(root, tuple)
        or isinstance(root[0].primitive, Scan)
        or root in roots[:index]
    )


def _root(value: Value) -> ValueKey:
    """Return the value in whose memory *value* lies."""
    while value.node is not None:
        views = (Reshape, Transpose, Slice)
        if value.node.epilogue is not None or not isinstance(
            value.node.primitive, views
        ):
            break
        value = value.node.inputs[0]
    return value.key
