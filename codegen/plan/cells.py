"""Which nodes of a loop's body one draw computes together: the cells of an RNN.

    h' = f(x U + a, x V + b, c, ...),  c' = g(...),  ...

A product with constant weights gives the same numbers wherever it stands, and what is
elementwise on products can be computed where they are. So one fragment adds up the
products at its own channel block of each gate, fetches what else there is at the same
index, and stores every result that others fetch, each in a draw buffer of its own.

What a fragment needs of *other* blocks (the operand of a product, above all) it must
fetch: that ends a cell, and what depends on it belongs to the next one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from keramos.expr import Expr
from keramos.graph import Graph, Node, Value, ValueKey
from keramos.plan.kernels import Work, fragment_time, fragments
from keramos.plan.layout import (
    CANONICAL_RANK,
    LANES,
    Layout,
    Limits,
    blocks,
    canonical,
)
from keramos.plan.profile import DEVICES
from keramos.primitives import Conv, Map, Reshape, Shape, Slice

# Texture units that a WebGL 2 device has for fragment programs.
SAMPLERS = 16


@dataclass(frozen=True, slots=True)
class Read:
    """A tensor that a fragment fetches from: *value*, packed for *kernel_of* if given.

    The value of a view is what it is a view of.
    """

    value: Value
    kernel_of: Node | None = None


@dataclass(frozen=True, slots=True)
class Fetch:
    """The texel of *read* that is *shift* channel blocks behind the fragment's own."""

    read: int
    shift: int


@dataclass(frozen=True, slots=True)
class Product:
    """The sum over the channels of *x* times a kernel, read number *kernel*.

    It is that of the block *shift* blocks behind the fragment's own; the fetch *x*
    begins with the first block of the input.
    """

    x: Fetch
    kernel: int
    shift: int


@dataclass(frozen=True, slots=True)
class Term:
    """An expression of what was computed before.

    *operands* are fetches, or numbers of earlier quantities of the cell. A *whole* one
    is rounded towards zero.
    """

    expr: Expr
    operands: tuple[Fetch | int, ...]
    whole: bool


Quantity = Product | Term


@dataclass(frozen=True, slots=True)
class Result:
    """Quantity number *quantity*, the result of *node*.

    *outputs* are the outputs of the body that it is written to at once; what is none
    of them is for other nodes alone.
    """

    node: Node
    quantity: int
    outputs: tuple[int, ...]

    @property
    def targets(self) -> int:
        """Return in how many draw buffers the result is stored."""
        return max(len(self.outputs), 1)


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """What one draw of a loop's body computes, all of it of one shape."""

    reads: tuple[Read, ...]
    quantities: tuple[Quantity, ...]
    results: tuple[Result, ...]
    nodes: tuple[Node, ...]

    @property
    def shape(self) -> Shape:
        """Return the shape of the results, but for leading axes of length 1."""
        return self.results[0].node.specs[0].shape


Item = Node | Region


def schedule(
    body: Graph,
    *,
    wanted: Collection[int],
    direct: Collection[int],
    draw_buffers: int,
    apart: frozenset[Node] = frozenset(),
) -> tuple[Item, ...]:
    """Return what gives the outputs *wanted* of a prepared body, in order.

    Nodes have stages of their own, those *apart* always, or are views that one of those
    needs. A region may write the outputs *direct* where they belong.
    """
    while True:
        found = _Partition(body, sorted(wanted), frozenset(direct), draw_buffers, apart)
        items = tuple(_simplified(item) for item in found.items())
        regions = [item for item in items if isinstance(item, Region)]
        if any(len(region.reads) > SAMPLERS for region in regions):
            apart = frozenset(body.nodes)
            continue
        repeated = _repeated(regions)
        if not repeated:
            return items
        apart |= repeated


def _simplified(item: Item) -> Item:
    """Return the node of a region that a stage of its own computes as well."""
    if isinstance(item, Node) or len(item.nodes) > 1:
        return item
    return item if item.results[0].targets > 1 else item.results[0].node


def _repeated(regions: Sequence[Region]) -> frozenset[Node]:
    """Return the nodes whose products more than one of *regions* would add up."""
    counts: Counter[tuple[Node, int]] = Counter()
    for region in regions:
        for quantity in region.quantities:
            if isinstance(quantity, Product):
                node = region.reads[quantity.kernel].kernel_of
                if node is not None:
                    counts[node, quantity.shift] += 1
    return frozenset(node for (node, _), count in counts.items() if count > 1)


