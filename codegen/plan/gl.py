"""Graph -> GlPlan: what the fragment-program target executes, decided ahead of time.

:func:`keramos.plan.prepare.prepare` brings a graph into the form that the kernel
families take; :func:`plan` gives each value a layout and a place in a texture, and each
node a family and a number of draws. Nothing is left to decide at run time.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from keramos.errors import CompileError, Problem, quoted
from keramos.expr import operand
from keramos.graph import Constant, Graph, Node, Storage, Value, ValueKey, apply
from keramos.plan.cells import Item, Region, cost, schedule
from keramos.plan.factor_scales import factor_scales
from keramos.plan.fuse_products import prepare_fused
from keramos.plan.halves import exact_in_body, exact_values
from keramos.plan.joins import Place, fills_texels, joins
from keramos.plan.kernels import (
    NoKernelError,
    Piece,
    best,
    best_join,
    family,
    has_stage,
    keeps_channels,
    kernels,
)
from keramos.plan.layout import (
    CANONICAL_RANK,
    LANES,
    D,
    DoesNotFitError,
    Layout,
    Limits,
    SequenceLayout,
    canonical,
    image,
    layered_sequence,
    part,
    regrouped,
    rows,
    sequence,
    table,
)
from keramos.plan.names import stage_names
from keramos.plan.pooling import pooled
from keramos.plan.prepare import Prepared, Regrouped, Target, prepare
from keramos.plan.profile import DEVICES
from keramos.plan.prologues import prologues, with_earlier, with_prologue
from keramos.plan.side_by_side import side_by_side, with_constants
from keramos.plan.stages import (
    Cell,
    ConstantTensor,
    DrawBuffer,
    GlPlan,
    Loop,
    Stage,
    Step,
    Tensor,
)
from keramos.plan.textures import allocate, texture_for
from keramos.plan.views import reordered, reshaped, sliced
from keramos.primitives import (
    Conv,
    Map,
    Reshape,
    Scan,
    Shape,
    Slice,
    Spec,
    Transpose,
)
from keramos.text import identifier, unique

UNLIMITED = Limits(texture_size=1 << 30, layers=1 << 30)


def plan(
    graph: Graph,
    *,
    batch: int,
    limits: Limits,
    where: str,
    storage: Storage = "float32",
) -> GlPlan:
    """Return the plan of an optimised graph.

    *storage* is what results are stored as, where that can hold them. *where* names the
    model in errors. Raises CompileError for free dimensions, for tensors that don't fit
    the limits, and for what has no kernel.
    """
    _refuse_free(graph, where)
    builder = _Builder(graph, batch=batch, limits=limits, where=where, storage=storage)
    return builder.build()


def _refuse_free(graph: Graph, where: str) -> None:
    free = [x for x in graph.inputs if None in x.shape]
    if free:
        shapes = ", ".join(f"input {quoted(x.name)} is {x.spec}" for x in free)
        raise CompileError.at(
            where,
            f"the gl target needs fixed shapes, but {shapes}",
            "pass --input-shape INPUT=D1,D2,... for each, or --target cpu",
        )


def _names(graph: Graph, prepared: Prepared) -> dict[Node, str]:
    """Return the names of the prepared nodes.

    The one that gives the result of a node of *graph* has that node's name; what else
    became of the node is named after the layer alone.
    """
    names: dict[Node, str] = {}
    for node, name in stage_names(graph).items():
        source = prepared.results[node][0].node
        while source is not None and source not in names:
            if not isinstance(source.primitive, Reshape):
                names[source] = name
                break
            names[source] = f"{name}_view"
            source = source.inputs[0].node
    rest = [node for node in prepared.graph.nodes if node not in names]
    layers = [node.origins[0].layer if node.origins else "stage" for node in rest]
    parts = [f"{identifier(layer)}_part" for layer in layers]
    labels = unique([*names.values(), *parts])[len(names) :]
    return names | dict(zip(rest, labels, strict=True))


def _identity(value: Value, node: Node) -> Node:
    return Node(Map(operand(0), value.dtype), (value,), (value.spec,), node.origins)


def _moment(tensor: Tensor, shape: Shape) -> Tensor:
    """Return the step of a sequence that the loop is at."""
    rank = len(tensor.shape)
    axis = max(CANONICAL_RANK - rank, 0)
    merged = tensor.shape[1 : max(rank - CANONICAL_RANK + 1, 1)]
    pace = math.prod(d or 0 for d in merged)
    return replace(tensor, shape=shape, moment=D + axis, pace=pace)


class _Builder:
    """Gives values tensors while it walks the nodes."""

    def __init__(
        self,
        graph: Graph,
        *,
        batch: int,
        limits: Limits,
        where: str,
        storage: Storage,
    ) -> None:
        self.batch = batch
        self.results_as = storage
        self.limits = limits
        self.where = where
        graph = factor_scales(graph)
        prepared = side_by_side(
            prepare_fused(graph, target=Target(batch, limits)),
            draw_buffers=limits.draw_buffers,
        )
        self.graph = prepared.graph
        self.regrouped = prepared.regrouped
        self.names = _names(graph, prepared)
        self.used = {x.key for x in self.graph.uses()}
        self.prologues = prologues(self.graph, batch=batch, limits=limits)
        self.absorbed = {prologue.node for prologue in self.prologues.values()}
        self.joins = joins(self.graph, self.absorbed)
        self.pooled = self.convolutions()
        self.readers = _readers(self.graph, self.absorbed, self.pooled)
        self.roots: dict[Node, Tensor] = {}
        self.exact = exact_values(self.graph)
        self.pairs = self.paired()
        self.tensors: dict[ValueKey, Tensor] = {}
        self.constants: dict[tuple[Constant, str], ConstantTensor] = {}
        self.steps: list[Step] = []
        self.sequences: dict[int, Layout] = {}
        self.slots: dict[int, Tensor] = {}
        self.targets: dict[Node, Tensor] = {}
        self.problems: list[Problem] = []
        self.homes = 0

    def build(self) -> GlPlan:
        """Return the plan."""
        for x in self.graph.inputs:
            self.tensors[x] = self.tensor(f"input {quoted(x.name)}", x)
        for node in self.graph.nodes:
            self.visit(node)
        if self.problems:
            raise CompileError(self.problems)
        outputs = tuple(self.materialised(y) for y in self.graph.outputs)
        inputs = tuple(self.tensors[x] for x in self.graph.inputs)
        constants = tuple(self.constants.values())
        textures, places = allocate(
            self.steps,
            self.sequences | {x.home: x.layout for x in self.roots.values()},
            inputs,
            outputs,
        )
        for constant in constants:
            places[constant.tensor.home] = len(textures)
            textures.append(
                texture_for(constant.tensor.layout, constant.tensor.storage)
            )
        return GlPlan(
            batch=self.batch,
            limits=self.limits,
            steps=tuple(self.steps),
            constants=constants,
            inputs=inputs,
            outputs=outputs,
            textures=tuple(textures),
            places=places,
        )

    def materialised(self, value: Value) -> Tensor:
        """Return the tensor of *value*, copied where it is part of another one."""
        tensor = self.source(value)
        return tensor if tensor.is_whole else self.copy(value, self.unused("copy"))

    def copy(self, value: Value, name: str, layout: Layout | None = None) -> Tensor:
        """Add a stage that copies *value* into a tensor of its own."""
        node = Node(Map(operand(0), value.dtype), (value,), (value.spec,))
        if layout is None:
            output = self.tensor("model", value, node)
        else:
            output = Tensor(
                value.shape, layout, self.home(), storage=self.storage(value)
            )
        self.stage(node, name, output)
        return output

    def storage(self, value: Value) -> Storage:
        """Return what *value* is stored as."""
        exact = value.dtype == "int32" or value.key in self.exact
        return "float32" if exact else self.results_as

    def home(self) -> int:
        """Return a new storage number."""
        self.homes += 1
        return self.homes - 1

    def tensor(self, label: str, value: Value, node: Node | None = None) -> Tensor:
        """Return a batched tensor for *value* in the layout that suits *node*."""
        shape = value.shape
        try:
            layout = self.arranged(shape, self.limits, node)
        except DoesNotFitError:
            self.too_large(label, shape)
            layout = self.arranged(shape, UNLIMITED, node)
        except NoKernelError:
            # Which the stage is going to report.
            layout = image(shape, batch=self.batch, limits=UNLIMITED)
        return Tensor(shape, layout, self.home(), storage=self.storage(value))

    def arranged(self, shape: Shape, limits: Limits, node: Node | None) -> Layout:
        """Return the layout of the result of *node*, or of an input without one."""
        if node is not None:
            readers = self.readers.get((node, 0), [])
            return best(node, batch=self.batch, limits=limits, readers=readers).layout
        if math.prod(d or 0 for d in shape[:-1]) * self.batch > 1:
            return image(shape, batch=self.batch, limits=limits)
        return rows(shape, batch=self.batch, limits=limits)

    def too_large(self, label: str, shape: Shape) -> None:
        """Note that no folding makes a tensor fit."""
        sizes = ", ".join(map(str, shape))
        size, layers = self.limits.texture_size, self.limits.layers
        self.problems.append(
            Problem(
                f"{self.where}: {label}",
                f"a tensor of shape ({sizes}) doesn't fit into {layers} layers of "
                f"{size}x{size} texels",
                "raise --max-texture-size, or use --target cpu",
            )
        )

    def label(self, node: Node) -> str:
        """Return the node's layer in the user's vocabulary."""
        if not node.origins:
            return "model"
        origin = node.origins[0]
        return f"layer {quoted(origin.layer)} ({origin.class_name})"

    def visit(self, node: Node) -> None:
        """Add the node's stage, or none where its result is a view."""
        if isinstance(node.primitive, Scan):
            self.loop(node, node.primitive)
            return
        if node in self.absorbed or (node, 0) in self.tensors:
            return
        if node in self.pairs:
            self.pair(node, self.pairs[node])
            return
        view = self.view(node)
        if view is not None:
            self.tensors[node, 0] = view
            return
        place = self.joins.places.get(node)
        if place is not None and self.has_root(place.root):
            self.join(node, place)
            return
        output = self.targets.get(node)
        both = self.pooled.get(node, node)
        if output is None:
            output = self.tensor(self.label(node), node.results()[0], both)
        self.tensors[node, 0] = output
        self.stage(both, self.names.get(node, "stage"), output)

    def convolutions(self) -> dict[Node, Node]:
        """Return the poolings that compute their convolution, and what does both.

        That is where it takes less time than two draws do; the convolutions then count
        as absorbed.
        """
        found: dict[Node, Node] = {}
        for pool, conv, both in pooled(self.graph):
            elsewhere = {pool, conv} & (self.absorbed | self.joins.places.keys())
            if elsewhere or conv in self.prologues or pool in self.prologues:
                continue
            if self.duration([both]) < self.duration([conv, pool]):
                found[pool] = both
                self.absorbed.add(conv)
        return found

    def paired(self) -> dict[Node, Node]:
        """Return reductions, each with one of the same rows that it is computed with.

        Not where results are halves: what else reads the first one's finds it rounded,
        and the second one doesn't.
        """
        found: dict[Node, Node] = {}
        for node, prologue in self.prologues.items():
            joint = with_earlier(node, prologue)
            first = None if joint is None else joint.first
            if joint is None or first is None or first in found:
                continue
            elsewhere = node in self.joins.places or first in self.joins.places
            exact = {self.storage(x.results()[0]) for x in (first, node)} == {"float32"}
            if exact and not elsewhere and first not in self.prologues:
                found[first] = node
                self.prologues[node] = joint
        return found

    def pair(self, first: Node, second: Node) -> None:
        """Add the stage that computes two reductions, each a lane of the result."""
        spec = Spec((*first.specs[0].shape[:-1], 2))
        wide = replace(second, specs=(spec,))
        output = self.tensor(self.label(second), wide.results()[0], wide)
        for lane, node in enumerate((first, second)):
            self.tensors[node, 0] = replace(
                output, shape=node.specs[0].shape, is_part=True, lane=lane
            )
        name = self.unused(f"{self.names.get(second, 'stage')}_pair")
        self.stage(second, name, output)

    def join(self, node: Node, place: Place) -> None:
        """Write *node* into its blocks of a concatenation, or complete one."""
        name = self.names.get(node, "stage")
        whole = self.roots[place.root]
        shape = node.specs[0].shape
        if node is place.root:
            self.tensors[node, 0] = whole
        else:
            offset = (0, 0, 0, 0, place.first)
            self.tensors[node, 0] = replace(
                whole, shape=shape, offset=offset, is_part=True
            )
        if not fills_texels(node):
            self.stage(node, name, *_written(whole, shape, place))
            return
        for number, x in enumerate(node.inputs):
            missing = self.joins.copies.get((node, number))
            if missing is not None:
                label = self.unused(f"{name}_part_{number + 1}")
                written = _written(whole, x.shape, missing)
                self.stage(_identity(x, node), label, *written)

    def unused(self, name: str) -> str:
        """Return *name*, or with a number if a stage has it."""
        taken = [step.name for step in self.steps]
        return unique([*self.names.values(), *taken, name])[-1]

    def has_root(self, node: Node) -> bool:
        """Give the concatenation *node* its storage; return whether it has one."""
        if node in self.roots:
            return True
        shape = node.specs[0].shape
        pieces = [
            Piece(self.joins.writer(x, place) or _identity(x, node), place.first)
            for x, place in self.joins.parts[node]
        ]
        inside = [n for n, place in self.joins.places.items() if place.root is node]
        readers = [
            reader
            for each in inside
            for reader in self.readers.get((each, 0), [])
            if reader not in inside or not fills_texels(reader)
        ]
        values = [*node.results(), *(x for x, _ in self.joins.parts[node])]
        storages = {self.storage(x) for x in values}
        if len(storages) > 1:
            self.joins.dissolve(node)
            return False
        try:
            layout = best_join(
                shape, pieces, batch=self.batch, limits=self.limits, readers=readers
            )
        except (DoesNotFitError, NoKernelError):
            self.joins.dissolve(node)
            return False
        (storage,) = storages
        self.roots[node] = Tensor(shape, layout, self.home(), storage=storage)
        return True

    def stage(
        self,
        node: Node,
        name: str,
        output: Tensor,
        origins: tuple[tuple[int, int, int], ...] = (),
    ) -> None:
        """Add the stage that computes *node* into *output*."""
        try:
            found = kernels(node, output.layout, self.limits)
            kernel = min(found, key=lambda kernel: kernel.cost)
        except NoKernelError as error:
            where = f"{self.where}: {self.label(node)}"
            self.problems.append(Problem(where, str(error), "use --target cpu"))
            return
        prologue = self.prologues.get(node)
        if prologue is not None:
            kernel = with_prologue(kernel, node, prologue, self.limits)
        operands = [
            (
                self.operand(prologue.node, prologue.main)
                if prologue is not None and index == 0
                else self.operand(node, index)
            )
            for index in range(len(node.inputs))
            if kernel.uniform is None or index != 1
        ]
        if prologue is not None:
            operands += [
                self.operand(prologue.node, index) for index in prologue.numbers
            ]
        stage = Stage(name, kernel, node, tuple(operands), output, origins, prologue)
        self.steps.append(stage)

    def view(self, node: Node) -> Tensor | None:
        """Return the result as a view of the operand, or None where it isn't one."""
        if node.epilogue is not None or node.inputs[0].constant is not None:
            return None
        shape = node.specs[0].shape
        match node.primitive:
            case Reshape():
                return reshaped(self.source(node.inputs[0]), shape)
            case Transpose(permutation) if keeps_channels(node.primitive):
                return reordered(self.source(node.inputs[0]), shape, permutation)
            case Slice():
                return sliced(self.source(node.inputs[0]), shape, node.primitive)
            case _:
                return None

    def loop(self, node: Node, scan: Scan) -> None:
        """Add a Scan: the stages of its body, run once per step."""
        name = self.names.get(node, "stage")
        if not isinstance(scan.body, Graph) or any(
            isinstance(inner.primitive, Scan) for inner in scan.body.nodes
        ):
            label = f"{self.where}: {self.label(node)}"
            self.problems.append(Problem(label, "holds a recurrent layer of its own"))
            return
        steps = node.inputs[0].shape[0] or 0
        body = self.prepared(scan, node, name)
        sequences = [
            k for k in range(len(node.specs) - scan.states) if (node, k) in self.used
        ]
        layered = self.layered(body, scan, sequences, steps)
        order = self.order(
            body,
            wanted=[*range(scan.states), *(scan.states + k for k in sequences)],
            direct=[*range(scan.states), *(scan.states + k for k in layered)],
        )
        written = _written_by(order)
        pairs = self.enter(node, scan, body.inputs, name, written)
        outside, self.steps = self.steps, []
        targets = {k: DrawBuffer(0, second) for k, (_, second) in enumerate(pairs)}
        for k, layout in layered.items():
            if scan.states + k in written:
                targets[scan.states + k] = self.slot(node, k, layout)
        self.body(order, body, name, targets)
        self.copies(node, body, targets, written)
        for k in sequences:
            if scan.states + k not in written:
                y = self.fetched(body.outputs[scan.states + k])
                self.sequence(node, k, y, steps)
        inside = tuple(step for step in self.steps if not isinstance(step, Loop))
        homes = tuple((first.home, second.home) for first, second in pairs)
        self.steps = [*outside, Loop(name, inside, steps, scan.reverse, homes)]
        for k in sequences:
            if not body.outputs[scan.states + k].shape:
                self.scalars(node, k, steps)
        for k, pair in enumerate(pairs):
            # After an even number of steps the last state lies where it started.
            self.tensors[node, len(node.specs) - scan.states + k] = pair[steps % 2]

    def order(
        self, body: Graph, *, wanted: Sequence[int], direct: Sequence[int]
    ) -> tuple[Item, ...]:
        """Return the order of a loop's body that is estimated to be the fastest.

        A draw for the whole step adds up all products in few fragments: long ones are
        faster in a draw of their own.
        """
        products = frozenset(n for n in body.nodes if isinstance(n.primitive, Conv))
        together, apart = (
            schedule(
                body,
                wanted=wanted,
                direct=direct,
                draw_buffers=self.limits.draw_buffers,
                apart=nodes,
            )
            for nodes in (frozenset[Node](), products)
        )
        # What is apart may have to be copied to where it belongs.
        copying = DEVICES[self.limits.profile].draw
        gain = self.duration(together) - self.duration(apart)
        return apart if gain > copying else together

    def duration(self, order: Sequence[Item]) -> float:
        """Return the microseconds that a step in this order takes."""
        total = 0.0
        for item in order:
            try:
                if isinstance(item, Region):
                    layout = rows(item.shape, batch=self.batch, limits=self.limits)
                    total += cost(item, layout, self.limits)
                elif has_stage(item):
                    total += best(item, batch=self.batch, limits=self.limits).cost
            except (DoesNotFitError, NoKernelError):
                return math.inf
        return total

    def copies(
        self,
        node: Node,
        body: Graph,
        targets: Mapping[int, DrawBuffer],
        written: Collection[int],
    ) -> None:
        """Add the stages that copy states which nothing has written to its place."""
        name = self.names.get(node, "stage")
        for k, target in targets.items():
            y = body.outputs[k]
            if k not in written and self.tensors.get(y.key) is not target.tensor:
                source = self.fetched(y)
                self.stage(_identity(source, node), f"{name}_next", target.tensor)

    def prepared(self, scan: Scan, node: Node, name: str) -> Graph:
        """Return the body of a Scan in the form that kernels take; name its nodes."""
        if not isinstance(scan.body, Graph):
            raise TypeError("the body is no graph")
        actual = dict(zip(scan.body.inputs, node.inputs, strict=True))
        rest = scan.body.inputs[scan.sequences + scan.states :]
        known = {x: actual[x] for x in rest if actual[x].constant is not None}
        body = factor_scales(with_constants(scan.body, known))
        prepared = prepare(body)
        needed = {k for k in range(len(node.specs)) if (node, k) in self.exact}
        _, exact = exact_in_body(scan, scan.body, needed)
        self.exact |= exact_values(prepared.graph, exact)
        labels = _names(body, prepared)
        self.names |= {inner: f"{name}_{label}" for inner, label in labels.items()}
        return prepared.graph

    def layered(
        self, body: Graph, scan: Scan, sequences: Sequence[int], steps: int
    ) -> dict[int, SequenceLayout]:
        """Return the layouts of output sequences that have layers for each step."""
        found = {}
        for k in sequences:
            shape = body.outputs[scan.states + k].shape
            layout = (
                layered_sequence(shape, steps, batch=self.batch, limits=self.limits)
                if shape
                else None
            )
            if layout is not None:
                found[k] = layout
        return found

    def slot(self, node: Node, index: int, layout: SequenceLayout) -> DrawBuffer:
        """Give output sequence *index* its tensor; return where steps are written."""
        shape, home = node.specs[index].shape, self.home()
        storage = self.storage(Value(node.specs[index], node=node, index=index))
        whole = Tensor(shape, layout.whole, home, storage=storage)
        self.tensors[node, index] = self.slots[home] = whole
        self.sequences[home] = layout.whole
        step = Tensor(shape[1:], layout.step, home, storage=storage)
        return DrawBuffer(0, step, layout.step.layers)

    def fetched(self, value: Value) -> Value:
        """Return *value*, whose tensor or view there is from now on."""
        node = value.node
        if node is not None and value.key not in self.tensors:
            for x in node.inputs:
                self.fetched(x)
            self.visit(node)
        return value

    def enter(
        self,
        node: Node,
        scan: Scan,
        formal: Sequence[Value],
        name: str,
        written: Collection[int],
    ) -> list[tuple[Tensor, Tensor]]:
        """Give the inputs of a Scan's body their tensors, but for constants.

        Returns the two tensors of each state; cells write those of *written*.
        """
        taken = node.inputs[: scan.sequences]
        initial = node.inputs[scan.sequences :][: scan.states]
        invariants = node.inputs[scan.sequences + scan.states :]
        for x, whole in zip(formal, map(self.rows, taken), strict=False):
            self.tensors[x] = _moment(self.source(whole), x.shape)
        pairs = []
        for k, state in enumerate(initial):
            label = f"{name}_state_{k + 1}"
            layout = self.plain(node, state.shape) if k in written else None
            first = self.copy(state, label, layout)
            pairs.append((first, replace(first, home=self.home())))
            self.tensors[formal[scan.sequences + k]] = first
        rest = formal[scan.sequences + scan.states :]
        for x, actual in zip(rest, invariants, strict=True):
            if actual.constant is None:
                self.tensors[x] = self.source(actual)
        return pairs

    def plain(self, node: Node, shape: Shape) -> Layout:
        """Return the layout of what a cell writes: one channel block per fragment."""
        try:
            return rows(shape, batch=self.batch, limits=self.limits)
        except DoesNotFitError:
            self.too_large(self.label(node), shape)
            return rows(shape, batch=self.batch, limits=UNLIMITED)

    def scalars(self, node: Node, index: int, steps: int) -> None:
        """Turn output sequence *index*, written as a column, into ``(steps,)``."""
        column = Value(Spec((steps, 1)), node=node, index=index)
        (row,) = apply(Reshape((steps,)), column)
        if row.node is not None:
            self.visit(row.node)
            self.tensors[node, index] = self.tensors[row.node, 0]

    def rows(self, sequence: Value) -> Value:
        """Return *sequence* with its steps on another axis than the channels."""
        if len(sequence.shape) > 1:
            return sequence
        (column,) = apply(Reshape((*sequence.shape, 1)), sequence)
        if column.node is not None:
            self.visit(column.node)
        return column

    def body(
        self,
        order: Sequence[Item],
        body: Graph,
        name: str,
        targets: Mapping[int, DrawBuffer],
    ) -> None:
        """Add the stages and cells of a loop's body.

        What gives an output with a target writes it there.
        """
        for k, target in targets.items():
            y = body.outputs[k]
            if y.node is not None and y.node in order and has_stage(y.node):
                self.targets.setdefault(y.node, target.tensor)
        for item in order:
            if isinstance(item, Region):
                self.cell(item, name, targets)
                continue
            for x in item.inputs:
                self.fetched(x)
            if (item, 0) not in self.tensors:
                self.visit(item)

    def cell(
        self, region: Region, name: str, targets: Mapping[int, DrawBuffer]
    ) -> None:
        """Add the cell that computes *region*."""
        written = []
        for number, result in enumerate(region.results):
            node = result.node
            mine = [replace(targets[k], result=number) for k in result.outputs]
            if not mine:
                shape = node.specs[0].shape
                tensor = Tensor(
                    shape,
                    self.plain(node, shape),
                    self.home(),
                    storage=self.storage(node.results()[0]),
                )
                mine = [DrawBuffer(number, tensor)]
            written += mine
            written_to = mine[0].tensor
            whole = self.slots.get(written_to.home)
            # What lies in a sequence alone is read where this step of it is.
            self.tensors[node, 0] = (
                written_to if whole is None else _moment(whole, written_to.shape)
            )
        operands = tuple(
            (
                self.source(read.value)
                if read.kernel_of is None
                else self.operand(read.kernel_of, 1)
            )
            for read in region.reads
        )
        label = self.unused(f"{name}_cell")
        taken = cost(region, written[0].tensor.layout, self.limits)
        self.steps.append(Cell(label, region, operands, tuple(written), taken))

    def sequence(self, node: Node, index: int, y: Value, steps: int) -> None:
        """Add the stage that writes a step of output sequence *index*."""
        name = self.names.get(node, "stage")
        shape = y.shape or (1,)
        try:
            layout = sequence(shape, steps, batch=self.batch, limits=self.limits)
        except DoesNotFitError:
            self.too_large(self.label(node), (steps, *shape))
            layout = sequence(shape, steps, batch=self.batch, limits=UNLIMITED)
        home = self.home()
        storage = self.storage(Value(node.specs[index], node=node, index=index))
        whole = Tensor((steps, *shape), layout.whole, home, storage=storage)
        self.tensors[node, index] = whole
        part = Tensor(y.shape, layout.step, home, storage=storage)
        self.stage(_identity(y, node), f"{name}_step", part, layout.origins)
        self.sequences[home] = layout.whole

    def source(self, value: Value) -> Tensor:
        """Return the tensor of *value*, whatever reads it."""
        if value.constant is not None:
            return self.constant(
                value, "operand", canonical(value.shape), label="model"
            )
        return self.tensors[value.key]

    def operand(self, node: Node, index: int) -> Tensor:
        """Return the tensor that input *index* of *node* reads."""
        value = node.inputs[index]
        if value.constant is None:
            return self.source(value)
        label = self.label(node)
        if isinstance(node.primitive, Conv) and index == 1:
            *window, depth, filters = (d or 0 for d in value.shape)
            taps = math.prod(window)
            if family(node) == "depthwise":
                return self.constant(value, "taps", (1, 1, taps, filters), label=label)
            original = self.regrouped.get(value.constant)
            if original is not None:
                return self.pieces(value, original, label)
            view = (1, taps, depth, filters)
            return self.constant(value, "kernel", view, label=label)
        return self.constant(value, "operand", canonical(value.shape), label=label)

    def pieces(self, value: Value, original: Regrouped, label: str) -> Tensor:
        """Return the tensor of a grouped kernel: the stored one, read in pieces."""
        *window, depth, filters = (d or 0 for d in original.kernel.shape)
        view = (1, math.prod(window), depth, filters)
        stored = self.constant(original.kernel, "kernel", view, label=label)
        layout = regrouped(stored.layout, view, original.pieces)
        if layout is None:
            raise TypeError("the kernel can't be read in pieces")
        return replace(stored, shape=value.shape, layout=layout)

    def constant(
        self, value: Value, role: str, view: tuple[int, int, int, int], *, label: str
    ) -> Tensor:
        """Return the tensor of a constant; one per role."""
        if value.constant is None:
            raise TypeError("not a constant")
        if value.constant.stored.factors is not None:
            raise TypeError("the scale of a constant was not factored out")
        key = (value.constant, role)
        if key not in self.constants:
            d, h, w, c = view
            if role == "kernel":
                w = -(-w // LANES) * LANES
            arrange = _operand_table if role == "operand" else table
            try:
                layout = arrange((d, h, w, c), limits=self.limits)
            except DoesNotFitError:
                self.too_large(label, value.shape)
                layout = arrange((d, h, w, c), limits=UNLIMITED)
            storage = value.constant.stored.storage
            tensor = Tensor(
                value.shape, layout, self.home(), batched=False, storage=storage
            )
            self.constants[key] = ConstantTensor(tensor, value, view)
        return self.constants[key].tensor


def _written(
    whole: Tensor, shape: Shape, place: Place
) -> tuple[Tensor, tuple[tuple[int, int, int], ...]]:
    """Return the part of *whole* that a stage writes, and where it begins."""
    found = part(whole.layout, first=place.first, channels=shape[-1] or 1)
    if found is None:
        raise TypeError("the layout has no such part")
    layout, origin = found
    written = Tensor(shape, layout, whole.home, storage=whole.storage)
    return written, (origin,) if any(origin) else ()


def _written_by(order: Iterable[Item]) -> frozenset[int]:
    """Return the outputs of a loop's body that cells write."""
    return frozenset(
        k
        for item in order
        if isinstance(item, Region)
        for result in item.results
        for k in result.outputs
    )


def _readers(
    graph: Graph, absorbed: Collection[Node], computed: Mapping[Node, Node]
) -> dict[ValueKey, list[Node]]:
    """Return which nodes read each value, also through views and *absorbed* nodes.

    Where another node is *computed* instead of one, it reads what that one does.
    """
    readers: dict[ValueKey, list[Node]] = {}
    for node in reversed(graph.nodes):
        for x in node.inputs:
            mine = readers.setdefault(x.key, [])
            staged = has_stage(node) and node not in absorbed
            reader = computed.get(node, node)
            mine += [reader] if staged else readers.get((node, 0), [])
    for node, other in computed.items():
        readers[other, 0] = readers.get((node, 0), [])
    return readers


def _operand_table(shape: Shape, *, limits: Limits) -> Layout:
    return image(shape, batch=1, limits=limits)
