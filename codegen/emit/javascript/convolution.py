"""Conv: a matrix product per phase and group, or a loop over channels if depthwise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from keramos.emit.javascript.elementwise import Store, store
from keramos.emit.javascript.function import (
    Function,
    Operand,
    Shape,
    Walk,
    collapse,
    known,
    plus,
    strides,
    times,
)
from keramos.emit.javascript.product import Offsets, Product, width, write_product
from keramos.emit.javascript.window import (
    Image,
    Phase,
    combinations,
    padded,
    phases,
    reach,
    zeros,
)
from keramos.plan.javascript import Source
from keramos.primitives import Conv

# More phases of a transposed convolution than this would make too much text.
MOST_PHASES = 16
# Wider windows of depthwise convolutions are looped over rather than written out.
_WRITTEN_OUT = 9
_TILE = 4


@dataclass(frozen=True, slots=True)
class Sizes:
    """The lengths of a convolution; *depth* and *filters* are those of a group."""

    outputs: Shape
    window: Shape
    groups: int
    depth: int
    filters: int


@dataclass(frozen=True, slots=True)
class _Job:
    """A convolution of *image*, which is padded, with *kernel*."""

    f: Function
    image: Image
    sizes: Sizes
    kernel: Operand
    results: Store


def emit_conv(f: Function, conv: Conv, target: Source) -> None:
    """Write a convolution."""
    x, kernel = f.operands[:2]
    *window, depth, filters = kernel.shape
    raw = known(conv.infer(*(operand.spec for operand in f.operands[:2]))[0].shape)
    sizes = Sizes(raw[:-1], tuple(window), conv.groups, depth, filters // conv.groups)
    image = Image(f.read(x), x.shape[:-1], x.shape[-1], (0,) * len(window))
    depthwise = depth == 1 and conv.groups > 1
    lows = zeros_before(conv, image, sizes)
    axes = phases_by_axis(conv, sizes, lows, conv.input_dilation)
    if math.prod(map(len, axes)) > (1 if depthwise else MOST_PHASES):
        ones = (1,) * len(window)
        none = [(0, 0)] * len(window)
        image = padded(f, image, none, spread=conv.input_dilation)
        axes = phases_by_axis(conv, sizes, lows, ones)
    reached = [reach(axis, d) for axis, d in zip(axes, image.sizes, strict=True)]
    image = padded(f, image, reached)
    results = store(f, target, raw, channels=raw[-1])
    job = _Job(f, image, sizes, kernel, results)
    chosen = combinations(axes)
    for phase in chosen:
        if depthwise:
            _depthwise(job, phase)
        elif len(chosen) > 1:
            with f.block(""):
                _product(job, phase)
        else:
            _product(job, phase)
    results.finish()


def zeros_before(conv: Conv, image: Image, sizes: Sizes) -> list[int]:
    """Return the zeros in front of each axis of the dilated input."""
    return [
        zeros((d - 1) * spread + 1, (w - 1) * dilation + 1, stride, padding)[0]
        for d, w, stride, padding, dilation, spread in zip(
            image.sizes,
            sizes.window,
            conv.strides,
            conv.padding,
            conv.dilation,
            conv.input_dilation,
            strict=True,
        )
    ]


def phases_by_axis(
    conv: Conv, sizes: Sizes, lows: Sequence[int], spread: Sequence[int]
) -> list[list[Phase]]:
    """Return the phases of each axis for an input that is dilated by *spread*."""
    steps = zip(conv.strides, conv.dilation, spread, strict=True)
    return list(map(phases, sizes.outputs, sizes.window, steps, lows))


def first_window(phase: Sequence[Phase], image: Image) -> int:
    """Return where in the padded image the first window of a phase begins."""
    return sum(
        (axis.first + before) * step
        for axis, before, step in zip(phase, image.before, image.strides, strict=True)
    )


def _product(job: _Job, phase: tuple[Phase, ...]) -> None:
    """Write one phase as products: rows are pixels, columns are output channels."""
    f, image, sizes = job.f, job.image, job.sizes
    counts = [axis.count for axis in phase]
    steps = [axis.stride * s for axis, s in zip(phase, image.strides, strict=True)]
    spacing = [axis.spacing * s for axis, s in zip(phase, image.strides, strict=True)]
    taps = [axis.taps for axis in phase]
    to_steps = strides((*sizes.outputs, sizes.groups * sizes.filters))[:-1]
    loops, run = window_runs(taps, spacing, sizes.depth)
    rows = math.prod(counts)
    matrix = _packed(job, phase, rows)
    product = Product(
        x=image.name,
        at=offsets(f, "at", counts, steps, first_window(phase, image)),
        to=offsets(
            f,
            "to",
            counts,
            [axis.step * s for axis, s in zip(phase, to_steps, strict=True)],
            sum(axis.start * s for axis, s in zip(phase, to_steps, strict=True)),
        ),
        rows=rows,
        columns=sizes.filters,
        loops=loops,
        run=run,
        count=sizes.groups,
        next_x=sizes.depth,
        next_y=sizes.filters,
    )
    write_product(f, product, matrix, job.results, x_size=image.size)


def offsets(
    f: Function, wanted: str, sizes: Sequence[int], steps: Sequence[int], start: int
) -> Offsets:
    """Return the offsets of all positions, by formula where they form a line."""
    lengths, (walk,) = collapse(sizes, [Walk(start, tuple(steps))])
    if len(lengths) <= 1:
        return Offsets(walk.strides[0] if walk.strides else 0, start)
    text = f.module.offsets(sizes, steps, start)
    return Offsets(name=f.table(text, wanted))


def window_runs(
    taps: Sequence[int], spacing: Sequence[int], depth: int
) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return the loops over a window, neighbours in memory joined into one run."""
    run = depth
    loops = [pair for pair in zip(taps, spacing, strict=True) if pair[0] != 1]
    while loops and loops[-1][1] == run:
        run *= loops.pop()[0]
    if 0 in taps:
        return (), 0
    return tuple(loops), run


