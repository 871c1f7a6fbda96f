"""Which kernel computes a node, and in which layout: candidates and their cost.

Any kernel reads any layout, some of them at twice the price. A node takes the layout
for which its own kernel and those of its readers take the least time together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from keramos.graph import Node, Value
from keramos.plan.layout import (
    CANONICAL_RANK,
    LANES,
    B,
    DoesNotFitError,
    Layout,
    Limits,
    Profile,
    W,
    blocks,
    canonical,
    image,
    part,
    rasterised,
    rows,
)
from keramos.plan.pooling import PooledConv, planar
from keramos.plan.profile import DEVICES, Device
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
)

BYTES_PER_VECTOR = 16
# Offsets into uniform buffers are multiples of 256 bytes: so many four-vectors.
ALIGNMENT = 16
# Families in which one fragment computes neighbouring pixels.
WITH_PIXELS = frozenset(
    {"contract_rows", "conv_pool", "conv_rows", "conv_slide", "depthwise_rows"}
)
# Families of matrix products, in which many pixels crowd the caches.
ROWS = frozenset({"contract_rows", "conv_rows"})
# Windows go along d, h and w.
WINDOW_AXES = CANONICAL_RANK - 1
# A window that slides is unrolled along w.
WIDEST_WINDOW = 7
# Pooled convolutions are unrolled altogether: so many multiplications of a texel by
# four filters at most: more compile slowly, and spill registers.
UNROLLED = 160
# With fewer results than this, fragments of pooled convolutions are "narrow".
NARROW = 4
# More draw buffers than this gain nothing once the weights cost no texel fetches.
UNIFORM_GROUP = 4
# What one fragment may compute: neighbours along w, channel blocks.
PIXELS = (1, 2, 4, 8)
GROUPS = (1, 2, 4, 8)
# What most fragments of a convolution compute.
NEIGHBOURS, BLOCKS = 4, 2
# The neighbours and blocks of most fragments, the usual first.
USUAL: Mapping[Profile, Mapping[str, tuple[tuple[int, int], ...]]] = {
    "gpu": {
        "contract_rows": ((4, 2), (4, 1)),
        "conv_pool": ((4, 1), (2, 1)),
        "conv_rows": ((4, 2), (4, 1)),
        "conv_slide": ((4, 2), (8, 1), (4, 1)),
        "depthwise_rows": ((4, 1), (2, 1)),
    },
    "software": {
        "contract_rows": ((8, 1), (4, 2), (4, 1)),
        "conv_pool": ((4, 1), (2, 1), (8, 1)),
        "conv_rows": ((8, 1), (4, 2), (4, 1)),
        "conv_slide": ((8, 1), (4, 2), (4, 1)),
        "depthwise_rows": ((8, 1), (4, 1), (2, 1)),
    },
}
# Kernels whose estimates are within this factor of the least are as good.
LENIENCE = 1.1
# From so many on, neighbours in the layers of a texture are as good as scattered.
SCATTERED = 8


class NoKernelError(Exception):
    """No kernel family computes a node."""


@dataclass(frozen=True, slots=True)
class UniformWeights:
    """A kernel in uniform blocks, the same for all fragments of a draw.

    Each draw binds the *chunks* blocks of its group of filters; a block holds
    ``(tap, channel of the chunk, block of the group)`` for *chunk_blocks* blocks of
    input channels. *taps* are padded where blocks must start at multiples of 256 bytes.
    """

    value: Value
    taps: int
    chunks: int
    chunk_blocks: int

    def vectors(self, group: int) -> int:
        """Return the four-vectors of one uniform block."""
        return self.taps * self.chunk_blocks * LANES * group


@dataclass(frozen=True, slots=True)
class Work:
    """What one fragment does.

    It fetches texels of computed tensors (*inputs*) and of *weights*, reads vectors
    from uniform blocks, multiplies and adds vectors, and stores texels.
    """

    inputs: float
    weights: float
    uniforms: float
    products: float
    stores: int


@dataclass(frozen=True, slots=True)
class Kernel:
    """A way to compute a node: a GLSL body, what it writes, and its estimated time.

    One fragment computes *group* channel blocks of as many neighbours as the layout and
    the family allow. *cost* is in microseconds. A draw that would last too long is
    split into *strips* of rows.
    """

    family: str
    layout: Layout
    group: int
    uniform: UniformWeights | None
    cost: float
    strips: int = 1

    @property
    def pixels(self) -> int:
        """Return how many neighbours along w one fragment computes."""
        return self.layout.pixels if self.family in WITH_PIXELS else 1


_FAMILIES: Mapping[type[Primitive], str] = {
    Map: "map",
    Contract: "contract",
    Window: "pool",
    Reduce: "reduce",
    Softmax: "softmax",
    Resize: "resize",
    Gather: "move",
    Reshape: "move",
    Transpose: "move",
    Slice: "move",
    Pad: "move",
    Concat: "move",
}


def family(node: Node) -> str:
    """Return the simplest kernel family that computes *node*.

    Raises NoKernelError for what has none.
    """
    primitive = node.primitive
    if isinstance(primitive, Conv | Window) and len(primitive.strides) > WINDOW_AXES:
        axes = len(primitive.strides)
        raise NoKernelError(f"the gl target has no windows over {axes} axes")
    if isinstance(primitive, PooledConv):
        return "conv_pool"
    if isinstance(primitive, Conv):
        return _conv_family(primitive, node.inputs[1])
    return _FAMILIES[type(primitive)]


def _conv_family(conv: Conv, kernel: Value) -> str:
    if kernel.constant is None:
        raise NoKernelError("the gl target has no convolution with a computed kernel")
    depth, filters = (d or 0 for d in kernel.shape[-2:])
    if conv.groups == 1:
        return "conv"
    if depth == 1 and filters == conv.groups:
        return "depthwise"
    aligned = depth % LANES == 0 and (filters // conv.groups) % LANES == 0
    return "conv" if aligned else "grouped"


def has_stage(node: Node) -> bool:
    """Return whether *node* writes its result, rather than being a view.

    Views that the layout of their operand can't express are written all the same.
    """
    if node.epilogue is not None:
        return True
    if isinstance(node.primitive, Transpose):
        return not keeps_channels(node.primitive)
    return not isinstance(node.primitive, Reshape | Slice)


def keeps_channels(transpose: Transpose) -> bool:
    """Return whether other axes than the channels change places, each of its own."""
    last = len(transpose.permutation) - 1
    return last < CANONICAL_RANK and transpose.permutation[last:] == (last,)


def best(
    node: Node, *, batch: int, limits: Limits, readers: Sequence[Node] = ()
) -> Kernel:
    """Return the cheapest kernel, with the layout that it writes.

    *readers* are the nodes that read the result. Raises NoKernelError, and
    DoesNotFitError where the result has no layout.
    """
    shape = node.specs[0].shape
    penalty = sum(_penalty(reader, batch, limits) for reader in readers)
    candidates = [
        (kernel.cost + _more(layout, penalty, limits), kernel)
        for layout in layouts(shape, batch=batch, limits=limits)
        for kernel in kernels(node, layout, limits)
    ]
    least = min(cost for cost, _ in candidates)
    # Of those that are about as good the usual one, so that programs are shared.
    good = [(cost, kernel) for cost, kernel in candidates if cost <= least * LENIENCE]
    return min(good, key=lambda found: (_rank(found[1], limits.profile), found[0]))[1]


def _rank(kernel: Kernel, profile: Profile) -> int:
    """Return how unusual the shape of a fragment is for its family."""
    usual = USUAL[profile].get(kernel.family, ((1, 1),))
    shape = (kernel.layout.pixels, kernel.layout.group)
    return usual.index(shape) if shape in usual else len(usual)


@dataclass(frozen=True, slots=True)
class Piece:
    """A node that writes a concatenation's channel blocks from *first* on."""

    node: Node
    first: int


