"""Compute the steps of a loop without states all at once.

A Scan that carries nothing from step to step applies its body to each element of its
sequences. Here the steps become one more axis, in front, of whatever depends on them:
a product has another axis of rows, a window of length 1 slides along the steps, and a
loop inside carries the states of all steps at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from keramos import ops
from keramos.expr import call, operand
from keramos.graph import Graph, Node, Origin, Value, ValueKey, apply, literal
from keramos.primitives import (
    Concat,
    Contract,
    Conv,
    Gather,
    Map,
    Pad,
    Primitive,
    Reduce,
    Reshape,
    Resize,
    Scan,
    Shape,
    Slice,
    Softmax,
    Transpose,
    Window,
    product,
)

# Convolutions and pooling have three spatial axes at most.
MOST_SPATIAL = 3
# Steps of more elements keep a CPU busy, and stay in its cache, one at a time.
LARGEST_STEP = 1 << 16


class NoRuleError(Exception):
    """A node can't take all steps at once."""


@dataclass(frozen=True, slots=True)
class Lifted:
    """A value of the body, outside: *stepped* is whether the steps are its axis 0."""

    value: Value
    stepped: bool


def vectorise_steps(graph: Graph) -> Graph:
    """Return the graph without the loops that carry nothing, where rules allow it."""
    return graph.rewrite(_visit)


def _visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Return the results of all steps, or the loop with the loops in it vectorised."""
    scan = node.primitive
    if not isinstance(scan, Scan) or not isinstance(scan.body, Graph):
        return None
    body = vectorise_steps(scan.body)
    if scan.states == 0 and _gains(body):
        given = [
            Lifted(x, stepped=place < scan.sequences) for place, x in enumerate(inputs)
        ]
        try:
            return tuple(all_steps(body, given, inputs[0].shape[0]))
        except NoRuleError:
            pass
    kept = replace(scan, body=body)
    return replace(node, primitive=kept, inputs=inputs).results()


def _gains(body: Graph) -> bool:
    """Return whether all steps at once are better than one after the other.

    Loops inside gain at any size: there are fewer of them, and GPUs take no loop in a
    loop.
    """
    if any(isinstance(node.primitive, Scan) for node in body.nodes):
        return True
    sizes = [product(spec.shape) for node in body.nodes for spec in node.specs]
    return all(size is not None and size <= LARGEST_STEP for size in sizes)


def all_steps(body: Graph, given: Sequence[Lifted], steps: int | None) -> list[Value]:
    """Return what *body* gives for all steps; raise NoRuleError where it can't."""
    known: dict[ValueKey, Lifted] = dict(zip(body.inputs, given, strict=True))
    for node in body.nodes:
        operands = [
            known[x.key] if x.constant is None else Lifted(x, stepped=False)
            for x in node.inputs
        ]
        stepped = any(x.stepped for x in operands)
        results = _results(node, operands, steps)
        for index, value in enumerate(results):
            known[node, index] = Lifted(value, stepped=stepped)
    outputs = [
        known[y.key] if y.constant is None else Lifted(y, stepped=False)
        for y in body.outputs
    ]
    return [_repeated(y, steps, ()) for y in outputs]


def _results(
    node: Node, operands: Sequence[Lifted], steps: int | None
) -> tuple[Value, ...]:
    """Return the results of *node*: for all steps, if an operand has steps."""
    if not any(x.stepped for x in operands):
        return replace(node, inputs=tuple(x.value for x in operands)).results()
    if node.epilogue is None:
        return _apply(node, operands, steps)
    own, extras = operands[: node.arity], operands[node.arity :]
    specs = node.primitive.infer(*(x.spec for x in node.operands))
    plain = Node(node.primitive, node.operands, specs, node.origins)
    (y,) = _results(plain, own, steps)
    result = Lifted(y, stepped=any(x.stepped for x in own))
    return _map(node, Map(node.epilogue, node.specs[0].dtype), [result, *extras])


def _apply(
    node: Node, operands: Sequence[Lifted], steps: int | None
) -> tuple[Value, ...]:
    """Return the results of the primitive for all steps, which come first."""
    primitive = node.primitive
    match primitive:
        case Map():
            return _map(node, primitive, operands)
        case Contract():
            return _contract(node, primitive, operands)
        case Gather():
            return _gather(node, primitive, operands)
        case Concat(axis):
            whole = [_repeated(x, steps, node.origins) for x in operands]
            return apply(Concat(axis + 1), *whole, origins=node.origins)
        case Scan():
            return _scan(node, primitive, operands, steps)
        case _:
            first, *rest = operands
            if any(x.stepped for x in rest):
                raise NoRuleError
            lifted = _behind_steps(primitive, first.value.shape[0])
            kernels = [_behind_one(x.value, node) for x in rest]
            return apply(lifted, first.value, *kernels, origins=node.origins)


def _behind_steps(primitive: Primitive, steps: int | None) -> Primitive:
    """Return a primitive of one tensor for a tensor with the steps in front."""
    match primitive:
        case Conv() | Window():
            return _sliding(primitive)
        case Reduce(kind, axes, keepdims):
            return Reduce(kind, tuple(axis + 1 for axis in axes), keepdims)
        case Softmax(axis, log):
            return Softmax(axis + 1, log)
        case Reshape(shape):
            return Reshape((steps, *shape))
        case Transpose(permutation):
            return Transpose((0, *(axis + 1 for axis in permutation)))
        case Slice(slices):
            return Slice(((None, None, 1), *slices))
        case Pad(widths, value):
            return Pad(((0, 0), *widths), value)
        case Resize(axes):
            return replace(primitive, axes=tuple(axis + 1 for axis in axes))
        case _:
            raise NoRuleError


