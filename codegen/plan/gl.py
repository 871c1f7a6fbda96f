"""Graph -> GlPlan: what the fragment-program target executes, decided ahead of time.

:func:`keramos.plan.prepare.prepare` brings a graph into the form that the kernel
families take; :func:`plan` gives each value a layout and a place in a texture, and each
node a family and a number of draws. Nothing is left to decide at run time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keramos.errors import CompileError, Problem, quoted
from keramos.graph import Graph, Node, Value
from keramos.plan.layout import (
    LANES,
    DoesNotFitError,
    Layout,
    Limits,
    canonical,
    image,
    matrix,
    reinterpret,
    table,
)
from keramos.plan.names import stage_names
from keramos.plan.prepare import prepare
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

BYTES_PER_TEXEL = 16
# An image with fewer pixels is stored as a matrix: one draw instead of many tiny ones.
SMALL_IMAGE = 16
IMAGE_RANK = 3
# A pooled texture may be this much larger than a tenant needs.
WASTE = 1.25
UNLIMITED = Limits(texture_size=1 << 30, layers=1 << 30)


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A value in a texture.

    *home* numbers the storage: views of one tensor share it, and constants have homes
    of their own. *batched* is whether the batch is one of the layout's axes.
    """

    shape: Shape
    layout: Layout
    home: int
    batched: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class ConstantTensor:
    """A constant, packed under the shape *view* ``(d, h, w, c)``."""

    tensor: Tensor
    value: Value
    view: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One node: a program, run once per *group* of the output's layers.

    *operands* belong to the node's inputs, in order.
    """

    name: str
    family: str
    node: Node
    operands: tuple[Tensor, ...]
    output: Tensor
    group: int

    def draws(self) -> tuple[tuple[int, int], ...]:
        """Return the first layer and the number of layers of each draw."""
        layers, run = self.output.layout.layers, self.output.layout.group
        return tuple(
            (start + offset, min(self.group, run - offset))
            for start in range(0, layers, run)
            for offset in range(0, run, self.group)
        )


@dataclass(frozen=True, slots=True)
class Texture:
    """A texture array, large enough for each of its tenants."""

    width: int
    height: int
    layers: int

    @property
    def bytes(self) -> int:
        """Return the size in bytes."""
        return self.width * self.height * self.layers * BYTES_PER_TEXEL


@dataclass(frozen=True, slots=True)
class GlPlan:
    """Stages in order, and where every tensor lives.

    *places* maps the home of a tensor to one of *textures*; those of constants come
    last and hold one constant each.
    """

    batch: int
    limits: Limits
    stages: tuple[Stage, ...]
    constants: tuple[ConstantTensor, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    textures: tuple[Texture, ...]
    places: dict[int, int]

    @property
    def texture_bytes(self) -> int:
        """Return what all textures take."""
        return sum(texture.bytes for texture in self.textures)

    def texture(self, tensor: Tensor) -> int:
        """Return the number of the texture that *tensor* lives in."""
        return self.places[tensor.home]


def plan(graph: Graph, *, batch: int, limits: Limits, where: str) -> GlPlan:
    """Return the plan of an optimised graph.

    *where* names the model in errors. Raises CompileError for free dimensions, for
    tensors that don't fit the limits, and for what has no kernel.
    """
    _refuse_free(graph, where)
    builder = _Builder(prepare(graph), batch=batch, limits=limits, where=where)
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


class NoKernelError(Exception):
    """No kernel family computes a node."""


def family(node: Node) -> str:
    """Return the kernel family: the name of a GLSL body.

    Raises NoKernelError for what has none.
    """
    primitive = node.primitive
    if isinstance(primitive, Conv):
        return _conv_family(primitive, node.inputs[1])
    if isinstance(primitive, Scan):
        raise NoKernelError("the gl target has no kernel for recurrent layers")
    return _FAMILIES[type(primitive)]


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


class _Builder:
    """Gives values tensors while it walks the nodes."""

    def __init__(self, graph: Graph, *, batch: int, limits: Limits, where: str) -> None:
        self.graph = graph
        self.batch = batch
        self.limits = limits
        self.where = where
        self.tensors: dict[Value | tuple[Node, int], Tensor] = {}
        self.constants: dict[tuple[Value, str], ConstantTensor] = {}
        self.stages: list[Stage] = []
        self.problems: list[Problem] = []
        self.homes = 0

    def build(self) -> GlPlan:
        """Return the plan."""
        for x in self.graph.inputs:
            self.tensors[x] = self.tensor(f"input {quoted(x.name)}", x.shape)
        for node, name in stage_names(self.graph).items():
            self.visit(node, name)
        if self.problems:
            raise CompileError(self.problems)
        inputs = tuple(self.tensors[x] for x in self.graph.inputs)
        outputs = tuple(map(self.source, self.graph.outputs))
        constants = tuple(self.constants.values())
        textures, places = _allocate(self.stages, inputs, outputs)
        for constant in constants:
            places[constant.tensor.home] = len(textures)
            textures.append(_texture(constant.tensor.layout))
        return GlPlan(
            batch=self.batch,
            limits=self.limits,
            stages=tuple(self.stages),
            constants=constants,
            inputs=inputs,
            outputs=outputs,
            textures=tuple(textures),
            places=places,
        )

    def home(self) -> int:
        """Return a new storage number."""
        self.homes += 1
        return self.homes - 1

    def tensor(self, label: str, shape: Shape) -> Tensor:
        """Return a batched tensor in the layout that suits its shape."""
        d, h, w, _ = canonical(shape)
        wide = len(shape) >= IMAGE_RANK and d * h * w >= SMALL_IMAGE
        arrange = image if wide else matrix
        try:
            layout = arrange(shape, batch=self.batch, limits=self.limits)
        except DoesNotFitError:
            self.too_large(label, shape)
            layout = arrange(shape, batch=self.batch, limits=UNLIMITED)
        return Tensor(shape, layout, self.home())

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

    def visit(self, node: Node, name: str) -> None:
        """Add the node's stage, or none where its result is a view."""
        if isinstance(node.primitive, Reshape):
            source = self.source(node.inputs[0])
            view = reinterpret(source.layout, node.specs[0].shape)
            if view is not None and source.batched:
                self.tensors[node, 0] = Tensor(node.specs[0].shape, view, source.home)
                return
        label = self.label(node)
        output = self.tensor(label, node.specs[0].shape)
        self.tensors[node, 0] = output
        try:
            kind = family(node)
        except NoKernelError as error:
            self.problems.append(Problem(f"{self.where}: {label}", str(error)))
            return
        operands = tuple(self.operand(node, index) for index in range(len(node.inputs)))
        group = min(self.limits.draw_buffers, output.layout.group)
        if kind == "conv" and isinstance(node.primitive, Conv):
            # The blocks of one draw read the same group of input channels.
            per_group = output.layout.channels // node.primitive.groups // LANES
            if node.primitive.groups > 1:
                group = math.gcd(group, per_group)
        self.stages.append(Stage(name, kind, node, operands, output, group))

    def source(self, value: Value) -> Tensor:
        """Return the tensor of *value*, whatever reads it."""
        if value.constant is not None:
            return self.constant(
                value, "operand", canonical(value.shape), label="model"
            )
        return self.tensors[value if value.node is None else (value.node, value.index)]

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
            view = (1, taps, depth, filters)
            return self.constant(value, "kernel", view, label=label)
        return self.constant(value, "operand", canonical(value.shape), label=label)

    def constant(
        self, value: Value, role: str, view: tuple[int, int, int, int], *, label: str
    ) -> Tensor:
        """Return the tensor of a constant; one per role."""
        key = (value, role)
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
            tensor = Tensor(value.shape, layout, self.home(), batched=False)
            self.constants[key] = ConstantTensor(tensor, value, view)
        return self.constants[key].tensor