def _packed(job: _Job, phase: tuple[Phase, ...], rows: int) -> str:
    """Return the parameter that holds the phase's part of the kernel, packed."""
    f, sizes, kernel = job.f, job.sizes, job.kernel
    steps = strides((*sizes.window, sizes.depth, sizes.groups * sizes.filters))
    taps = [axis.taps for axis in phase]
    if 0 in taps:
        return f.read(kernel, "kernel")
    start = sum(axis.kernel * s for axis, s in zip(phase, steps, strict=False))
    over = [
        *(axis.kernel_step * s for axis, s in zip(phase, steps, strict=False)),
        steps[-2],
    ]
    packing = Packing(
        rows=f.module.offsets([*taps, sizes.depth], over, start),
        columns=f.module.offsets([sizes.groups * sizes.filters], [1]),
        width=width(rows, sizes.filters),
        count=sizes.groups,
        size=(math.prod(taps) * sizes.depth, sizes.filters),
    )
    return pack(f, kernel, packing, "kernel")


@dataclass(frozen=True, slots=True)
class Packing:
    """How matrices of *size* (rows, columns) are read: *count* of them.

    *rows* and *columns* are texts of tables of offsets, *width* is that of a block.
    """

    rows: str
    columns: str
    width: int
    count: int
    size: tuple[int, int]


