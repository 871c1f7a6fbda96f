"""The gradient of a value as a graph of the same primitives, by the chain rule.

Nodes are visited from the back; each adds to the gradients of its inputs what
``gradient of its result * derivative`` gives.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np

from keramos import ops
from keramos.expr import Expr, call, const, operand, operands_of, where
from keramos.graph import Graph, Node, Value, ValueKey, apply, literal
from keramos.passes.algebra import ONE, ZERO, simplify
from keramos.primitives import (
    Array,
    Concat,
    Contract,
    Conv,
    Map,
    Pad,
    Primitive,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    Transpose,
    Window,
)


class GradientError(ValueError):
    """There is no rule for something on the way; the text says for what."""


def gradient(y: Value, x: Value, seed: Value) -> Value:
    """Return the gradient of ``sum(seed * y)`` with respect to *x*.

    Raises GradientError where a node between them has no derivative here, and where
    shapes aren't known or *y* doesn't depend on *x*.
    """
    nodes = Graph((x,), (y,), ("y",)).nodes
    dependent = {x.key}
    for node in nodes:
        if x.node is not node and any(z.key in dependent for z in node.inputs):
            dependent.update((node, index) for index in range(len(node.specs)))
    if y.key not in dependent:
        raise GradientError("the output doesn't depend on it")
    found: dict[ValueKey, Value] = {y.key: seed}
    for node in reversed(nodes):
        given = found.get((node, 0))
        if given is None or node is x.node:
            continue
        for place, z in enumerate(node.inputs):
            if z.key in dependent:
                part = _passed(node, place, given)
                old = found.get(z.key)
                found[z.key] = part if old is None else old + part
    return found[x.key]


def _passed(node: Node, place: int, g: Value) -> Value:
    """Return what the gradient *g* of a node's result adds to that of an input."""
    x = node.inputs[place]
    if any(None in z.shape for z in (x, g)):
        raise GradientError("lengths are free")
    if node.epilogue is not None or len(node.specs) > 1 or x.dtype != "float32":
        raise GradientError(f"{type(node.primitive).__name__} is on the way")
    match node.primitive:
        case Map(expr):
            return _map(node, expr, place, g)
        case Contract() as contract:
            return _contract(node, contract, place, g)
        case Conv() as conv if place == 0:
            return _conv(node, conv, g)
        case Reduce() as reduce:
            return _reduce(node, reduce, g)
        case Softmax() as softmax:
            return _softmax(node, softmax, g)
        case Window() as window:
            return _window(node, window, g)
        case primitive:
            return _moved(node, primitive, place, g)


def _moved(node: Node, primitive: Primitive, place: int, g: Value) -> Value:
    """Return *g* where the elements were that the node moved."""
    x = node.inputs[place]
    match primitive:
        case Reshape():
            return ops.reshape(g, x.shape)
        case Transpose(permutation):
            return ops.transpose(g, [*np.argsort(permutation).tolist()])
        case Concat(axis):
            start = sum(_sizes(z)[axis] for z in node.inputs[:place])
            return _part(g, axis, start, start + _sizes(x)[axis])
        case Pad(widths):
            for axis, (low, _) in enumerate(widths):
                g = _part(g, axis, low, low + _sizes(x)[axis])
            return g
        case Slice(slices) if all(step == 1 for _, _, step in slices):
            ranges = [
                range(*slice(*s).indices(size))
                for s, size in zip(slices, _sizes(x), strict=True)
            ]
            sizes = zip(ranges, _sizes(x), strict=True)
            return ops.pad(g, [(r.start, size - r.stop) for r, size in sizes])
        case _:
            raise GradientError(f"{type(primitive).__name__} is on the way")


def _sizes(x: Value) -> list[int]:
    """Return the shape, which is known."""
    return [d or 0 for d in x.shape]


def _part(x: Value, axis: int, start: int, stop: int) -> Value:
    key = [slice(None)] * len(x.shape)
    key[axis] = slice(start, stop)
    return x[tuple(key)]


# Elementwise


def _map(node: Node, expr: Expr, place: int, g: Value) -> Value:
    """Return ``g * d expr / d operand``, summed where the operand was broadcast."""
    inputs = node.inputs
    x = inputs[place]
    slope = derivative(expr, place)
    if slope == ZERO:
        return ops.zeros(_sizes(x))
    if slope != ONE:
        joint = operand(len(inputs)) * slope
        (g,) = apply(Map(joint), *inputs, g)
    shape = _sizes(g)
    own = [1] * (len(shape) - len(x.shape)) + _sizes(x)
    axes = [axis for axis, d in enumerate(own) if d == 1 and shape[axis] != 1]
    if axes:
        g = ops.sum(g, axes, keepdims=True)
    return ops.reshape(g, x.shape)


