"""What a plan of the gl target is made of: tensors in textures, stages, loops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from keramos.graph import Node, Storage, Value
from keramos.plan.cells import Region
from keramos.plan.kernels import Kernel, UniformWeights
from keramos.plan.layout import Layout, Limits
from keramos.plan.prologues import Prologue
from keramos.primitives import Shape

BYTES_PER_TEXEL: Mapping[Storage, int] = {"float32": 16, "float16": 8, "uint8": 4}
NO_OFFSET = (0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A value in a texture.

    *home* numbers the storage: views of one tensor share it, and constants have homes
    of their own. *batched* is whether the batch is one of the layout's axes. *offset*
    is added to the indexes ``(n, d, h, w, b)``: a slice is a view, and *is_part* marks
    it, since it may begin at 0. A step of a sequence is a view too: *moment* is the
    axis to which the number of the step is added, times *pace*. *storage* is the format
    of the texels: bytes hold codes. A result of one channel may be one *lane* of texels
    that hold another one too.
    """

    shape: Shape
    layout: Layout
    home: int
    batched: bool = True
    is_part: bool = False
    offset: tuple[int, ...] = NO_OFFSET
    moment: int | None = None
    pace: int = 1
    storage: Storage = "float32"
    lane: int | None = None

    @property
    def is_whole(self) -> bool:
        """Return whether the tensor is all that its layout describes."""
        return not self.is_part and self.moment is None


@dataclass(frozen=True, slots=True, eq=False)
class ConstantTensor:
    """A constant, packed under the shape *view* ``(d, h, w, c)``."""

    tensor: Tensor
    value: Value
    view: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """One node: a program, run once per group of the output's layers.

    *operands* belong to the node's inputs, in order, but for weights in uniform
    blocks; with a *prologue* the first is its main input, and its others come last. In
    a loop the output may be one step of a sequence: *origins* are then where each
    step's texels start, as ``(x, y, layer)``.
    """

    name: str
    kernel: Kernel
    node: Node
    operands: tuple[Tensor, ...]
    output: Tensor
    origins: tuple[tuple[int, int, int], ...] = ()
    prologue: Prologue | None = None

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Return what the stage writes."""
        return (self.output,)

    @property
    def family(self) -> str:
        """Return the kernel family: the name of a GLSL body."""
        return self.kernel.family

    @property
    def group(self) -> int:
        """Return how many channel blocks one fragment computes."""
        return self.kernel.group

    @property
    def pixels(self) -> int:
        """Return how many neighbours along w one fragment computes."""
        return self.kernel.pixels

    @property
    def cost(self) -> float:
        """Return the estimated microseconds."""
        return self.kernel.cost

    @property
    def uniform(self) -> UniformWeights | None:
        """Return the weights that lie in uniform blocks."""
        return self.kernel.uniform

    def operand(self, index: int) -> int:
        """Return which operand belongs to input *index* of the node."""
        return index - (self.uniform is not None and index > 1)

    def strips(self) -> tuple[tuple[int, int], ...]:
        """Return the first row and the number of rows that each draw is split into."""
        height = self.output.layout.height
        rows = -(-height // self.kernel.strips)
        return tuple(
            (start, min(rows, height - start)) for start in range(0, height, rows)
        )

    def draws(self) -> tuple[tuple[int, int], ...]:
        """Return the first layer and the number of layers of each draw."""
        layers, run = self.output.layout.layers, self.output.layout.group
        step = min(self.group, run)
        return tuple(
            (start + offset, min(step, run - offset) * self.pixels)
            for start in range(0, layers, run * self.pixels)
            for offset in range(0, run, step)
        )


@dataclass(frozen=True, slots=True, eq=False)
class DrawBuffer:
    """The draw buffer of a cell that takes its result number *result*.

    In each step of the loop it is attached *pace* layers behind where it was in the
    step before.
    """

    result: int
    tensor: Tensor
    pace: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """Several nodes of a loop's body: a program that writes several tensors at once.

    *operands* belong to what the region reads. All *buffers* have the same layout. A
    fragment computes one channel block of each; *cost* is in microseconds.
    """

    name: str
    region: Region
    operands: tuple[Tensor, ...]
    buffers: tuple[DrawBuffer, ...]
    cost: float

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Return what the cell writes."""
        return tuple(buffer.tensor for buffer in self.buffers)

    @property
    def layout(self) -> Layout:
        """Return the layout of every result."""
        return self.buffers[0].tensor.layout

    @property
    def family(self) -> str:
        """Return what kind of program it is."""
        return "cell"

    @property
    def group(self) -> int:
        """Return how many channel blocks of each result a fragment computes."""
        return 1

    @property
    def pixels(self) -> int:
        """Return how many neighbours along w one fragment computes."""
        return 1

    @property
    def uniform(self) -> UniformWeights | None:
        """Return no weights: a cell reads them from textures."""
        return None

    def draws(self) -> tuple[tuple[int, int], ...]:
        """Return the first layer and the number of layers of each draw."""
        return tuple((layer, 1) for layer in range(self.layout.layers))


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """What a Scan's body becomes, run once per step, from the end if *reverse*.

    A state has two homes, in turn read and written: *states* pairs the home that even
    steps read with the one that odd steps read.
    """

    name: str
    body: tuple[Stage | Cell, ...]
    steps: int
    reverse: bool
    states: tuple[tuple[int, int], ...]


Step = Stage | Cell | Loop


@dataclass(frozen=True, slots=True)
class Texture:
    """A texture array, large enough for each of its tenants."""

    width: int
    height: int
    layers: int
    storage: Storage = "float32"

    @property
    def bytes(self) -> int:
        """Return the size in bytes."""
        texels = self.width * self.height * self.layers
        return texels * BYTES_PER_TEXEL[self.storage]


@dataclass(frozen=True, slots=True)
class GlPlan:
    """Stages in order, and where every tensor lives.

    *places* maps the home of a tensor to one of *textures*; those of constants come
    last and hold one constant each.
    """

    batch: int
    limits: Limits
    steps: tuple[Step, ...]
    constants: tuple[ConstantTensor, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    textures: tuple[Texture, ...]
    places: dict[int, int]

    @property
    def stages(self) -> tuple[Stage | Cell, ...]:
        """Return every stage and cell, those of loops once."""
        return tuple(flattened(self.steps))

    @property
    def texture_bytes(self) -> int:
        """Return what all textures take."""
        return sum(texture.bytes for texture in self.textures)

    def texture(self, tensor: Tensor) -> int:
        """Return the number of the texture that *tensor* lives in."""
        return self.places[tensor.home]


def flattened(steps: Iterable[Step]) -> Iterator[Stage | Cell]:
    """Yield every stage and cell, those of loops once."""
    for step in steps:
        if isinstance(step, Loop):
            yield from step.body
        else:
            yield step
