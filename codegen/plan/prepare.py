"""Graph -> the same graph in the form that kernel families take.

A contraction with constant weights becomes a convolution with a window of one, any
other one a batch of matrix products ``(b, m, k), (b, n, k) -> (b, m, n)`` or
``(b, m, k), (b, k, n)``; a reduction keeps its axes. What that needs of transposes and
reshapes stands in the graph, where most of it costs nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from keramos.expr import call, const, operand
from keramos.graph import Constant, Graph, Node, Value, apply, literal
from keramos.plan.kernels import best, has_stage
from keramos.plan.layout import (
    CANONICAL_RANK,
    LANES,
    DoesNotFitError,
    Limits,
    blocks,
    regrouped,
    table,
)
from keramos.plan.profile import DEVICES
from keramos.plan.prologues import as_prologue, with_prologue
from keramos.plan.recompute import recomputed, with_recomputed
from keramos.primitives import (
    Contract,
    Conv,
    Map,
    Reduce,
    Reshape,
    Resize,
    Shape,
    Softmax,
    Spec,
    Transpose,
)

_IDENTITY = operand(0)
MATRIX = 2
# A loop of so many additions is too long for one fragment, if others could share it.
LONG = 256
# A piece of a sum has at least this many terms.
SHORT = 64
# Into so many pieces a sum may be cut.
PIECES = (2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The graph in the forms above; *results* tells which value holds which result.

    Reshapes may stand between a node's own result and that value: the elements are the
    same, in the same order. *regrouped* tells of kernels that needn't be stored.
    """

    graph: Graph
    results: Mapping[Node, tuple[Value, ...]]
    regrouped: Mapping[Constant, Regrouped]


@dataclass(frozen=True, slots=True)
class Regrouped:
    """The kernel that a grouped one reads in another order: its rows in *pieces*."""

    kernel: Value
    pieces: int


@dataclass(frozen=True, slots=True)
class Target:
    """Where the graph is going to run: so many samples at once, within the limits."""

    batch: int
    limits: Limits

    def cost(self, node: Node) -> float:
        """Return the microseconds of *node*; raise DoesNotFitError for too much."""
        return best(node, batch=self.batch, limits=self.limits).cost


@dataclass(frozen=True, slots=True)
class _Cutter:
    """Cuts sums for a target, and notes the kernels that it reads in pieces.

    *taken* are softmaxes that a product alone reads, which may compute them, and those
    products; *maps* are the last steps of such softmaxes.
    """

    target: Target
    regrouped: dict[Constant, Regrouped]
    taken: dict[Node, Node]
    maps: set[Node]


def prepare(graph: Graph, *, target: Target | None = None) -> Prepared:
    """Return *graph* with the primitives in the forms above.

    Long sums with few results are cut in pieces, so that there is work for all of the
    *target*, and what is cheap is computed again rather than stored. Without one
    nothing is cut: in a loop the draws that add the pieces up cost more than they save.
    """
    results: dict[Node, tuple[Value, ...]] = {}
    cutter = None if target is None else _Cutter(target, {}, {}, set())
    cheap = frozenset[Node]() if target is None else recomputed(graph)
    taken = {} if target is None else _taken(graph)
    inside: set[Node] = set()

    def visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        renewed = with_recomputed(replace(node, inputs=inputs), inside)
        if node in cheap:
            inside.add(renewed)
        if cutter is not None and node in taken:
            cutter.taken[renewed] = taken[node]
        results[node] = _visit(renewed, cutter) or renewed.results()
        return results[node]

    prepared = graph.rewrite(visit)
    outputs = tuple(map(_computed, prepared.outputs))
    regrouped = {} if cutter is None else cutter.regrouped
    return Prepared(replace(prepared, outputs=outputs), results, regrouped)


def _taken(graph: Graph) -> dict[Node, Node]:
    """Return the softmaxes of rows that only the left of a product reads, and that."""
    uses = Counter(x.key for x in graph.uses().elements())
    found = {}
    for node in graph.nodes:
        source = node.inputs[0].node if node.inputs else None
        if source is None or not isinstance(node.primitive, Contract):
            continue
        last = len(source.specs[0].shape) - 1
        rows = source.primitive in (Softmax(last), Softmax(last, log=True))
        alone = uses[source, 0] == 1 and source.epilogue is None
        if rows and alone and node.primitive.a_contract == (last,):
            found[source] = node
    return found


