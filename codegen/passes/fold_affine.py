"""Put scales and shifts into the weights of the linear nodes around them.

``(conv(x, k) + b) * s + t = conv(x, k * s) + (b * s + t)`` and, where no zeros are put
around x, ``conv(x * s + t, k) = conv(x, k * s) + conv(t, k)``: so go batch
normalisation, rescaling and bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from keramos import expr as scalar
from keramos.expr import Expr, operand, operands_of
from keramos.graph import Array, Constant, Graph, Node, Value, apply, constant, literal
from keramos.passes.algebra import ONE, ZERO, Affine, affine, kind, size
from keramos.passes.matching import Readers, aligned, compact, key, origins, plain
from keramos.primitives import (
    Contract,
    Conv,
    Map,
    Primitive,
    Spec,
    align,
    broadcast,
)


def fold_affine(graph: Graph) -> Graph:
    """Return the graph with fewer scales and shifts.

    What multiplies the result of a convolution or contraction with constant weights
    goes into them; what is applied to its operand, too, with a bias behind it; what is
    left is one scale and one shift.
    """
    readers = Readers(graph)

    def visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        readers.follow(node, inputs)
        match node.primitive:
            case Map():
                return _behind(node, node.primitive, inputs, readers)
            case Conv() | Contract():
                return _in_front(node, inputs, readers)
            case _:
                return None

    return graph.rewrite(visit)


def _constants(inputs: Sequence[Value]) -> frozenset[int]:
    """Return which operands are constant numbers."""
    return frozenset(
        index
        for index, x in enumerate(inputs)
        if x.constant is not None and x.dtype == "float32"
    )


def _behind(
    node: Node, primitive: Map, inputs: tuple[Value, ...], readers: Readers
) -> tuple[Value, ...] | None:
    """Return a Map whose scales went into the nodes that give its operands."""
    if kind(primitive.expr, [x.dtype for x in inputs]) is None:
        return None
    expr, operands = primitive.expr, [*inputs]
    layers = [node]
    for index in sorted(operands_of(expr) - _constants(inputs)):
        found = affine(expr, index, _constants(operands))
        if found is None:
            continue
        outer, part = found
        x = operands[index]
        scaled = _scaled_giver(x, part.scale, operands, readers)
        if scaled is not None and x.node is not None:
            operands[index] = scaled
            layers.insert(0, x.node)
            inner = _affine(operand(index), ONE, part.shift, operands)
        else:
            inner = _affine(operand(index), part.scale, part.shift, operands)
            if size(inner) >= size(part.inner) or _shifts_first(part.inner, index):
                continue
        expr = scalar.substitute(
            outer, [inner if i == index else operand(i) for i in range(len(operands))]
        )
    if expr == primitive.expr:
        return None
    expr, kept = compact(expr, operands)
    if expr == operand(0) and kept[0].spec == node.specs[0]:
        return kept
    new = replace(primitive, expr=expr)
    if new.infer(*(x.spec for x in kept)) != node.specs:
        return None
    return apply(new, *kept, origins=origins(*layers))


def _affine(x: Expr, scale: Expr, shift: Expr, operands: list[Value]) -> Expr:
    """Return ``x * scale + shift``, their numbers as operands behind *operands*."""
    if scale != ONE:
        x = x * _operand(scale, operands, role="scale")
    if shift != ZERO:
        x = x + _operand(shift, operands, role="bias")
    return x


def _operand(expr: Expr, operands: list[Value], *, role: str) -> Expr:
    """Return *expr*, which reads constants alone, as a literal or as an operand."""
    if not operands_of(expr) or expr.op == "input":
        return expr
    operands.append(_computed(expr, operands, role=role))
    return operand(len(operands) - 1)


def _computed(expr: Expr, operands: Sequence[Value], *, role: str) -> Value:
    """Return the numbers of *expr*, which reads constants alone, computed in double."""
    expr, kept = compact(expr, operands)
    shape = broadcast([x.shape for x in kept])

    def load() -> Array:
        arrays = [
            x.constant.array()[None].astype(np.float64)
            for x in kept
            if x.constant is not None
        ]
        wide = scalar.evaluate(expr, [align(array, len(shape)) for array in arrays])
        result: Array = np.broadcast_to(wide, (1, *_known(shape)))[0]
        return result.astype(np.float32)

    return constant(
        Constant(Spec(shape), load, recipe=("computed", expr, *map(key, kept))),
        name=_name(kept[0], role),
    )


def _name(x: Value, role: str) -> str:
    """Return the name of a constant that stands for *x* and others."""
    layer = x.name.rpartition("/")[0]
    return f"{layer}/{role}" if layer else role


def _known(shape: Sequence[int | None]) -> tuple[int, ...]:
    """Return the shape of a constant, which has no free dimensions."""
    return tuple(d or 0 for d in shape)


def _shifts_first(expr: Expr, index: int) -> bool:
    """Return whether *expr* adds to operand *index* before it multiplies.

    Data far from zero lose their digits if that is turned round: (x - mean) / deviation
    stays as it is.
    """
    for arg in expr.args:
        if index in operands_of(arg):
            if arg.op == "input":
                return expr.op in ("add", "sub")
            return _shifts_first(arg, index)
    return False


# Behind: what the result is multiplied by


def _scaled_giver(
    x: Value, scale: Expr, inputs: Sequence[Value], readers: Readers
) -> Value | None:
    """Return *x* times *scale* by other weights; None where that can't be."""
    node = plain(x, Conv) or plain(x, Contract)
    if node is None or not readers.lone(x):
        return None
    if scale == ONE:
        return x
    weights = _weights(node.primitive, node.inputs)
    if weights is None:
        return None
    factor = _factor(scale, inputs)
    axes = _result_axes(node, weights)
    if not _varies_along(factor.shape, x.shape, axes):
        return None
    given = [*node.inputs]
    given[weights] = _scaled(given[weights], factor, axes, len(x.shape))
    return replace(node, inputs=tuple(given)).results()[0]


