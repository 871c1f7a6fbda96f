"""Let windows make the zeros that were put around their inputs."""

from __future__ import annotations

import math
from dataclasses import replace

from keramos.expr import Expr
from keramos.graph import Graph, Node, Value
from keramos.passes.matching import origins, plain
from keramos.primitives import (
    Concat,
    Conv,
    Map,
    Pad,
    Reduce,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Transpose,
    Window,
)

# How far back to look for a reason why a value is never negative.
_DEPTH = 8


def fold_padding(graph: Graph) -> Graph:
    """Return the graph with pads of zeros as the padding of the windows behind them.

    A maximum has no zeros around it: there the pad goes only where nothing is negative
    and each window holds an element. A mean doesn't count its padding, but a pad.
    """
    return graph.rewrite(_visit)


def _visit(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
    """Return the window over what was padded."""
    primitive = node.primitive
    if not isinstance(primitive, Conv | Window):
        return None
    pad = plain(inputs[0], Pad)
    if pad is None or not isinstance(pad.primitive, Pad):
        return None
    *widths, channels = pad.primitive.widths
    padding = _sum(primitive, widths)
    if padding is None or channels != (0, 0):
        return None
    if not _is_neutral(pad.primitive.value, pad.inputs[0], primitive, padding):
        return None
    kept = replace(
        node,
        primitive=replace(primitive, padding=padding),
        inputs=(pad.inputs[0], *inputs[1:]),
        origins=origins(node, pad),
    )
    return kept.results()


def _sum(
    primitive: Conv | Window, widths: list[tuple[int, int]]
) -> tuple[tuple[int, int], ...] | None:
    """Return the padding of both; None where "same" depends on the length."""
    steps = (1,) * len(widths)
    if isinstance(primitive, Conv):
        steps = primitive.input_dilation
    result = []
    for pad, (low, high), step in zip(primitive.padding, widths, steps, strict=True):
        if pad == "same":
            return None
        result.append((pad[0] + low * step, pad[1] + high * step))
    return tuple(result)


def _is_neutral(
    value: float,
    x: Value,
    primitive: Conv | Window,
    padding: tuple[tuple[int, int], ...],
) -> bool:
    """Return whether the window's own *padding* of x has the effect of *value*."""
    if isinstance(primitive, Conv) or primitive.kind == "sum":
        return value == 0
    if primitive.kind == "mean":
        return False
    sizes = zip(primitive.size, padding, strict=True)
    if any(max(low, high) >= size for size, (low, high) in sizes):
        return False
    return value == -math.inf or (value == 0 and _is_never_negative(x, _DEPTH))


def _is_never_negative(x: Value, depth: int) -> bool:
    """Return whether no element of *x* is negative, as far as can be told."""
    node = x.node
    if node is None or depth == 0:
        return False
    if node.epilogue is not None:
        return _bound(node.epilogue) >= 0
    match node.primitive:
        case Map():
            return _bound(node.primitive.expr) >= 0
        case Softmax():
            return not node.primitive.log
        case Pad():
            return node.primitive.value >= 0 and _is_never_negative(
                node.inputs[0], depth - 1
            )
        case Resize():
            linear = node.primitive.method in ("nearest", "bilinear")
            return linear and _is_never_negative(node.inputs[0], depth - 1)
        case Window() | Reduce() | Reshape() | Transpose() | Slice() | Concat():
            return all(_is_never_negative(y, depth - 1) for y in node.inputs)
        case _:
            return False


def _bound(expr: Expr) -> float:
    """Return a number that *expr* is never below; the expression may be NaN."""
    match expr.op, expr.args:
        case "const", _:
            return expr.value
        case ("abs" | "exp" | "sigmoid" | "sqrt" | "rsqrt"), _:
            return 0.0
        case ("tanh" | "erf" | "sign" | "expm1"), _:
            return -1.0
        case "max", (x, y):
            return max(_bound(x), _bound(y))
        case "min", (x, y):
            return min(_bound(x), _bound(y))
        case "where", (_, x, y):
            return min(_bound(x), _bound(y))
        case "add", (x, y):
            return _bound(x) + _bound(y)
        case "mul", (x, y) if x == y:
            return 0.0
        case ("mul" | "div"), (x, y) if _bound(x) >= 0 and _bound(y) >= 0:
            return 0.0
        case _:
            return -math.inf