def _operand_table(shape: Shape, *, limits: Limits) -> Layout:
    return image(shape, batch=1, limits=limits)


def _texture(layout: Layout) -> Texture:
    return Texture(layout.width, layout.height, layout.layers)


def _allocate(
    stages: Sequence[Stage], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> tuple[list[Texture], dict[int, int]]:
    """Return the pool and which home lives where: greedy by size over lifetimes.

    A home is alive from the stage that writes it to the last one that reads it, both
    included, so that no stage reads and writes one texture.
    """
    first: dict[int, int] = {x.home: -1 for x in inputs}
    last: dict[int, int] = {x.home: -1 for x in inputs}
    layouts: dict[int, Layout] = {x.home: x.layout for x in inputs}
    for number, stage in enumerate(stages):
        first[stage.output.home] = last[stage.output.home] = number
        layouts[stage.output.home] = stage.output.layout
        for tensor in stage.operands:
            if tensor.batched:
                last[tensor.home] = number
    for tensor in outputs:
        last[tensor.home] = len(stages)
    textures: list[Texture] = []
    tenants: list[list[int]] = []
    places: dict[int, int] = {}
    for home in sorted(layouts, key=lambda home: (-layouts[home].texels, home)):
        need = _texture(layouts[home])
        for number, texture in enumerate(textures):
            busy = any(
                first[other] <= last[home] and first[home] <= last[other]
                for other in tenants[number]
            )
            if not busy and _suits(texture, need):
                break
        else:
            number = len(textures)
            textures.append(need)
            tenants.append([])
        tenants[number].append(home)
        places[home] = number
    return textures, places


def _suits(texture: Texture, need: Texture) -> bool:
    large = (
        texture.width >= need.width
        and texture.height >= need.height
        and texture.layers >= need.layers
    )
    return large and texture.bytes <= WASTE * need.bytes