def pack(f: Function, operand: Operand, packing: Packing, wanted: str) -> str:
    """Return the parameter that holds *operand* in blocks of columns.

    Constants are packed when the model is created.
    """
    f.use("pack")
    rows, columns, width = packing.rows, packing.columns, packing.width
    if operand.stored is not None:
        tensor = f.module.tensor(operand.stored)
        text = f"pack({tensor}, {rows}, {columns}, {width}, {packing.count})"
        return f.table(text, wanted)
    depth, each = packing.size
    packed = f.scratch(packing.count * -(-each // width) * width * depth, wanted)
    listed = [f.read(operand), f.table(rows, "rows"), f.table(columns, "columns")]
    f.line(f"pack({', '.join(listed)}, {width}, {packing.count}, {packed});")
    return packed


def _depthwise(job: _Job, phase: tuple[Phase, ...]) -> None:
    """Write loops over pixels and channels; 4 neighbours share what they read."""
    f, image, sizes, results = job.f, job.image, job.sizes, job.results
    kernel = f.read(job.kernel, "kernel")
    *outer, last = phase
    channels = sizes.groups * sizes.filters
    height = min(_TILE, last.count) if last.taps <= _WRITTEN_OUT else 1
    at = str(first_window(phase, image))
    to = "0"
    steps = strides((*sizes.outputs, channels))
    depth = f.depth
    for number, axis in enumerate(outer):
        i = f"i{number}"
        f.repeat(f"let {i} = 0; {i} < {axis.count}; {i}++")
        at = plus(at, times(i, axis.stride * image.strides[number]))
        to = plus(to, times(i, steps[number]))
    if last.count % height:
        f.repeat(f"let tile = 0; tile < {last.count}; tile += {height}")
        f.line(f"const j = Math.min(tile, {last.count - height});")
    else:
        f.repeat(f"let j = 0; j < {last.count}; j += {height}")
    f.line(f"const a = {plus(at, times('j', last.stride * image.channels))};")
    f.line(f"const b = {plus(to, times('j', channels))};")
    if sizes.filters == 1:
        f.repeat(f"let o = 0; o < {channels}; o++")
        c = "o"
    else:
        f.repeat(f"let c = 0; c < {sizes.groups}; c++")
        f.repeat(f"let q = 0; q < {sizes.filters}; q++")
        f.line(f"const o = c * {sizes.filters} + q;")
        c = "c"
    f.line(f"let {', '.join(f's{r} = 0' for r in range(height))};")
    inner = f.depth
    kernel_steps = strides((*sizes.window, channels))
    first = sum(axis.kernel * s for axis, s in zip(phase, kernel_steps, strict=False))
    x, w = f"a + {c}", plus("o", first)
    for number, axis in enumerate(outer):
        u = f"u{number}"
        if axis.taps != 1:
            f.repeat(f"let {u} = 0; {u} < {axis.taps}; {u}++")
            x = plus(x, times(u, axis.spacing * image.strides[number]))
            w = plus(w, times(u, axis.kernel_step * kernel_steps[number]))
    f.line(f"const p = {x};")
    f.line(f"const k = {w};")
    _taps(job, last, height, kernel)
    f.close(inner)
    results.hold(["o"])
    for r in range(height):
        results.put(plus("b", "o", r * channels), "o", f"s{r}")
    f.close(depth)


def _taps(job: _Job, last: Phase, height: int, name: str) -> None:
    """Write the products along the last axis of the window."""
    f, image, sizes = job.f, job.image, job.sizes
    channels = sizes.groups * sizes.filters
    if last.taps > _WRITTEN_OUT:
        f.repeat(f"let v = 0; v < {last.taps}; v++")
        x = plus("p", times("v", last.spacing * image.channels))
        w = plus("k", times("v", last.kernel_step * channels))
        f.line(f"s0 += {image.name}[{x}] * {name}[{w}];")
        f.close(f.depth - 1)
        return
    columns = sorted(
        {
            r * last.stride + t * last.spacing
            for r in range(height)
            for t in range(last.taps)
        }
    )
    for column in columns:
        f.line(f"const v{column} = {image.name}[{plus('p', column * image.channels)}];")
    for t in range(last.taps):
        f.line(f"const w{t} = {name}[{plus('k', t * last.kernel_step * channels)}];")
        for r in range(height):
            f.line(f"s{r} += v{r * last.stride + t * last.spacing} * w{t};")