def _sliding(primitive: Conv | Window) -> Conv | Window:
    """Return a convolution or pooling with a window of one along the steps."""
    if len(primitive.strides) >= MOST_SPATIAL:
        raise NoRuleError
    strides, padding = (1, *primitive.strides), ((0, 0), *primitive.padding)
    if isinstance(primitive, Window):
        size = (1, *primitive.size)
        return replace(primitive, size=size, strides=strides, padding=padding)
    return replace(
        primitive,
        strides=strides,
        padding=padding,
        dilation=(1, *primitive.dilation),
        input_dilation=(1, *primitive.input_dilation),
    )


def _behind_one(kernel: Value, node: Node) -> Value:
    """Return *kernel* with a window of one in front."""
    return apply(Reshape((1, *kernel.shape)), kernel, origins=node.origins)[0]


def _map(node: Node, primitive: Map, operands: Sequence[Lifted]) -> tuple[Value, ...]:
    """Return a Map; what has fewer axes gets ones behind the steps."""
    rank = max(len(x.value.shape) - x.stepped for x in operands)
    return apply(
        primitive, *(_aligned(x, rank, node) for x in operands), origins=node.origins
    )


def _aligned(x: Lifted, rank: int, node: Node) -> Value:
    """Return *x* with *rank* axes behind the steps, if it has steps."""
    steps, *rest = x.value.shape if x.stepped else (None,)
    if not x.stepped or len(rest) == rank:
        return x.value
    shape: Shape = (steps, *(1,) * (rank - len(rest)), *rest)
    return apply(Reshape(shape), x.value, origins=node.origins)[0]


def _contract(
    node: Node, primitive: Contract, operands: Sequence[Lifted]
) -> tuple[Value, ...]:
    """Return a product: the steps are paired, or rows of the side that has them."""
    a, b = operands
    lifted = Contract(
        _shifted(primitive.a_contract, a),
        _shifted(primitive.b_contract, b),
        (0,) * (a.stepped and b.stepped) + _shifted(primitive.a_batch, a),
        (0,) * (a.stepped and b.stepped) + _shifted(primitive.b_batch, b),
    )
    (y,) = apply(lifted, a.value, b.value, origins=node.origins)
    place = 0
    if not (a.stepped and b.stepped):
        place = len(primitive.a_batch)
    if not a.stepped:
        place = len(a.value.shape) - len(primitive.a_contract)
    return (_steps_first(y, place, node),)


def _shifted(axes: tuple[int, ...], x: Lifted) -> tuple[int, ...]:
    """Return the axes of a body's value as those of *x*."""
    return tuple(axis + x.stepped for axis in axes)


def _steps_first(y: Value, place: int, node: Node) -> Value:
    """Return *y*, whose steps are axis *place*, with the steps in front."""
    if place == 0:
        return y
    rank = len(y.shape)
    order = (place, *(axis for axis in range(rank) if axis != place))
    return apply(Transpose(order), y, origins=node.origins)[0]


def _gather(
    node: Node, primitive: Gather, operands: Sequence[Lifted]
) -> tuple[Value, ...]:
    """Return elements of one table for all steps, or of a table per step."""
    data, indices = operands
    if data.stepped and indices.stepped:
        raise NoRuleError
    axis = primitive.axis + data.stepped
    (y,) = apply(Gather(axis), data.value, indices.value, origins=node.origins)
    return (_steps_first(y, 0 if data.stepped else axis, node),)


def _scan(
    node: Node, scan: Scan, operands: Sequence[Lifted], steps: int | None
) -> tuple[Value, ...]:
    """Return the results of a loop that goes through all outer steps together."""
    body = scan.body
    if not isinstance(body, Graph):
        raise NoRuleError
    taken = operands[: scan.sequences]
    initial = operands[scan.sequences :][: scan.states]
    invariants = operands[scan.sequences + scan.states :]

    def step(*given: Value) -> tuple[Sequence[Value], Sequence[Value]]:
        elements = [
            Lifted(x, stepped=whole.stepped)
            for x, whole in zip(given, taken, strict=False)
        ]
        states = [Lifted(x, stepped=True) for x in given[scan.sequences :]]
        results = all_steps(body, [*elements, *states, *invariants], steps)
        return results[: scan.states], results[scan.states :]

    sequences = [_time_first(x, node) for x in taken]
    states = [_repeated(x, steps, node.origins) for x in initial]
    outputs, last = ops.scan(step, sequences, states, reverse=scan.reverse)
    return (*(_time_first(Lifted(y, stepped=True), node) for y in outputs), *last)


def _time_first(x: Lifted, node: Node) -> Value:
    """Return a sequence per step as a sequence of all steps, or the other way round."""
    return _steps_first(x.value, 1, node) if x.stepped else x.value


def _repeated(x: Lifted, steps: int | None, origins: tuple[Origin, ...]) -> Value:
    """Return *x* with the steps in front; NoRuleError where their number is free."""
    if x.stepped:
        return x.value
    if steps is None:
        raise NoRuleError
    shape = (steps, *(1,) * len(x.value.shape))
    dtype = x.value.dtype
    zeros = literal(np.zeros(shape, dtype))
    function = call("or" if dtype == "bool" else "add", operand(0), operand(1))
    return apply(Map(function, dtype), x.value, zeros, origins=origins)[0]