def _computed(value: Value) -> Value:
    """Return a value that a stage writes, for outputs that none would write."""
    source = value
    while source.node is not None and not has_stage(source.node):
        source = source.node.inputs[0]
    if source.node is not None:
        return value
    return Node(Map(_IDENTITY, value.dtype), (value,), (value.spec,)).results()[0]


def _visit(node: Node, cutter: _Cutter | None) -> tuple[Value, ...] | None:
    match node.primitive:
        case Contract() as contract:
            cut = None if cutter is None else _cut(node, contract, cutter)
            return cut or _contract(node, contract, cutter)
        case Conv() as conv if cutter is not None:
            return _cut_window(node, conv, cutter)
        case Reduce() as reduce:
            cut = None if cutter is None else _cut_row(node, reduce, cutter)
            return cut or _reduce(node, reduce)
        case Softmax(axis) as softmax if _merged(node, (axis,)):
            return _softmax(node, softmax)
        case Softmax() as softmax if cutter is not None:
            return _long_softmax(node, softmax, cutter)
        case Resize(axes) as resize if _merged(node, axes) or _last(node) in axes:
            return _resize(node, resize)
        case _:
            return None


def _sizes(shape: Shape) -> list[int]:
    return [d or 0 for d in shape]


def _reshape(x: Value, shape: list[int], node: Node) -> Value:
    if _sizes(x.shape) == shape:
        return x
    return apply(Reshape(tuple(shape)), x, origins=node.origins)[0]


def _viewed(x: Value, shape: list[int], node: Node) -> Value:
    """Return *x*, a Map with rows of the same length, as the Map of reshaped inputs."""
    if x.node is None:
        raise TypeError("only a Map is viewed through its inputs")
    if _sizes(x.shape) == shape:
        return x
    outer = math.prod(shape[:-1])
    inputs = []
    for y in x.node.inputs:
        sizes = _sizes(y.shape)
        whole = math.prod(sizes[:-1]) == outer
        inputs.append(_reshape(y, [*shape[:-1], sizes[-1]], node) if whole else y)
    return apply(x.node.primitive, *inputs, origins=x.node.origins)[0]


def _transpose(x: Value, order: list[int], node: Node) -> Value:
    if order == sorted(order):
        return x
    return apply(Transpose(tuple(order)), x, origins=node.origins)[0]


def _epilogue(y: Value, node: Node) -> tuple[Value, ...]:
    """Return *y*, which has the node's final shape, with the epilogue as a Map."""
    if node.epilogue is None:
        return (y,)
    primitive = Map(node.epilogue, node.specs[0].dtype)
    return apply(primitive, y, *node.extras, origins=node.origins)


def _last(node: Node) -> int:
    return len(node.inputs[0].shape) - 1


def _merged(node: Node, axes: tuple[int, ...]) -> bool:
    """Return whether one of *axes* shares its canonical axis with others."""
    rank = len(node.inputs[0].shape)
    return rank > CANONICAL_RANK and any(rank - axis >= CANONICAL_RANK for axis in axes)


def _around(x: Value, axis: int, node: Node) -> Value:
    """Return *x* as ``(all before, axis, all behind)``."""
    sizes = _sizes(x.shape)
    before, behind = math.prod(sizes[:axis]), math.prod(sizes[axis + 1 :])
    return _reshape(x, [before, sizes[axis], behind], node)


def _softmax(node: Node, softmax: Softmax) -> tuple[Value, ...]:
    x = node.inputs[0]
    primitive = Softmax(1, softmax.log)
    (y,) = apply(primitive, _around(x, softmax.axis, node), origins=node.origins)
    return _epilogue(_reshape(y, _sizes(x.shape), node), node)