def best_join(
    shape: Shape,
    pieces: Sequence[Piece],
    *,
    batch: int,
    limits: Limits,
    readers: Sequence[Node] = (),
) -> Layout:
    """Return the layout that is cheapest for all *pieces* of a concatenation.

    Raises NoKernelError, and DoesNotFitError where the pieces can't lie side by side.
    """
    penalty = sum(_penalty(reader, batch, limits) for reader in readers)
    found: list[tuple[float, int, Layout]] = []
    drawn = max(piece.node.specs[0].shape[-1] or 1 for piece in pieces)
    candidates = layouts(shape, batch=batch, limits=limits, drawn=drawn)
    for number, layout in enumerate(candidates):
        cost = _more(layout, penalty, limits)
        for piece in pieces:
            channels = piece.node.specs[0].shape[-1] or 1
            cut = part(layout, first=piece.first, channels=channels)
            if cut is None:
                break
            costs = [k.cost for k in kernels(piece.node, cut[0], limits)]
            if not costs:
                break
            cost += min(costs)
        else:
            found.append((cost, number, layout))
    if not found:
        raise DoesNotFitError
    return min(found, key=lambda candidate: candidate[:2])[2]


def _more(layout: Layout, penalty: float, limits: Limits) -> float:
    """Return the microseconds that *layout* costs besides.

    That is *penalty* for the readers of scattered texels. Those of merged rows have
    programs of their own: they should pay.
    """
    merged = DEVICES[limits.profile].draw / 2 if layout.row else 0.0
    return merged + (penalty if is_scattered(layout) else 0.0)