def derivative(expr: Expr, index: int) -> Expr:
    """Return the derivative of *expr* with respect to operand *index*.

    At a kink it is that of the side where nothing is passed on: 0 for max(x, 0).
    Raises GradientError.
    """
    if index not in operands_of(expr):
        return ZERO
    if expr.op == "input":
        return ONE
    if expr.op == "where":
        sides = [derivative(arg, index) for arg in expr.args[1:]]
        return sides[0] if sides[0] == sides[1] else where(expr.args[0], *sides)
    rules = _SLOPES.get(expr.op)
    if rules is None:
        raise GradientError(f"the function {expr.op} is on the way")
    total = ZERO
    for arg, rule in zip(expr.args, rules(expr, *expr.args), strict=True):
        inner = derivative(arg, index)
        if ZERO not in (inner, rule):
            total = simplify(total + simplify(rule * inner))
    return total


def _pow(y: Expr, a: Expr, b: Expr) -> tuple[Expr, ...]:
    return b * call("pow", a, b - 1.0), y * call("log", a)


# The derivative with respect to each argument, of y = op(arguments).
_SLOPES: Mapping[str, Callable[..., tuple[Expr, ...]]] = {
    "abs": lambda _, a: (call("sign", a),),
    "add": lambda *_: (ONE, ONE),
    "atan": lambda _, a: (1.0 / (1.0 + a * a),),
    "ceil": lambda *_: (ZERO,),
    "cos": lambda _, a: (-call("sin", a),),
    "div": lambda y, _, b: (1.0 / b, -y / b),
    "erf": lambda _, a: (call("exp", -(a * a)) * (2 / math.sqrt(math.pi)),),
    "exp": lambda y, _: (y,),
    "expm1": lambda y, _: (y + 1.0,),
    "floor": lambda *_: (ZERO,),
    "log": lambda _, a: (1.0 / a,),
    "log1p": lambda _, a: (1.0 / (1.0 + a),),
    "max": lambda _, a, b: (where(a > b, 1.0, 0.0), where(b > a, 1.0, 0.0)),
    "min": lambda _, a, b: (where(a < b, 1.0, 0.0), where(b < a, 1.0, 0.0)),
    "mul": lambda _, a, b: (b, a),
    "neg": lambda *_: (const(-1),),
    "pow": _pow,
    "round": lambda *_: (ZERO,),
    "rsqrt": lambda y, a: (y / a * -0.5,),
    "sigmoid": lambda y, _: (y * (1.0 - y),),
    "sign": lambda *_: (ZERO,),
    "sin": lambda _, a: (call("cos", a),),
    "sqrt": lambda y, _: (0.5 / y,),
    "sub": lambda *_: (ONE, const(-1)),
    "tanh": lambda y, _: (1.0 - y * y,),
    "trunc": lambda *_: (ZERO,),
}


# Sums of products


def _contract(node: Node, contract: Contract, place: int, g: Value) -> Value:
    """Return g contracted with the other operand over the axes that only that has."""
    sides = (
        (contract.a_contract, contract.a_batch),
        (contract.b_contract, contract.b_batch),
    )
    mine, theirs = sides[place], sides[1 - place]
    other = node.inputs[1 - place]
    rest = [_rest(z, *side) for z, side in zip(node.inputs, sides, strict=True)]
    batch = len(contract.a_batch)
    # The axes of g: batch, what is left of a, what is left of b.
    spans = (
        range(batch, batch + len(rest[0])),
        range(batch + len(rest[0]), len(g.shape)),
    )
    back = Contract(
        tuple(spans[1 - place]), tuple(rest[1 - place]), tuple(range(batch)), theirs[1]
    )
    (y,) = apply(back, g, other)
    # The axes of y: batch, what is left of mine, the contracted ones as *other* has
    # them, in ascending order.
    partner = dict(zip(theirs[0], mine[0], strict=True))
    order = [*mine[1], *rest[place], *(partner[axis] for axis in sorted(theirs[0]))]
    return ops.transpose(y, [order.index(axis) for axis in range(len(order))])


def _rest(x: Value, contracted: tuple[int, ...], batch: tuple[int, ...]) -> list[int]:
    return [axis for axis in range(len(x.shape)) if axis not in contracted + batch]


