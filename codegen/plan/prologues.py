"""Elementwise stages that the nodes which read them compute while they read.

``conv(f(x))`` with a window of one reads each texel of x as often as ``conv(x)`` does:
normalisation and activation in front of it, or the scale of a squeeze-and-excitation
block, then take no draw and no texture of their own. So do the squares of which a
variance is the mean, and a softmax in front of a product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from keramos.expr import Expr, operand, operands_of
from keramos.graph import Graph, Node, Value, ValueKey
from keramos.passes.algebra import cost
from keramos.plan.cells import SAMPLERS
from keramos.plan.kernels import (
    WINDOW_AXES,
    Kernel,
    NoKernelError,
    best,
    family,
    fragment_time,
    work,
)
from keramos.plan.layout import LANES, DoesNotFitError, Limits
from keramos.plan.profile import DEVICES
from keramos.primitives import Contract, Conv, Map, Reduce, product

# So many numbers of a pixel fit into the vector that holds them.
MOST_OWN = LANES


@dataclass(frozen=True, slots=True)
class Prologue:
    """A Map that its reader computes: input *main* has its shape.

    Of the other inputs, *own* have one value for each pixel, or a single one, and
    *shared* one for each channel. One of the own may be *earlier*: a reduction of the
    main input that the reader computes first.
    """

    node: Node
    main: int
    own: tuple[int, ...]
    shared: tuple[int, ...]
    earlier: int | None = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """Return the inputs that are fetched beside the main one."""
        mine = (self.main, self.earlier)
        return tuple(k for k in range(len(self.node.inputs)) if k not in mine)

    @property
    def first(self) -> Node | None:
        """Return the reduction that the reader computes first."""
        return None if self.earlier is None else self.node.inputs[self.earlier].node

    @property
    def others(self) -> tuple[Value, ...]:
        """Return the values of the inputs that are fetched beside the main one."""
        return tuple(self.node.inputs[k] for k in self.numbers)


@dataclass(frozen=True, slots=True)
class Lifted:
    """The expression of a prologue in parts, each computed no oftener than it changes.

    *each* is for every texel. Its operands are the main input, then the *shared* parts,
    one for each channel block, then those of the pixel's *own*. The parts are in terms
    of the Map's inputs.
    """

    each: Expr
    shared: tuple[Expr, ...]
    own: tuple[Expr, ...]


def lifted(prologue: Prologue) -> Lifted:
    """Return the expression of *prologue* in parts."""
    if not isinstance(prologue.node.primitive, Map):
        raise TypeError("a prologue is elementwise")
    expr = prologue.node.primitive.expr
    own = tuple(dict.fromkeys(_largest(expr, frozenset(prologue.own))))
    shared = tuple(dict.fromkeys(_largest(expr, frozenset(prologue.shared))))
    parts = {part: operand(1 + k) for k, part in enumerate((*shared, *own))}
    return Lifted(_put(expr, parts | {operand(prologue.main): operand(0)}), shared, own)


def _largest(expr: Expr, among: frozenset[int]) -> Sequence[Expr]:
    """Return the largest parts of *expr* that read operands, all of them *among*."""
    read = operands_of(expr)
    if read and read <= among:
        return (expr,)
    return [part for arg in expr.args for part in _largest(arg, among)]


def _put(expr: Expr, parts: dict[Expr, Expr]) -> Expr:
    """Return *expr* with other expressions for *parts* of it."""
    found = parts.get(expr)
    if found is not None:
        return found
    return replace(expr, args=tuple(_put(arg, parts) for arg in expr.args))


def prologues(graph: Graph, *, batch: int, limits: Limits) -> dict[Node, Prologue]:
    """Return the nodes of *graph* that compute what they read.

    A Map is computed by all its readers or by none.
    """
    readers = _readers(graph)
    found: dict[Node, Prologue] = {}
    for node in graph.nodes:
        prologue = as_prologue(node)
        mine = readers.get((node, 0), ())
        if prologue is None or not mine or None in mine:
            continue
        takers = [reader for reader in mine if reader is not None]
        if all(
            _takes(reader, node)
            and len(reader.inputs) + len(prologue.others) <= SAMPLERS
            for reader in takers
        ) and _pays(takers, prologue, batch, limits):
            found |= dict.fromkeys(takers, prologue)
    return found


def with_earlier(node: Node, prologue: Prologue) -> Prologue | None:
    """Return the prologue of *node* that computes a reduction of the same rows first.

    None where it needs none: both reduce all channels, and nothing else, to a number.
    """
    main = prologue.node.inputs[prologue.main]
    for k in prologue.own:
        first = prologue.node.inputs[k].node
        rest = [
            x for i, x in enumerate(prologue.node.inputs) if i not in (k, prologue.main)
        ]
        if (
            first is not None
            and _reduces_rows(first)
            and _reduces_rows(node)
            and first.inputs[0].key == main.key
            and all(x.constant is not None for x in rest)
        ):
            return replace(prologue, earlier=k)
    return None


def _reduces_rows(node: Node) -> bool:
    """Return whether *node* reduces the channels of each pixel, and does no more."""
    if not isinstance(node.primitive, Reduce) or node.epilogue is not None:
        return False
    last = len(node.inputs[0].shape) - 1
    return node.primitive.axes == (last,) and node.primitive.keepdims


def _readers(graph: Graph) -> dict[ValueKey, Collection[Node | None]]:
    """Return which nodes read each value; None stands for an output of *graph*."""
    readers: dict[ValueKey, Collection[Node | None]] = {}
    pairs = [(x, node) for node in graph.nodes for x in node.inputs]
    for x, node in [*pairs, *((y, None) for y in graph.outputs)]:
        readers[x.key] = dict.fromkeys([*readers.get(x.key, ()), node])
    return readers


def _takes(node: Node, source: Node) -> bool:
    """Return whether *node* can compute its first input, which *source* gives."""
    uses = Counter(x.node for x in node.inputs)
    if node.inputs[0].node is not source or uses[source] > 1:
        return False
    primitive = node.primitive
    if isinstance(primitive, Conv):
        return _is_pointwise(node, primitive)
    return isinstance(primitive, Reduce | Contract)


def _is_pointwise(node: Node, conv: Conv) -> bool:
    """Return whether *node* is a convolution with a window of one, without padding."""
    if node.inputs[1].constant is None:
        return False
    *window, _, _ = node.inputs[1].shape
    plain = {*window, *conv.input_dilation} <= {1} and len(window) <= WINDOW_AXES
    unpadded = all(pad in ("same", (0, 0)) for pad in conv.padding)
    return plain and unpadded and family(node) == "conv"


def as_prologue(node: Node) -> Prologue | None:
    """Return *node* as a prologue, None where it isn't of the kind."""
    if not isinstance(node.primitive, Map) or node.epilogue is not None:
        return None
    shape = node.specs[0].shape
    if node.specs[0].dtype != "float32" or len(shape) < 2:  # noqa: PLR2004
        return None
    main, own, shared = [], [], []
    for k, x in enumerate(node.inputs):
        single = product(x.shape) == 1 or (x.shape[-1] == 1 and shape[-1] != 1)
        if single:
            own.append(k)
        elif x.shape == shape and x.constant is None:
            main.append(k)
        elif all(d == 1 for d in x.shape[:-1]):
            shared.append(k)
        else:
            return None
    if len(main) != 1:
        return None
    found = Prologue(node, main[0], tuple(own), tuple(shared))
    return found if len(lifted(found).own) <= MOST_OWN else None


