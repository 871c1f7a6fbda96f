"""Elementwise stages that a convolution computes while it reads.

``conv(f(x))`` with a window of one reads each texel of x as often as ``conv(x)`` does:
normalisation and activation in front of it, or the scale of a squeeze-and-excitation
block, then take no draw and no texture of their own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from keramos.graph import Graph, Node, Value, ValueKey
from keramos.plan.kernels import (
    BLOCKS,
    NEIGHBOURS,
    WINDOW_AXES,
    NoKernelError,
    best,
    family,
)
from keramos.plan.layout import LANES, DoesNotFitError, Limits
from keramos.primitives import Conv, Map


@dataclass(frozen=True, slots=True)
class Prologue:
    """A Map that a convolution computes: input *main* has its shape.

    The other inputs have one value for each channel, or a single one.
    """

    node: Node
    main: int

    @property
    def others(self) -> tuple[Value, ...]:
        """Return the inputs but for the main one."""
        inputs = self.node.inputs
        return (*inputs[: self.main], *inputs[self.main + 1 :])


def prologues(graph: Graph, *, batch: int, limits: Limits) -> dict[Node, Prologue]:
    """Return the convolutions of *graph* that compute what they read."""
    uses = Counter[ValueKey]()
    for value, count in graph.uses().items():
        uses[value.key] += count
    found = {}
    for node in graph.nodes:
        source = node.inputs[0].node if node.inputs else None
        if source is None or uses[source, 0] > 1 or not _is_pointwise(node):
            continue
        prologue = _prologue(source)
        if prologue is not None and _pays(node, prologue, batch, limits):
            found[node] = prologue
    return found


def _is_pointwise(node: Node) -> bool:
    """Return whether *node* is a convolution with a window of one, without padding."""
    conv = node.primitive
    if not isinstance(conv, Conv) or node.inputs[1].constant is None:
        return False
    *window, depth, _ = node.inputs[1].shape
    plain = {*window, *conv.input_dilation} <= {1} and len(window) <= WINDOW_AXES
    unpadded = all(pad in ("same", (0, 0)) for pad in conv.padding)
    return plain and unpadded and (depth or 0) % LANES == 0 and family(node) == "conv"


def _prologue(node: Node) -> Prologue | None:
    """Return *node* as a prologue, None where it isn't of the kind."""
    if not isinstance(node.primitive, Map) or node.epilogue is not None:
        return None
    if node.specs[0].dtype != "float32":
        return None
    shape = node.specs[0].shape
    whole = [
        k
        for k, x in enumerate(node.inputs)
        if x.shape == shape and x.constant is None and len(shape) > 1
    ]
    small = [x for x in node.inputs if _is_small(x)]
    if len(whole) != 1 or len(small) != len(node.inputs) - 1:
        return None
    return Prologue(node, whole[0])


def _is_small(x: Value) -> bool:
    return all(d == 1 for d in x.shape[:-1])


def _pays(node: Node, prologue: Prologue, batch: int, limits: Limits) -> bool:
    """Return whether the draw that is saved costs more than reading more operands."""
    try:
        saved = best(prologue.node, batch=batch, limits=limits).cost
        least = best(node, batch=batch, limits=limits).cost
    except (DoesNotFitError, NoKernelError):
        return False
    # Pixels of a fragment share them: so many more fetches beside x and weights.
    more = len(prologue.others) / (NEIGHBOURS + LANES * BLOCKS)
    return saved > least * more