def _conv(node: Node, conv: Conv, g: Value) -> Value:
    """Return the transposed convolution of g."""
    x, kernel = node.inputs
    *window, depth, filters = _sizes(kernel)
    rank, groups = len(window), conv.groups
    if any(isinstance(pads, str) for pads in conv.padding):
        raise GradientError("lengths are free")
    flipped = kernel
    for axis in range(rank):
        flipped = ops.flip(flipped, axis)
    # (*window, c, g, o) -> (*window, o, g, c): outputs of a group become its inputs.
    flipped = ops.reshape(flipped, [*window, depth, groups, filters // groups])
    order = [*range(rank), rank + 2, rank + 1, rank]
    flipped = ops.transpose(flipped, order)
    flipped = ops.reshape(flipped, [*window, filters // groups, groups * depth])
    padding = []
    for axis, (low, _) in enumerate(_numbers(conv)):
        extent = (window[axis] - 1) * conv.dilation[axis] + 1
        dilated = (_sizes(g)[axis] - 1) * conv.strides[axis] + 1
        before = extent - 1 - low
        after = (_sizes(x)[axis] - 1) * conv.input_dilation[axis] + extent
        padding.append((before, after - dilated - before))
    if min(itertools.chain(*padding)) < 0:
        raise GradientError("a convolution with more padding than its window")
    back = Conv(
        conv.input_dilation, tuple(padding), conv.dilation, conv.strides, groups
    )
    return apply(back, g, flipped)[0]


def _numbers(node: Conv | Window) -> list[tuple[int, int]]:
    """Return the padding, which is known where shapes are."""
    return [pads for pads in node.padding if not isinstance(pads, str)]


# Reductions


def _reduce(node: Node, reduce: Reduce, g: Value) -> Value:
    x = node.inputs[0]
    kept = [1 if a in reduce.axes else d for a, d in enumerate(_sizes(x))]
    count = math.prod(_sizes(x)[a] for a in reduce.axes)
    g = ops.reshape(g, kept)
    match reduce.kind:
        case "sum":
            return ops.broadcast_to(g, x.shape)
        case "mean":
            return ops.broadcast_to(g / float(count), x.shape)
        case "max" | "min":
            y = ops.reshape(node.results()[0], kept)
            same = ops.cast(ops.equal(x, y), "float32")
            # As many as are equal share it.
            return same * (g / ops.sum(same, reduce.axes, keepdims=True))
        case kind:
            raise GradientError(f"a {kind} is on the way")


def _softmax(node: Node, softmax: Softmax, g: Value) -> Value:
    (y,) = node.results()
    axis = softmax.axis
    if softmax.log:
        return g - ops.exp(y) * ops.sum(g, axis, keepdims=True)
    return y * (g - ops.sum(g * y, axis, keepdims=True))


def _window(node: Node, window: Window, g: Value) -> Value:
    """Return g, put back where each window took its elements from."""
    x = node.inputs[0]
    if any(isinstance(pads, str) for pads in window.padding):
        raise GradientError("lengths are free")
    pads = _numbers(window)
    rank, channels = len(pads), _sizes(x)[-1]
    padded = [d + sum(p) for d, p in zip(_sizes(x)[:-1], pads, strict=True)]
    if window.kind == "max":
        spread = _to_largest(node, window, padded, g)
    else:
        if window.kind == "mean":
            g = g / literal(_counts(window, _sizes(x)[:-1]))
        ones = np.ones((*window.size, 1, channels), np.float32)
        spread = _scattered(g, window.strides, padded, ones, (0,) * rank)
    for axis, (low, _) in enumerate(pads):
        spread = _part(spread, axis, low, low + _sizes(x)[axis])
    return spread


def _counts(window: Window, sizes: list[int]) -> Array:
    """Return how many elements inside each window has, as (*windows, 1)."""
    total = Window("sum", window.size, window.strides, window.padding)
    counts: Array = total.evaluate(np.ones((1, *sizes, 1), np.float32))[0][0]
    return counts


def _to_largest(node: Node, window: Window, padded: list[int], g: Value) -> Value:
    """Return g at the largest elements of its windows; equal ones share it."""
    x, y = node.inputs[0], node.results()[0]
    lowest = float(np.finfo(np.float32).min)
    if any(pads != (0, 0) for pads in _numbers(window)):
        x = ops.pad(x, [*_numbers(window), (0, 0)], lowest)
    counts = _sizes(y)[:-1]
    taps = [*itertools.product(*map(range, window.size))]
    equal = []
    for tap in taps:
        key = [
            slice(first, first + step * (count - 1) + 1, step)
            for first, step, count in zip(tap, window.strides, counts, strict=True)
        ]
        equal.append(ops.cast(ops.equal(x[tuple(key)], y), "float32"))
    total = equal[0]
    for each in equal[1:]:
        total = total + each
    share = g / total
    ones = np.ones((*(1,) * len(padded), 1, _sizes(y)[-1]), np.float32)
    parts = [
        _scattered(each * share, window.strides, padded, ones, tap)
        for tap, each in zip(taps, equal, strict=True)
    ]
    spread = parts[0]
    for part in parts[1:]:
        spread = spread + part
    return spread


def _scattered(
    g: Value,
    strides: tuple[int, ...],
    sizes: list[int],
    kernel: Array,
    tap: tuple[int, ...],
) -> Value:
    """Return g with *strides* between its elements, from *tap* on, in *sizes*.

    Each element is spread over the window of *kernel*, channel by channel.
    """
    rank = len(sizes)
    padding = []
    for axis, size in enumerate(sizes):
        extent = kernel.shape[axis]
        dilated = (_sizes(g)[axis] - 1) * strides[axis] + 1
        before = extent - 1 + tap[axis]
        padding.append((before, size + extent - 1 - dilated - before))
    still = (1,) * rank
    conv = Conv(still, tuple(padding), still, strides, kernel.shape[-1])
    return apply(conv, g, literal(kernel))[0]