def _factor(scale: Expr, inputs: Sequence[Value]) -> Value:
    """Return *scale* as a constant."""
    if scale.op == "input":
        return inputs[scale.index]
    if operands_of(scale):
        return _computed(scale, inputs, role="scale")
    number = np.float32(scalar.evaluate(scale, []))
    return literal(np.asarray(number))


def _weights(primitive: Primitive, inputs: Sequence[Value]) -> int | None:
    """Return which operand of a linear node is constant weights."""
    sides = (1,) if isinstance(primitive, Conv) else (1, 0)
    return next((side for side in sides if inputs[side].constant is not None), None)


def _result_axes(node: Node, weights: int) -> dict[int, int]:
    """Return the axes of the result that are axes of the weights, and which."""
    primitive = node.primitive
    kernel = len(node.inputs[weights].shape)
    if not isinstance(primitive, Contract):
        return {len(node.specs[0].shape) - 1: kernel - 1}
    sides = (
        (primitive.a_contract, primitive.a_batch),
        (primitive.b_contract, primitive.b_batch),
    )
    contracted, batch = sides[weights]
    rest = [axis for axis in range(kernel) if axis not in contracted + batch]
    rank = len(node.specs[0].shape)
    start = len(batch) if weights == 0 else rank - len(rest)
    axes = dict(enumerate(batch))
    return axes | {start + place: axis for place, axis in enumerate(rest)}


def _varies_along(
    shape: Sequence[int | None], of: Sequence[int | None], axes: Mapping[int, int]
) -> bool:
    """Return whether *shape* broadcasts to the shape *of*, along *axes* alone."""
    if len(shape) > len(of):
        return False
    full = aligned(tuple(shape), len(of))
    return all(
        d == 1 or (axis in axes and d == of[axis]) for axis, d in enumerate(full)
    )


def _scaled(weights: Value, factor: Value, axes: Mapping[int, int], rank: int) -> Value:
    """Return *weights* times *factor*, whose *axes* are those of the weights."""
    order = sorted(axes, key=axes.__getitem__)
    shape = [1] * len(weights.shape)
    full = aligned(factor.shape, rank)
    for axis in order:
        shape[axes[axis]] = full[axis] or 1

    def load() -> Array:
        # What isn't in axes has length 1, so that only the order of axes matters.
        numbers = _array(factor).reshape(_known(full))
        others = [axis for axis in range(rank) if axis not in axes]
        numbers = numbers.transpose(*others, *order).reshape(shape)
        return _product(_array(weights), numbers)

    recipe = ("scaled", key(weights), key(factor), tuple(axes.items()), rank)
    return constant(Constant(weights.spec, load, recipe=recipe), name=weights.name)


def _array(x: Value) -> Array:
    """Return the numbers of a constant."""
    if x.constant is None:
        raise ValueError(f"{x.spec} isn't constant")
    return x.constant.array()


def _product(a: Array, b: Array) -> Array:
    """Return the product, rounded once."""
    return np.multiply(a, b, dtype=np.float64).astype(np.float32)


# In front: what the operand is multiplied by


def _in_front(
    node: Node, inputs: tuple[Value, ...], readers: Readers
) -> tuple[Value, ...] | None:
    """Return the node on what its operand was scaled and shifted from."""
    primitive = node.primitive
    weights = _weights(primitive, inputs)
    if weights is None or not readers.lone(inputs[1 - weights]):
        return None
    x, kernel = inputs[1 - weights], inputs[weights]
    found = _pure(x)
    if found is None:
        return None
    source, part, given = found
    axes = _operand_axes(primitive, weights, len(x.shape))
    scale, shift = _factor(part.scale, given), _factor(part.shift, given)
    if not all(_varies_along(f.shape, x.shape, axes) for f in (scale, shift)):
        return None
    if part.shift != ZERO and not _meets_all(primitive):
        return None
    if isinstance(primitive, Conv):
        new = _scaled_channels(kernel, scale, primitive.groups)
    else:
        new = _scaled(kernel, scale, axes, len(x.shape))
    operands = [*inputs]
    operands[weights], operands[1 - weights] = new, source
    moved = replace(node, inputs=tuple(operands))
    if part.shift == ZERO:
        return moved.results()
    return _with_bias(moved, _bias(primitive, kernel, shift, weights, len(x.shape)))