def _pays(
    takers: Sequence[Node], prologue: Prologue, batch: int, limits: Limits
) -> bool:
    """Return whether the draw that is saved costs more than what is computed again."""
    try:
        saved = best(prologue.node, batch=batch, limits=limits).cost
        return saved > sum(_more(node, prologue, batch, limits) for node in takers)
    except (DoesNotFitError, NoKernelError):
        return False


def _more(node: Node, prologue: Prologue, batch: int, limits: Limits) -> float:
    """Return the microseconds that *node* takes longer if it computes its input."""
    kernel = best(node, batch=batch, limits=limits)
    return with_prologue(kernel, node, prologue, limits).cost - kernel.cost


def with_prologue(
    kernel: Kernel, node: Node, prologue: Prologue, limits: Limits
) -> Kernel:
    """Return the *kernel* of *node* at the price that it has with *prologue*."""
    device, parts = DEVICES[limits.profile], lifted(prologue)
    plain = work(node, kernel)
    # The pixels of a fragment share what belongs to the channels.
    steps = plain.inputs / kernel.pixels
    shared = steps * sum(1 + cost(part) for part in parts.shared)
    whole = replace(
        plain,
        inputs=plain.inputs + steps * len(prologue.shared),
        products=plain.products + plain.inputs * cost(parts.each) + shared,
    )
    before, after = (fragment_time(x, device, scattered=False) for x in (plain, whole))
    lasting = max(kernel.cost - device.draw * kernel.strips, 0.0)
    more = lasting * (after / before - 1)
    if prologue.earlier is None:
        return replace(kernel, cost=kernel.cost + more)
    return replace(kernel, family="reduce_twice", cost=kernel.cost + lasting + more)