def _long_softmax(
    node: Node, softmax: Softmax, cutter: _Cutter
) -> tuple[Value, ...] | None:
    """Return a softmax whose sums are computed once for each row.

    A single stage computes them for every texel. None where that is faster.
    """
    x, target = node.operands[0], cutter.target
    whole = {"origins": node.origins}
    product = cutter.taken.get(node)
    (top,) = apply(Reduce("max", (softmax.axis,), keepdims=True), x, **whole)
    power = call("exp", operand(0) - operand(1))
    (powers,) = apply(Map(power), x, top, **whole)
    adding = Reduce("sum", (softmax.axis,), keepdims=True)
    (total,) = apply(adding, powers, **whole)
    if softmax.log:
        logarithm = operand(0) - operand(1) - call("log", operand(2))
        found = [apply(Map(logarithm), x, top, total, **whole)]
    else:
        # Powers may be computed again rather than stored.
        over = const(1) / operand(2)
        again = apply(Map(power * over), x, top, total, **whole)
        scaled = Map(operand(0) * (const(1) / operand(1)))
        found = [again, apply(scaled, powers, total, **whole)]
    try:
        least = target.cost(node)
        chosen = None
        for (y,) in found:
            stored = y.node is not None and y.node.inputs[0].node is powers.node
            cost = _sums(top, total, target, stored=stored)
            cost += _final(y, product, target)
            if cost < least:
                least, chosen = cost, y
    except DoesNotFitError:
        return None
    if chosen is None:
        return None
    if product is not None and chosen.node is not None:
        cutter.maps.add(chosen.node)
    return _epilogue(chosen, node)


def _sums(top: Value, total: Value, target: Target, *, stored: bool) -> float:
    """Return the microseconds of a softmax's maximum, and of its sum of powers."""
    if top.node is None or total.node is None:
        raise TypeError("a softmax reduces what it is given")
    (powers,) = total.node.inputs
    taking = _taking(powers, total.node, target, stored=stored)
    apart = target.cost(top.node) + target.cost(total.node) + taking
    # Of rows one draw computes both, unless what the second reads is stored.
    adding = Reduce("sum", (_last(total.node),), keepdims=True)
    rows = not stored and total.node.primitive == adding
    return apart - DEVICES[target.limits.profile].draw if rows else apart


def _taking(x: Value, reader: Node, target: Target, *, stored: bool = False) -> float:
    """Return the microseconds of the Map that gives *x*.

    It is computed by its *reader* if that takes less, unless it has to be *stored*.
    """
    prologue = None if x.node is None else as_prologue(x.node)
    if x.node is None or prologue is None:
        return 0.0 if x.node is None else target.cost(x.node)
    kernel = best(reader, batch=target.batch, limits=target.limits)
    computed = with_prologue(kernel, reader, prologue, target.limits)
    draw = target.cost(x.node)
    return draw if stored else min(computed.cost - kernel.cost, draw)


def _final(y: Value, product: Node | None, target: Target) -> float:
    """Return the microseconds of the Map that gives *y*; *product* may compute it."""
    if y.node is None:
        raise TypeError("a softmax ends with a Map")
    if product is None or not isinstance(product.primitive, Contract):
        return target.cost(y.node)
    a, b = product.operands
    contract = product.primitive
    left, right = (
        math.prod(_sizes(x.shape)[axis] for axis in _rest(x, axes))
        for x, axes in (
            (a, contract.a_contract + contract.a_batch),
            (b, contract.b_contract + contract.b_batch),
        )
    )
    count = math.prod(_sizes(a.shape)[axis] for axis in contract.a_batch)
    k = _sizes(a.shape)[-1]
    plain = Contract((2,), (1,), (0,), (0,))
    pair = (Value(Spec((count, left, k))), Value(Spec((count, k, right))))
    node = Node(plain, pair, plain.infer(*(x.spec for x in pair)))
    return _taking(y, node, target)


def _resize(node: Node, resize: Resize) -> tuple[Value, ...]:
    """Resize one axis after the other, each with the rest around it."""
    y = node.inputs[0]
    for axis, size, factor in zip(resize.axes, resize.size, resize.factor, strict=True):
        sizes = _sizes(y.shape)
        single = replace(resize, axes=(1,), size=(size,), factor=(factor,))
        (part,) = apply(single, _around(y, axis, node), origins=node.origins)
        sizes[axis] = part.shape[1] or 0
        y = _reshape(part, sizes, node)
    return _epilogue(y, node)