def shift_of(node: Node) -> int | None:
    """Return how many channel blocks a view begins behind its operand.

    None for what is no view: for what has not, at the same index but for that shift,
    the texel of its operand.
    """
    if node.epilogue is not None or not isinstance(node.primitive, Reshape | Slice):
        return None
    before, after = node.inputs[0].shape, node.specs[0].shape
    if max(len(before), len(after)) > CANONICAL_RANK:
        return None
    if isinstance(node.primitive, Reshape):
        return 0 if canonical(before) == canonical(after) else None
    if before[:-1] != after[:-1] or not before:
        return None
    slices = node.primitive.slices
    if any(step != 1 for _, _, step in slices):
        return None
    size, kept = before[-1] or 0, after[-1] or 0
    start = slice(*slices[-1]).indices(size)[0]
    if start % LANES or (kept % LANES and start + kept != size):
        return None
    return start // LANES


def source(value: Value) -> tuple[Value, int]:
    """Return what *value* is a view of, and how many blocks it begins behind it."""
    behind = 0
    while value.node is not None:
        shift = shift_of(value.node)
        if shift is None:
            break
        behind += shift
        value = value.node.inputs[0]
    return value, behind


def cost(region: Region, layout: Layout, limits: Limits) -> float:
    """Return the microseconds that *region* takes, its results laid out in *layout*."""
    products = [q for q in region.quantities if isinstance(q, Product)]
    terms = [q for q in region.quantities if isinstance(q, Term)]
    depths = {
        product.x: blocks(region.reads[product.kernel].value.shape[-2] or 1)
        for product in products
    }
    fetched = {x for term in terms for x in term.operands if isinstance(x, Fetch)}
    vectors = LANES * sum(depths[product.x] for product in products)
    done = Work(
        inputs=sum(depths.values()) + len(fetched),
        weights=vectors,
        uniforms=0,
        products=vectors + len(terms),
        stores=sum(result.targets for result in region.results),
    )
    device = DEVICES[limits.profile]
    time = fragment_time(done, device, scattered=False)
    return layout.layers * (device.draw + fragments(layout, device) * time / 1e6)


def is_elementwise(node: Node) -> bool:
    """Return whether a fragment may compute *node* in passing."""
    shapes = [x.shape for x in node.inputs] + [spec.shape for spec in node.specs]
    if any(len(shape) > CANONICAL_RANK for shape in shapes):
        return False
    match node.primitive:
        case Map():
            return node.epilogue is None
        case Conv() as conv:
            return _is_product(node, conv)
        case _:
            return False


def _is_product(node: Node, conv: Conv) -> bool:
    """Return whether a convolution multiplies each pixel with a constant matrix."""
    x, kernel = node.operands
    window = kernel.shape[:-2]
    plain = {*window, *conv.strides, *conv.input_dilation, conv.groups} == {1}
    unpadded = all(pad in ("same", (0, 0)) for pad in conv.padding)
    return plain and unpadded and kernel.constant is not None and x.constant is None


@dataclass(slots=True)
class _Partition:
    """The nodes of a body, told apart by the draw in which they can be computed.

    Nodes have levels: a region of a level fetches what regions of lower levels store,
    and what nodes outside of regions store at its own level.
    """

    body: Graph
    wanted: Sequence[int]
    direct: frozenset[int]
    draw_buffers: int
    apart: frozenset[Node]
    levels: dict[Node, int] = field(default_factory=dict)
    stored: dict[Node, None] = field(default_factory=dict)
    seen: set[Node] = field(default_factory=set)

    def joins(self, node: Node) -> bool:
        """Return whether *node* may be part of a region."""
        return is_elementwise(node) and node not in self.apart

    def items(self) -> Iterator[Item]:
        """Yield nodes and regions in the order in which they run."""
        for node in self.body.nodes:
            if shift_of(node) is None:
                self.levels[node] = self.level(node)
        for k in self.wanted:
            self.store(self.body.outputs[k])
        stored = [node for node in self.body.nodes if node in self.stored]
        done: set[Node] = set()
        for level in sorted({self.levels[node] for node in stored}):
            here = [node for node in stored if self.levels[node] == level]
            alone = [node for node in here if not self.joins(node)]
            yield from alone
            done.update(alone)
            for nodes in self.groups([node for node in here if self.joins(node)]):
                yield _Writer(self, frozenset(done)).region(nodes)
                done.update(nodes)

    def level(self, node: Node) -> int:
        """Return the level of *node*, of whose operands the levels are known."""
        if not self.joins(node):
            return max((self.ready(x) for x in node.inputs), default=0)
        if isinstance(node.primitive, Conv):
            near = [self.near(node, x) for x in node.extras]
            return max([self.ready(node.inputs[0]), *near])
        return max((self.near(node, x) for x in node.inputs), default=0)

    def ready(self, value: Value) -> int:
        """Return the lowest level that can fetch any texel of *value*."""
        node = source(value)[0].node
        return 0 if node is None else self.levels[node] + self.joins(node)

    def near(self, node: Node, value: Value) -> int:
        """Return the lowest level at which *node* has its own texel of *value*."""
        given = source(value)[0].node
        if given is None:
            return 0
        return self.levels[given] if self.is_near(node, value) else self.ready(value)

    def is_near(self, node: Node, value: Value) -> bool:
        """Return whether a fragment that computes *node* may compute *value* too."""
        given = source(value)[0].node
        same = canonical(value.shape) == canonical(node.specs[0].shape)
        return given is not None and self.joins(given) and same

    def store(self, value: Value) -> None:
        """Note that *value* is fetched, so that it must be stored."""
        node = source(value)[0].node
        if node is None or node in self.stored:
            return
        self.stored[node] = None
        if self.joins(node):
            self.compute(node)
            return
        for x in node.inputs:
            self.store(x)

    def compute(self, node: Node) -> None:
        """Note what a fragment that computes *node* fetches."""
        if node in self.seen:
            return
        self.seen.add(node)
        is_product = isinstance(node.primitive, Conv)
        if is_product:
            self.store(node.inputs[0])
        for x in node.extras if is_product else node.inputs:
            given = source(x)[0].node
            if given is not None and self.is_near(node, x):
                self.compute(given)
            else:
                self.store(x)

    def outputs(self, node: Node) -> tuple[int, ...]:
        """Return the outputs that a region with *node* can write."""
        shape = canonical(node.specs[0].shape)
        found = []
        for k in self.wanted:
            value, _ = source(self.body.outputs[k])
            whole = canonical(self.body.outputs[k].shape) == shape
            if k in self.direct and value.node is node and whole:
                found.append(k)
        return tuple(found[: self.draw_buffers])

    def groups(self, nodes: Sequence[Node]) -> Iterator[list[Node]]:
        """Yield the *nodes* of one level that a draw can store together."""
        shapes = dict.fromkeys(canonical(node.specs[0].shape) for node in nodes)
        for shape in shapes:
            group: list[Node] = []
            used = 0
            for node in nodes:
                if canonical(node.specs[0].shape) != shape:
                    continue
                count = max(len(self.outputs(node)), 1)
                if used + count > self.draw_buffers:
                    yield group
                    group, used = [], 0
                group.append(node)
                used += count
            yield group


