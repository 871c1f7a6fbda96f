"""Products of one input as one product, of which their readers take slices.

Queries, keys and values of attention, the first convolutions of an Inception block's
branches, a residual block's shortcut beside its first convolution: one wide draw takes
less time than several narrow ones, and reads the input once. The slices are views.

    x A, x B = (x [A B])[:, :a], (x [A B])[:, a:]

Where epilogues differ, a number for each channel says whose it takes.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from keramos.expr import Expr, call, const, operand, where
from keramos.graph import Graph, Node, Value, apply, literal
from keramos.passes.matching import origins
from keramos.plan.kernels import NoKernelError, has_stage
from keramos.plan.layout import CANONICAL_RANK, LANES, DoesNotFitError
from keramos.plan.prepare import Prepared, Target, prepare
from keramos.primitives import Concat, Contract, Conv, Reshape, Shape, Slice

# What is fused lives as long as the last of it is read: that should save some time.
WORTHWHILE = 0.98


def prepare_fused(graph: Graph, *, target: Target) -> Prepared:
    """Return *graph* as :func:`prepare` does, with products of one input as one.

    Only where that is estimated to take less time.
    """
    groups = {
        member.node: group for group in _groups(graph, target) for member in group
    }
    results: dict[Node, tuple[Value, ...]] = {}

    def visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        group = groups.get(node)
        if group is not None and node not in results:
            fused = _fused(group, inputs[0])
            members = (member.node for member in group)
            results.update(zip(members, _slices(group, fused), strict=True))
        return results.setdefault(node, replace(node, inputs=inputs).results())

    prepared = prepare(graph.rewrite(visit), target=target)
    found = {
        node: tuple(_result(prepared, y) for y in values)
        for node, values in results.items()
    }
    return replace(prepared, results=found)


def _result(prepared: Prepared, value: Value) -> Value:
    """Return what became of *value*."""
    return value if value.node is None else prepared.results[value.node][value.index]


@dataclass(frozen=True, slots=True)
class _Member:
    """A product that may be fused: its result is *shape* from *axis* on."""

    node: Node
    axis: int

    @property
    def kernel(self) -> Value:
        """Return the weights."""
        return self.node.operands[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the sizes of the axes that the weights give."""
        return tuple(d or 0 for d in self.node.specs[0].shape[self.axis :])

    @property
    def fills_texels(self) -> bool:
        """Return whether what lies behind it begins a texel."""
        return len(self.shape) > 1 or self.shape[0] % LANES == 0


def _groups(graph: Graph, target: Target) -> Iterator[Sequence[_Member]]:
    """Yield the products that become one."""
    kept = _kept(graph)
    alike: dict[Hashable, list[_Member]] = {}
    for node in graph.nodes:
        member = None if node in kept else _member(node)
        if member is not None:
            alike.setdefault(_geometry(member), []).append(member)
    for members in alike.values():
        # What doesn't fill its last texel comes last, and only one can.
        filling = [member for member in members if member.fills_texels]
        ragged = [member for member in members if not member.fills_texels]
        found = [*filling, *ragged[:1]]
        group = _fastest(found, target) if len(found) > 1 else ()
        if len(group) > 1:
            yield group


def _kept(graph: Graph) -> set[Node | None]:
    """Return the nodes whose results would be copied if they were slices.

    Those are outputs, and what concatenations are written in place of.
    """
    readers = [
        x for n in graph.nodes if isinstance(n.primitive, Concat) for x in n.inputs
    ]
    return {x.node for x in (*readers, *graph.outputs)}


def _member(node: Node) -> _Member | None:
    """Return *node* as a product that may be fused; None for anything else."""
    rank = len(node.specs[0].shape)
    match node.primitive:
        case Conv(groups=1):
            member = _Member(node, rank - 1)
        case Contract(_, summed, _, ()) if len(summed) < len(node.operands[1].shape):
            member = _Member(node, rank - len(node.operands[1].shape) + len(summed))
        case _:
            return None
    x, kernel = node.operands
    if x.constant is not None or kernel.constant is None:
        return None
    # Of results with more axes the first ones are merged.
    apart = rank <= CANONICAL_RANK or rank - member.axis < CANONICAL_RANK
    channels = all(_is_of_channels(y, member.shape) for y in node.extras)
    return member if apart and channels else None


def _is_of_channels(x: Value, shape: Shape) -> bool:
    """Return whether *x* is a constant with a float for each channel of *shape*."""
    ones = len(x.shape) - len(shape)
    ending = ones >= 0 and x.shape == (*(1,) * ones, *shape)
    return x.constant is not None and x.dtype == "float32" and ending