def _reduce(node: Node, reduce: Reduce) -> tuple[Value, ...] | None:
    x = node.inputs[0]
    if _merged(node, reduce.axes):
        for axis in reduce.axes:
            sizes = _sizes(x.shape)
            single = Reduce(reduce.kind, (1,), keepdims=True)
            (part,) = apply(single, _around(x, axis, node), origins=node.origins)
            sizes[axis] = 1
            x = _reshape(part, sizes, node)
        return _epilogue(_reshape(x, _sizes(node.specs[0].shape), node), node)
    spatial = [axis for axis in reduce.axes if axis != _last(node)]
    if len(spatial) > 1 and math.prod(_sizes(x.shape)[a] for a in spatial) >= LONG:
        # The rows first, then the columns of sums: many short loops.
        first = Reduce(reduce.kind, (spatial[-1],), keepdims=True)
        (rows,) = apply(first, x, origins=node.origins)
        rest = tuple(axis for axis in reduce.axes if axis != spatial[-1])
        (y,) = apply(
            Reduce(reduce.kind, rest, keepdims=True), rows, origins=node.origins
        )
        return _epilogue(_reshape(y, _sizes(node.specs[0].shape), node), node)
    if reduce.keepdims:
        return None
    kept = Reduce(reduce.kind, reduce.axes, keepdims=True)
    (y,) = apply(kept, x, origins=node.origins)
    primitive = Reduce(reduce.kind, reduce.axes)
    return _epilogue(_reshape(y, _sizes(primitive.infer(x.spec)[0].shape), node), node)