@dataclass(slots=True)
class _Writer:
    """Writes down what a fragment computes; *done* is stored already."""

    partition: _Partition
    done: frozenset[Node]
    reads: dict[tuple[ValueKey, Node | None], Read] = field(default_factory=dict)
    quantities: list[Quantity] = field(default_factory=list)
    known: dict[tuple[Node, int], int] = field(default_factory=dict)

    def region(self, nodes: Sequence[Node]) -> Region:
        """Return the region that stores *nodes*."""
        results = tuple(
            Result(node, self.quantity(node, 0), self.partition.outputs(node))
            for node in nodes
        )
        computed = tuple(dict.fromkeys(node for node, _ in self.known))
        return Region(
            tuple(self.reads.values()), tuple(self.quantities), results, computed
        )

    def quantity(self, node: Node, shift: int) -> int:
        """Return the number of what *node* is *shift* blocks behind the fragment's."""
        if (node, shift) not in self.known:
            quantity = self.written(node, shift)
            self.quantities.append(quantity)
            self.known[node, shift] = len(self.quantities) - 1
        return self.known[node, shift]

    def written(self, node: Node, shift: int) -> Quantity:
        """Return the quantity of *node*, those that it is made of being noted."""
        whole = node.specs[0].dtype == "int32" and isinstance(node.primitive, Map)
        if isinstance(node.primitive, Map):
            operands = tuple(self.operand(node, x, shift) for x in node.inputs)
            return Term(node.primitive.expr, operands, whole)
        x, behind = source(node.inputs[0])
        kernel = self.read(node.inputs[1], node)
        product = Product(Fetch(self.read(x), behind), kernel, shift)
        if node.epilogue is None:
            return product
        self.quantities.append(product)
        number = len(self.quantities) - 1
        extras = tuple(self.operand(node, x, shift) for x in node.extras)
        return Term(node.epilogue, (number, *extras), whole)

    def operand(self, node: Node, value: Value, shift: int) -> Fetch | int:
        """Return where *node* has the texel of its operand *value* from."""
        given, behind = source(value)
        if (
            given.node is not None
            and self.partition.is_near(node, value)
            and given.node not in self.done
        ):
            return self.quantity(given.node, shift + behind)
        # What has a single channel is the same for every block.
        single = canonical(given.shape)[-1] == 1
        return Fetch(self.read(given), 0 if single else shift + behind)

    def read(self, value: Value, kernel_of: Node | None = None) -> int:
        """Return the number of a tensor to fetch from."""
        # Kernels are packed in another way than other constants.
        key = (value.key, kernel_of)
        self.reads.setdefault(key, Read(value, kernel_of))
        return list(self.reads).index(key)