def _geometry(member: _Member) -> Hashable:
    """Return what is equal for products of one input that differ in channels alone."""
    node, kernel = member.node, member.kernel
    sizes = list(kernel.shape)
    del sizes[_joined_axis(member)]
    storage = None if kernel.constant is None else kernel.constant.storage
    return (node.inputs[0].key, node.primitive, tuple(sizes), storage)


def _joined_axis(member: _Member) -> int:
    """Return along which of their axes weights are joined: the first of a result's."""
    if not isinstance(member.node.primitive, Contract):
        return len(member.kernel.shape) - 1
    summed = member.node.primitive.b_contract
    return next(k for k in range(len(member.kernel.shape)) if k not in summed)


def _fastest(members: Sequence[_Member], target: Target) -> Sequence[_Member]:
    """Return those of *members* that are faster as one, adding one after the other."""
    first, *rest = members
    x = Value(first.node.inputs[0].spec, name="x")

    def cost(*members: _Member) -> float:
        return _cost(_fused(members, x), target)

    chosen, least = [first], cost(first)
    for member in rest:
        joint = cost(*chosen, member)
        if joint < (least + cost(member)) * WORTHWHILE:
            chosen.append(member)
            least = joint
    return chosen


def _cost(node: Node, target: Target) -> float:
    """Return the microseconds of what *node* becomes; infinite if that can't be."""
    graph = Graph(node.inputs[:1], node.results(), ("y",))
    (y,) = prepare(graph, target=target).results[node]
    nodes = Graph(node.inputs[:1], (y,), ("y",)).nodes
    try:
        return sum(target.cost(each) for each in nodes if has_stage(each))
    except (DoesNotFitError, NoKernelError):
        return math.inf


def _fused(group: Sequence[_Member], x: Value) -> Node:
    """Return the products of *x* as one."""
    nodes = [member.node for member in group]
    first = group[0]
    kernel = _joined([member.kernel for member in group], _joined_axis(first))
    extras, epilogue = _epilogue(group)
    spec = replace(first.node.specs[0], shape=_shape(group))
    arity = 0 if epilogue is None else 2
    return replace(
        first.node,
        inputs=(x, kernel, *extras),
        specs=(spec,),
        origins=origins(*nodes),
        epilogue=epilogue,
        arity=arity,
    )


def _shape(group: Sequence[_Member]) -> Shape:
    """Return the shape of the result of *group*."""
    first = group[0]
    channels = sum(member.shape[0] for member in group)
    own = first.node.specs[0].shape
    return (*own[: first.axis], channels, *own[first.axis + 1 :])


def _epilogue(group: Sequence[_Member]) -> tuple[Sequence[Value], Expr | None]:
    """Return what an epilogue for all of *group* reads, and it; None without one."""
    count = max(len(member.node.extras) for member in group)
    extras = [
        _joined([_extra(member, number) for member in group], 0)
        for number in range(count)
    ]
    expressions = [member.node.epilogue or operand(0) for member in group]
    if len(set(expressions)) == 1:
        return extras, group[0].node.epilogue
    kinds = list(dict.fromkeys(expressions))
    numbers = [
        np.full(member.shape, kinds.index(expr), np.float32)
        for member, expr in zip(group, expressions, strict=True)
    ]
    extras.append(literal(np.concatenate(numbers)))
    epilogue = kinds[-1]
    for number, expr in reversed([*enumerate(kinds[:-1])]):
        mine = call("lt", operand(count + 1), const(number + 0.5))
        epilogue = where(mine, expr, epilogue)
    return extras, epilogue


def _extra(member: _Member, number: int) -> Value:
    """Return what a member's epilogue reads, zeros where it reads no more."""
    if number >= len(member.node.extras):
        return literal(np.zeros(member.shape, np.float32))
    x = member.node.extras[number]
    return x if x.shape == member.shape else apply(Reshape(member.shape), x)[0]


def _joined(constants: Sequence[Value], axis: int) -> Value:
    """Return constants one behind the other along *axis*."""
    if len(constants) == 1:
        return constants[0]
    return apply(Concat(axis), *constants)[0]


def _slices(group: Sequence[_Member], fused: Node) -> Iterator[tuple[Value, ...]]:
    """Yield the results of the members: runs of the channels of *fused*."""
    (y,) = fused.results()
    start = 0
    for member in group:
        stop = start + member.shape[0]
        before, behind = y.shape[: member.axis], y.shape[member.axis + 1 :]
        whole = (None, None, 1)
        run = (start, stop, 1)
        slices = (*(whole for _ in before), run, *(whole for _ in behind))
        yield apply(Slice(slices), y, origins=member.node.origins)
        start = stop