def _cut_row(node: Node, reduce: Reduce, cutter: _Cutter) -> tuple[Value, ...] | None:
    """Return the reduction of a long axis as that of its runs, then of their results.

    None where that takes longer, even if the runs have to be copied.
    """
    x, sizes = node.operands[0], _sizes(node.operands[0].shape)
    if len(reduce.axes) != 1 or len(sizes) >= CANONICAL_RANK:
        return None
    (axis,) = reduce.axes
    unit = LANES if axis == _last(node) else 1
    terms = sizes[axis] // unit
    if terms < LONG or sizes[axis] % unit:
        return None
    run = next(d for d in range(math.isqrt(terms), 0, -1) if terms % d == 0)
    runs = [*sizes[:axis], terms // run, run * unit, *sizes[axis + 1 :]]
    split = _reshape(x, runs, node)
    origins = node.origins
    first = Reduce(reduce.kind, (axis + 1,), keepdims=True)
    (parts,) = apply(first, split, origins=origins)
    (total,) = apply(
        Reduce(reduce.kind, (axis,), keepdims=True), parts, origins=origins
    )
    whole = Reduce(reduce.kind, reduce.axes, keepdims=True)
    (single,) = apply(whole, x, origins=origins)
    steps = [value.node for value in (split, parts, total) if value.node is not None]
    try:
        several = sum(map(cutter.target.cost, steps))
        if single.node is None or several >= cutter.target.cost(single.node):
            return None
    except DoesNotFitError:
        return None
    shape = _sizes(reduce.infer(x.spec)[0].shape)
    return _epilogue(_reshape(total, shape, node), node)


def _contract(
    node: Node, contract: Contract, cutter: _Cutter | None
) -> tuple[Value, ...]:
    a, b = node.operands
    if a.constant is not None and b.constant is None and not contract.a_batch:
        return _swapped(node, contract, cutter)
    rest_a = _rest(a, contract.a_contract + contract.a_batch)
    rest_b = _rest(b, contract.b_contract + contract.b_batch)
    batch = [_sizes(a.shape)[i] for i in contract.a_batch]
    k = math.prod(_sizes(a.shape)[i] for i in contract.a_contract)
    left = _transpose(a, [*contract.a_batch, *rest_a, *contract.a_contract], node)
    free_a = [_sizes(a.shape)[i] for i in rest_a]
    free_b = [_sizes(b.shape)[i] for i in rest_b]
    shape = [*batch, *free_a, *free_b]
    if b.constant is not None and not batch:
        return _dense(node, contract, left, (free_a, free_b, k), cutter)
    columns = math.prod(free_b)
    # Rows of b along its last axis stay as they are: the kernel reads them across.
    across = contract.b_contract == (len(b.shape) - 1,)
    order = [*contract.b_batch, *rest_b, *contract.b_contract]
    if not across:
        order = [*contract.b_batch, *contract.b_contract, *rest_b]
    right = _transpose(b, order, node)
    count = math.prod(batch)
    shape_a = [count, math.prod(free_a), k]
    rows = cutter is not None and left.node in cutter.maps
    left = (_viewed if rows else _reshape)(left, shape_a, node)
    tail = [columns, k] if across else [k, columns]
    right = _reshape(right, [count, *tail], node)
    primitive = Contract((2,), (2 if across else 1,), (0,), (0,))
    (y,) = apply(primitive, left, right, origins=node.origins)
    if _sizes(y.shape) == shape and node.epilogue is not None:
        fused = replace(node, primitive=primitive, inputs=(left, right, *node.extras))
        return fused.results()
    return _epilogue(_reshape(y, shape, node), node)


def _cut(node: Node, contract: Contract, cutter: _Cutter) -> tuple[Value, ...] | None:
    """Return a product of few rows with constants as a sum of pieces of its sum.

    None where there are enough results, or the sum is short, or its columns fill whole
    texels: then it is cut as a convolution.
    """
    batch, busy = cutter.target.batch, DEVICES[cutter.target.limits.profile].busy
    a, b = node.operands
    plain = contract.a_contract == (len(a.shape) - 1,) and contract.b_contract == (0,)
    if b.constant is None or len(b.shape) != MATRIX or not plain:
        return None
    depth, columns = _sizes(b.shape)
    if columns % LANES == 0:
        return None
    rows = math.prod(_sizes(a.shape)[:-1])
    results = batch * rows * blocks(columns)
    pieces = next(
        (
            count
            for count in (2, 4, 8, 16, 32)
            if results * count >= busy or depth // count < 2 * SHORT
        ),
        32,
    )
    if results * 2 > busy or depth < 2 * SHORT or depth % (pieces * LANES):
        return None
    part = depth // pieces
    left = _transpose(_reshape(a, [rows, pieces, part], node), [1, 0, 2], node)
    right = _reshape(b, [pieces, part, columns], node)
    primitive = Contract((2,), (1,), (0,), (0,))
    (parts,) = apply(primitive, left, right, origins=node.origins)
    (total,) = apply(Reduce("sum", (0,), keepdims=True), parts, origins=node.origins)
    shape = [*_sizes(a.shape)[:-1], columns]
    return _epilogue(_reshape(total, shape, node), node)


def _cut_window(node: Node, conv: Conv, cutter: _Cutter) -> tuple[Value, ...] | None:
    """Return a convolution as a sum of convolutions of some of its channels each.

    They are the groups of one convolution, whose results lie side by side. None where
    that takes longer.
    """
    _, kernel = node.operands
    *window, depth, filters = _sizes(kernel.shape)
    if conv.groups > 1 or kernel.constant is None or filters % LANES:
        return None
    if len(window) >= CANONICAL_RANK - 1:
        return None
    try:
        least = cutter.target.cost(node)
    except DoesNotFitError:
        return None
    chosen: tuple[Node, Constant, int] | None = None
    for pieces in PIECES:
        if depth % (pieces * LANES) or depth // pieces < SHORT // 2:
            continue
        parts, weights = _in_groups(node, conv, pieces)
        adding = _adding(node, parts.results()[0], pieces)
        try:
            cost = cutter.target.cost(parts) + cutter.target.cost(adding)
        except DoesNotFitError:
            continue
        if cost < least and _regroups(kernel, pieces, cutter):
            least, chosen = cost, (adding, weights, pieces)
    if chosen is None:
        return None
    adding, weights, pieces = chosen
    cutter.regrouped[weights] = Regrouped(kernel, pieces)
    return adding.results()


def _in_groups(node: Node, conv: Conv, pieces: int) -> tuple[Node, Constant]:
    """Return a convolution of each piece of the channels, and its kernel."""
    x, kernel = node.operands
    *window, depth, filters = _sizes(kernel.shape)
    rank, part = len(window), depth // pieces
    split = _reshape(kernel, [*window, pieces, part, filters], node)
    order = [*range(rank), rank + 1, rank, rank + 2]
    turned = _transpose(split, order, node)
    weights = _reshape(turned, [*window, part, pieces * filters], node)
    if weights.constant is None:
        raise TypeError("the kernel isn't a constant")
    grouped = replace(conv, groups=pieces)
    specs = grouped.infer(x.spec, weights.spec)
    return Node(grouped, (x, weights), specs, node.origins), weights.constant


def _regroups(kernel: Value, pieces: int, cutter: _Cutter) -> bool:
    """Return whether the stored *kernel* can be read in pieces."""
    *window, depth, filters = _sizes(kernel.shape)
    shape = (1, math.prod(window), depth, filters)
    try:
        layout = table(shape, limits=cutter.target.limits)
    except DoesNotFitError:
        return False
    return regrouped(layout, shape, pieces) is not None


def _adding(node: Node, parts: Value, pieces: int) -> Node:
    """Return the sum of equal runs of channels, with the epilogue of *node*.

    The runs become the first axis, which is one more view of what lies there.
    """
    *spatial, total = _sizes(parts.shape)
    rank = len(spatial)
    split = _reshape(parts, [*spatial, pieces, total // pieces], node)
    runs = _transpose(split, [rank, *range(rank), rank + 1], node)
    inputs = (runs, *node.extras)
    return replace(node, primitive=Reduce("sum", (0,)), inputs=inputs, arity=1)


def _rest(x: Value, axes: tuple[int, ...]) -> list[int]:
    return [i for i in range(len(x.shape)) if i not in axes]


def _swapped(
    node: Node, contract: Contract, cutter: _Cutter | None
) -> tuple[Value, ...]:
    """Return constant times value as value times constant, then transposed."""
    a, b = node.operands
    flipped = Contract(contract.b_contract, contract.a_contract)
    plain = Node(flipped, (b, a), flipped.infer(b.spec, a.spec), node.origins)
    (y,) = _contract(plain, flipped, cutter)
    left = len(b.shape) - len(contract.b_contract)
    total = len(node.specs[0].shape)
    order = [*range(left, total), *range(left)]
    return _epilogue(_transpose(y, order, node), node)


def _dense(
    node: Node,
    contract: Contract,
    left: Value,
    sizes: tuple[list[int], list[int], int],
    cutter: _Cutter | None,
) -> tuple[Value, ...]:
    """Return a contraction with constant weights as a convolution with window 1."""
    free_a, free_b, k = sizes
    b = node.operands[1]
    columns = math.prod(free_b)
    rest_b = _rest(b, contract.b_contract)
    weights = _transpose(b, [*contract.b_contract, *rest_b], node)
    spatial = free_a if len(free_a) <= 3 else [math.prod(free_a)]  # noqa: PLR2004
    ones = (1,) * len(spatial)
    weights = _reshape(weights, [*ones, k, columns], node)
    left = _reshape(left, [*spatial, k], node)
    primitive = Conv(ones, ((0, 0),) * len(ones), ones, ones)
    plain = Node(
        primitive,
        (left, weights),
        primitive.infer(left.spec, weights.spec),
        node.origins,
    )
    (y,) = plain.results()
    if _sizes(y.shape) == _sizes(node.specs[0].shape) and node.epilogue is not None:
        fused = replace(node, primitive=primitive, inputs=(left, weights, *node.extras))
        return _convolved(fused, cutter)
    shape = [*free_a, *free_b]
    extras = [
        x for x in node.extras if x.constant is None or len(x.shape) > len(free_b)
    ]
    if node.epilogue is None or extras:
        (y,) = _convolved(plain, cutter)
        return _epilogue(_reshape(y, shape, node), node)
    flat = tuple(_flat(x, free_b, columns, node) for x in node.extras)
    fused = replace(
        node, primitive=primitive, inputs=(left, weights, *flat), specs=(y.spec,)
    )
    return (_reshape(_convolved(fused, cutter)[0], shape, node),)


def _convolved(node: Node, cutter: _Cutter | None) -> tuple[Value, ...]:
    """Return the result of a convolution, cut where that is faster."""
    cut = None
    if cutter is not None and isinstance(node.primitive, Conv):
        cut = _cut_window(node, node.primitive, cutter)
    return cut or node.results()


def _flat(x: Value, free_b: list[int], columns: int, node: Node) -> Value:
    """Return a constant that broadcasts against *free_b* as one row."""
    size = math.prod(_sizes(x.shape))
    if size in (1, columns):
        return _reshape(x, [size], node)
    zeros = literal(np.zeros(free_b, np.float32))
    (grown,) = apply(Map(operand(0) + operand(1)), x, zeros, origins=node.origins)
    return _reshape(grown, [columns], node)