def _penalty(reader: Node, batch: int, limits: Limits) -> float:
    """Return the microseconds that it costs *reader* if what it reads is scattered."""
    if isinstance(reader.primitive, Scan):
        return 0.0
    shape = reader.specs[0].shape
    try:
        together, scattered = (
            min(
                kernel.cost
                for layout in layouts(shape, batch=batch, limits=limits)
                for kernel in kernels(reader, layout, limits, scattered=scattered)
            )
            for scattered in (False, True)
        )
    except (DoesNotFitError, NoKernelError):
        return 0.0
    return scattered - together


def is_scattered(layout: Layout) -> bool:
    """Return whether neighbours along w lie apart: their texels share no cache line."""
    wide = any(digit.axis == W and digit.place == "x" for digit in layout.digits)
    return wide or layout.pixels >= SCATTERED


def layouts(
    shape: Shape, *, batch: int, limits: Limits, drawn: int | None = None
) -> Iterator[Layout]:
    """Yield the layouts that a result may have; raise DoesNotFitError for none.

    *drawn* is how many of its channels a stage writes, if not all.
    """
    _, h, w, c = canonical(shape)
    found = False
    for pixels, group in product(PIXELS, GROUPS):
        most = pixels * group <= limits.draw_buffers
        if not most or pixels > w or group > blocks(c):
            continue
        tails = -(-h * w // pixels) < h * -(-w // pixels)
        for merged in (False, True) if tails else (False,):
            try:
                yield rows(
                    shape,
                    batch=batch,
                    limits=limits,
                    pixels=pixels,
                    group=group,
                    drawn=drawn,
                    merged=merged,
                )
            except DoesNotFitError:
                continue
            found = True
    try:
        yield image(shape, batch=batch, limits=limits)
    except DoesNotFitError:
        if not found:
            raise


def kernels(
    node: Node, layout: Layout, limits: Limits, *, scattered: bool = False
) -> Iterator[Kernel]:
    """Yield the kernels that compute *node* into *layout*.

    *scattered* is whether the texels of its first operand are.
    """
    kind = family(node)
    device = DEVICES[limits.profile]
    widest = min(limits.draw_buffers, layout.group)
    for name, group, uniform in _ways(node, kind, layout, widest, limits):
        pixels = layout.pixels if name in WITH_PIXELS else 1
        done = _work(node, name, pixels, group)
        draws = layout.layers // (layout.group * pixels) * -(-layout.group // group)
        time = fragment_time(done, device, scattered=scattered)
        if group > device.blocks or (pixels > device.pixels and name in ROWS):
            time *= device.crowded
        if name == "conv_pool" and done.stores < NARROW:
            time *= device.narrow
        lasting = fragments(layout, device) * time / 1e6
        strips = min(math.ceil(lasting / device.longest), layout.height)
        cost = draws * (device.draw * strips + lasting)
        yield Kernel(name, layout, group, uniform, cost, strips)


Way = tuple[str, int, UniformWeights | None]


def _ways(
    node: Node, kind: str, layout: Layout, widest: int, limits: Limits
) -> Iterator[Way]:
    """Yield families, channel blocks per fragment, and weights in uniform blocks."""
    conv = node.primitive
    if not isinstance(conv, Conv):
        together = layout.pixels > 1 and not layout.row and widest == layout.group
        rows = kind == "contract" and together
        yield "contract_rows" if rows else kind, widest, None
    elif isinstance(conv, PooledConv):
        if not layout.row:
            yield from _pooled_ways(node, conv, layout, widest)
    # The sums of a cut one are views of its result, which merged rows don't allow.
    elif not layout.row or conv.groups == 1:
        yield from _conv_ways(node, conv, layout, widest, limits)


def _conv_ways(
    node: Node, conv: Conv, layout: Layout, widest: int, limits: Limits
) -> Iterator[Way]:
    """Yield what :func:`_ways` does, of a convolution."""
    kind = family(node)
    if layout.pixels > 1:
        whole = widest == layout.group
        if kind == "conv" and whole and _group(conv, layout, widest) == widest:
            yield "conv_rows", widest, None
            if _slides(conv, layout, node.inputs[1]):
                yield "conv_slide", widest, None
        elif kind == "depthwise" and whole and _slides(conv, layout, node.inputs[1]):
            yield "depthwise_rows", widest, None
        else:
            yield kind, _group(conv, layout, widest) if kind == "conv" else widest, None
        return
    for group in GROUPS:
        if group <= widest and _group(conv, layout, group) == group:
            yield kind, group, None
    # With anything else in the layers, draws would share blocks of weights.
    whole = layout.layers == layout.group == layout.extents[B]
    if kind == "conv" and conv.groups == 1 and whole:
        few = min(widest, UNIFORM_GROUP)
        weights = _uniform(node.inputs[1], few, limits)
        if weights is not None:
            yield "conv_uniform", few, weights


def _pooled_ways(
    node: Node, conv: PooledConv, layout: Layout, widest: int
) -> Iterator[Way]:
    """Yield what :func:`_ways` does, of a convolution that is pooled."""
    taps = math.prod(d or 0 for d in node.inputs[1].shape[:-2])
    for group in GROUPS if layout.pixels == 1 else (layout.group,):
        products = taps * math.prod(conv.pool) * layout.pixels * group
        if group <= widest and products <= UNROLLED:
            yield "conv_pool", group, None


def _group(conv: Conv, layout: Layout, most: int) -> int:
    """Return how many blocks one draw may write: all read the same input channels."""
    if conv.groups == 1:
        return most
    return math.gcd(most, layout.channels // conv.groups // LANES) or 1


def _slides(conv: Conv, layout: Layout, kernel: Value) -> bool:
    """Return whether the windows of neighbours in a row overlap."""
    *window, _, _ = kernel.shape
    width = (window or [1])[-1] or 0
    plain = {*conv.dilation, *conv.input_dilation} == {1}
    return plain and not layout.row and 1 < width <= WIDEST_WINDOW


def _uniform(kernel: Value, group: int, limits: Limits) -> UniformWeights | None:
    """Return how a kernel is cut into uniform blocks; None where they are too few."""
    *window, depth, _ = (d or 0 for d in kernel.shape)
    room = limits.uniform_block // BYTES_PER_VECTOR // group
    unit = ALIGNMENT // math.gcd(ALIGNMENT, LANES * group)
    padded = -(-math.prod(window) // unit) * unit
    total = -(-depth // LANES)
    most = room // (padded * LANES)
    if most == 0 or -(-total // most) > limits.uniform_blocks:
        return None
    chunks = -(-total // most)
    return UniformWeights(kernel, padded, chunks, -(-total // chunks))


def work(node: Node, kernel: Kernel) -> Work:
    """Return what one fragment of *kernel* does for *node*."""
    return _work(node, kernel.family, kernel.pixels, kernel.group)


def _work(node: Node, name: str, pixels: int, group: int) -> Work:
    """Return what one fragment of family *name* does."""
    cells = pixels * group
    primitive = node.primitive
    if isinstance(primitive, Conv):
        *window, depth, _ = (d or 0 for d in node.inputs[1].shape)
        taps, width = math.prod(window), (window or [1])[-1]
        columns = (pixels - 1) * (primitive.strides or (1,))[-1] + width
        steps = taps * blocks(depth)
        vectors = steps * LANES * group
        if isinstance(primitive, PooledConv):
            return _pooled_work(primitive, window, pixels, group, blocks(depth))
        match name:
            case "conv_uniform":
                return Work(steps, 0, vectors, vectors * pixels, cells)
            case "conv_slide":
                near = steps // width * columns
                return Work(near, vectors, 0, vectors * pixels, cells)
            case "conv" | "conv_rows":
                return Work(steps * pixels, vectors, 0, vectors * pixels, cells)
            case "depthwise_rows":
                near = taps // width * columns * group
                return Work(near, taps * group, 0, taps * cells, cells)
            case "depthwise":
                return Work(taps * group, taps * group, 0, taps * group, group)
            case _:
                lanes = taps * depth * LANES * group
                return Work(lanes, lanes, 0, lanes, group)
    terms = _terms(node)
    if isinstance(primitive, Contract):
        vectors = terms * LANES * group
        return Work(terms * pixels, vectors, 0, vectors * pixels, cells)
    inputs = 1 if isinstance(primitive, Concat) else len(node.operands)
    return Work(terms * inputs * group, 0, 0, terms * inputs * group, group)


def _pooled_work(
    conv: PooledConv, window: Sequence[int], pixels: int, group: int, read: int
) -> Work:
    """Return what one fragment does that reads *read* blocks of channels."""
    height, width = conv.tile
    rows, columns = (
        (count - 1) * step + length
        for count, step, length in zip(
            (height, width * pixels), planar(conv.strides), planar(window), strict=True
        )
    )
    vectors = math.prod(window) * read * LANES * group
    products = vectors * height * width * pixels
    return Work(rows * columns * read, vectors, 0, products, pixels * group)


def _terms(node: Node) -> int:
    """Return how many texels of its first operand go into one of the result."""
    x = [d or 0 for d in node.inputs[0].shape] or [1]
    match node.primitive:
        case Contract():
            return blocks(x[-1])
        case Window(size=size):
            return math.prod(size)
        case Reduce(axes=axes) | Softmax(axis=axes):
            listed = axes if isinstance(axes, tuple) else (axes,)
            sizes = [blocks(x[a]) if a == len(x) - 1 else x[a] for a in listed]
            return math.prod(sizes) * (1 if isinstance(node.primitive, Reduce) else 3)
        case Resize():
            return 4
        case _:
            return 1


def fragments(layout: Layout, device: Device) -> int:
    """Return how many fragments take as long as a draw of *layout*."""
    if device.serial:
        return rasterised(layout.width, layout.height)
    return max(layout.width * layout.height, device.busy)


def fragment_time(work: Work, device: Device, *, scattered: bool) -> float:
    """Return the picoseconds of a fragment."""
    inputs = work.inputs * (device.scattered if scattered else 1.0)
    parts = (
        (inputs + work.weights) * device.fetch,
        work.uniforms * device.uniform,
        work.products * device.product,
        work.stores * device.store,
    )
    return device.fragment + (sum(parts) if device.serial else max(parts))