def _operand_axes(primitive: Primitive, weights: int, rank: int) -> dict[int, int]:
    """Return the axes of the other operand that meet axes of the weights, and which."""
    if not isinstance(primitive, Contract):
        return {rank - 1: rank - 1}
    a = primitive.a_contract + primitive.a_batch
    b = primitive.b_contract + primitive.b_batch
    return dict(zip(a, b, strict=True) if weights == 1 else zip(b, a, strict=True))


def _meets_all(primitive: Primitive) -> bool:
    """Return whether every sum runs over elements of x alone, and no padding."""
    if not isinstance(primitive, Conv):
        return True
    valid = all(pad == (0, 0) for pad in primitive.padding)
    return valid and all(step == 1 for step in primitive.input_dilation)


def _pure(x: Value) -> tuple[Value, Affine, tuple[Value, ...]] | None:
    """Return what *x* is an affine function of, the function, and its constants."""
    node = plain(x, Map)
    if node is None or not isinstance(node.primitive, Map):
        return None
    if any(y.dtype != "float32" for y in (x, *node.inputs)):
        return None
    expr, constants = node.primitive.expr, _constants(node.inputs)
    values = operands_of(expr) - constants
    if len(values) != 1 or kind(expr, ["float32"] * len(node.inputs)) is None:
        return None
    (index,) = values
    found = affine(expr, index, constants)
    source = node.inputs[index]
    if found is None or found[0] != operand(index) or source.shape != x.shape:
        return None
    if found[1].shift != ZERO and _shifts_first(expr, index):
        return None
    return source, found[1], node.inputs


def _scaled_channels(kernel: Value, factor: Value, groups: int) -> Value:
    """Return a convolution's kernel times a number per input channel."""

    def load() -> Array:
        numbers = _array(kernel)
        depth, filters = numbers.shape[-2:]
        scales = np.broadcast_to(_array(factor).reshape(-1), depth * groups)
        # Column o of the kernel reads the channels of its group.
        columns = scales.reshape(groups, depth).T.repeat(filters // groups, axis=1)
        return _product(numbers, columns)

    recipe = ("channels scaled", key(kernel), key(factor), groups)
    return constant(Constant(kernel.spec, load, recipe=recipe), name=kernel.name)


def _bias(
    primitive: Primitive, kernel: Value, shift: Value, weights: int, rank: int
) -> Value:
    """Return what the node makes of *shift* alone; operands have *rank* axes."""
    axes = _operand_axes(primitive, weights, rank)
    shape = [1] * rank
    for axis, other in axes.items():
        shape[axis] = kernel.shape[other] or 0
    if isinstance(primitive, Conv):
        # On a single window each tap meets the shift once.
        still, valid = (1,) * (rank - 1), ((0, 0),) * (rank - 1)
        primitive = Conv(still, valid, still, still, primitive.groups)
        *window, depth, _ = _known(kernel.shape)
        shape = [*window, depth * primitive.groups]
    specs = [Spec(tuple(shape)), kernel.spec]
    spec = primitive.infer(*(specs if weights == 1 else specs[::-1]))[0]

    def load() -> Array:
        full = _array(shift).reshape(_known(aligned(shift.shape, rank)))
        given = [np.broadcast_to(full, shape)[None], _array(kernel)[None]]
        wide = [array.astype(np.float64) for array in given]
        result: Array = primitive.evaluate(*(wide if weights == 1 else wide[::-1]))[0]
        narrow: Array = result[0].astype(np.float32)
        return narrow

    recipe = ("bias", primitive, key(kernel), key(shift), weights)
    return constant(Constant(spec, load, recipe=recipe), name=_name(kernel, "bias"))


def _with_bias(node: Node, bias: Value) -> tuple[Value, ...]:
    """Return the node's result plus *bias*."""
    if node.epilogue is None:
        (y,) = node.results()
        return apply(Map(operand(0) + operand(1)), y, bias, origins=node.origins)
    extra = operand(len(node.inputs) - node.arity + 1)
    rest = [operand(index + 1) for index in range(len(node.extras))]
    epilogue = scalar.substitute(node.epilogue, [operand(0) + extra, *rest])
    return replace(node, inputs=(*node.inputs, bias), epilogue=epilogue).results()
