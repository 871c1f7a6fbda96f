"""Convolutions of which the kernel stores only the largest of each window of results.

``max over a window of f(conv(x))`` is ``f(max over the window of conv(x))`` where f
doesn't decrease, as bias and activation don't. What a max pooling reads then takes no
draw and no texture, and the results of a window share what their fragment fetches.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from keramos.expr import Expr, operand, operands_of, substitute
from keramos.graph import Array, Graph, Node, Value, ValueKey
from keramos.plan.layout import canonical
from keramos.primitives import Conv, Padding, Spec, Window

# Windows and strides along h and w.
AXES = 2
_INCREASING = frozenset({"atan", "erf", "exp", "expm1", "sigmoid", "tanh"})


@dataclass(frozen=True, slots=True)
class PooledConv(Conv):
    """A convolution and the largest of its results in each window of *pool*.

    Windows touch: they are as long as their strides. What is left over at the end of
    an axis isn't computed.
    """

    pool: tuple[int, ...] = ()

    def infer(self, x: Spec, kernel: Spec) -> tuple[Spec, ...]:
        """Return the shape; raise ValueError where x and kernel don't fit."""
        return self._window().infer(*Conv.infer(self, x, kernel))

    def evaluate(self, x: Array, kernel: Array) -> tuple[Array, ...]:
        """Compute one after the other."""
        return self._window().evaluate(*Conv.evaluate(self, x, kernel))

    def _window(self) -> Window:
        return Window("max", self.pool, self.pool, ((0, 0),) * len(self.pool))

    @property
    def tile(self) -> tuple[int, int]:
        """Return the rows and columns of results of which one is stored."""
        return planar(self.pool)


def planar(lengths: Sequence[int | None]) -> tuple[int, int]:
    """Return *lengths* along h and w, one along h where there is one axis only."""
    high, wide = [1] * (AXES - len(lengths)) + [d or 0 for d in lengths]
    return high, wide


def pooled(graph: Graph) -> Iterator[tuple[Node, Node, Node]]:
    """Yield poolings, the convolutions that they alone read, and what computes both."""
    uses = Counter[ValueKey]()
    for x, count in graph.uses().items():
        uses[x.key] += count
    for node in graph.nodes:
        conv = node.inputs[0].node if node.inputs else None
        if conv is None or uses[conv, 0] > 1:
            continue
        both = _both(conv, node)
        if both is not None:
            yield node, conv, both


def _both(first: Node, second: Node) -> Node | None:
    """Return the node that pools what *first* gives, None if there is none."""
    conv, pool = first.primitive, second.primitive
    if not isinstance(conv, Conv) or not isinstance(pool, Window):
        return None
    touching = pool.kind == "max" and pool.size == pool.strides
    plain = {*conv.dilation, *conv.input_dilation, conv.groups} == {1}
    if not touching or not plain or len(pool.size) > AXES or math.prod(pool.size) == 1:
        return None
    if not all(map(_is_unpadded, second.inputs[0].shape, pool.size, pool.padding)):
        return None
    if first.inputs[1].constant is None or second.operands != second.inputs[:1]:
        return None
    before = operand(0) if first.epilogue is None else first.epilogue
    if not _rises(before) or not all(map(_is_the_same_everywhere, first.extras)):
        return None
    after = operand(0) if second.epilogue is None else second.epilogue
    behind = range(len(first.extras) + 1, len(first.extras) + len(second.extras) + 1)
    epilogue = substitute(after, [before, *map(operand, behind)])
    return Node(
        PooledConv(
            conv.strides,
            conv.padding,
            conv.dilation,
            conv.input_dilation,
            pool=pool.size,
        ),
        (*first.operands, *first.extras, *second.extras),
        second.specs,
        (*first.origins, *second.origins),
        None if epilogue == operand(0) else epilogue,
        len(first.operands),
    )


def _is_unpadded(length: int | None, size: int, padding: Padding) -> bool:
    """Return whether windows of *size* end where an axis does, or before."""
    return padding == (0, 0) or (padding == "same" and (length or 0) % size == 0)


def _is_the_same_everywhere(value: Value) -> bool:
    """Return whether *value* has one number for each channel, or a single one."""
    return canonical(value.shape)[:3] == (1, 1, 1)


def _rises(expr: Expr) -> bool:
    """Return whether *expr* never falls while operand 0 grows."""
    if 0 not in operands_of(expr) or expr.op == "input":
        return True
    match expr.op:
        case "add" | "max" | "min":
            return all(map(_rises, expr.args))
        case "sub":
            return _rises(expr.args[0]) and 0 not in operands_of(expr.args[1])
        case "mul":
            factor, other = sorted(expr.args, key=lambda arg: arg.op != "const")
            return factor.op == "const" and factor.value >= 0 and _rises(other)
        case op:
            return op in _INCREASING and all(map(_rises, expr.args))
