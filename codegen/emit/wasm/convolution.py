"""Conv: a matrix product per phase, or vectors of channels if depthwise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from keramos.emit.javascript.convolution import (
    MOST_PHASES,
    Packing,
    Sizes,
    first_window,
    phases_by_axis,
    window_runs,
    zeros_before,
)
from keramos.emit.javascript.function import Walk, collapse, known, strides
from keramos.emit.javascript.window import Image, Phase, combinations, reach
from keramos.emit.wasm.assembler import apply, get, i32, load, plus, put
from keramos.emit.wasm.elementwise import Results, results
from keramos.emit.wasm.kernel import (
    BYTES,
    LANES,
    Kernel,
    UnsupportedError,
    best,
    scaled,
)
from keramos.emit.wasm.product import Axis, Product, positions, tile, write_product
from keramos.emit.wasm.window import padded
from keramos.plan.javascript import Source
from keramos.primitives import Conv

# Depthwise windows of more elements are left to JavaScript.
_WRITTEN_OUT = 25
_TILES = (4, 3, 2, 1)


def write_conv(kernel: Kernel, conv: Conv, target: Source) -> None:
    """Write a convolution; raise UnsupportedError."""
    f = kernel.f
    x, weights = f.operands[:2]
    *window, depth, filters = weights.shape
    raw = known(conv.infer(*(operand.spec for operand in f.operands[:2]))[0].shape)
    sizes = Sizes(raw[:-1], tuple(window), conv.groups, depth, filters // conv.groups)
    image = Image(kernel.read(x), x.shape[:-1], x.shape[-1], (0,) * len(window))
    axes = phases_by_axis(
        conv, sizes, zeros_before(conv, image, sizes), conv.input_dilation
    )
    depthwise = depth == 1 and conv.groups > 1
    chosen = combinations(axes)
    empty = math.prod(raw) == 0 or any(axis.taps == 0 for p in chosen for axis in p)
    if len(chosen) > (1 if depthwise else MOST_PHASES) or empty:
        raise UnsupportedError
    reached = [reach(axis, d) for axis, d in zip(axes, image.sizes, strict=True)]
    image = padded(kernel, image, reached)
    stored = results(kernel, target, raw, channels=raw[-1])
    for phase in chosen:
        if depthwise:
            _depthwise(kernel, image, sizes, phase, stored)
        else:
            _product(kernel, image, sizes, phase, stored)
    stored.rest()


def _row_axes(phase: Sequence[Phase], image: Image, to: Sequence[int]) -> list[Axis]:
    """Return the positions of a phase; *to* are strides of the results."""
    walks = (
        Walk(0, tuple(p.stride * s for p, s in zip(phase, image.strides, strict=True))),
        Walk(0, tuple(p.step * s for p, s in zip(phase, to, strict=True))),
    )
    lengths, (x, y) = collapse([axis.count for axis in phase], walks)
    axes = list(map(Axis, lengths, x.strides, y.strides))
    return axes or [Axis(1, 0, 0)]


def _product(
    kernel: Kernel, image: Image, sizes: Sizes, phase: Sequence[Phase], stored: Results
) -> None:
    """Write one phase as products: rows are pixels, columns are output channels."""
    f = kernel.f
    weights = f.operands[1]
    if weights.stored is None:
        raise UnsupportedError
    to = strides((*sizes.outputs, sizes.groups * sizes.filters))[:-1]
    axes = _row_axes(phase, image, to)
    taps = [axis.taps for axis in phase]
    spacing = [axis.spacing * s for axis, s in zip(phase, image.strides, strict=True)]
    loops, run = window_runs(taps, spacing, sizes.depth)
    steps = strides((*sizes.window, sizes.depth, sizes.groups * sizes.filters))
    over = [axis.kernel_step * s for axis, s in zip(phase, steps, strict=False)]
    packing = Packing(
        rows=f.module.offsets(
            [*taps, sizes.depth],
            [*over, steps[-2]],
            sum(axis.kernel * s for axis, s in zip(phase, steps, strict=False)),
        ),
        columns=f.module.offsets([sizes.groups * sizes.filters], [1]),
        width=tile(axes[-1].size, sizes.filters)[1] * LANES,
        count=sizes.groups,
        size=(math.prod(taps) * sizes.depth, sizes.filters),
    )
    product = Product(
        x=image.name,
        axes=tuple(axes),
        x_start=first_window(phase, image),
        y_start=sum(axis.start * s for axis, s in zip(phase, to, strict=True)),
        columns=sizes.filters,
        loops=loops,
        run=run,
        count=sizes.groups,
        next_x=sizes.depth,
        next_y=sizes.filters,
        next_channel=sizes.filters,
    )
    matrix = pack(kernel, f.module.tensor(weights.stored), packing, "kernel")
    write_product(kernel, product, matrix, stored)


def pack(kernel: Kernel, tensor: str, packing: Packing, wanted: str) -> str:
    """Return the parameter with the address of a constant in blocks of columns."""
    kernel.f.use("pack")
    listed = f"{packing.rows}, {packing.columns}, {packing.width}, {packing.count}"
    return kernel.placed(f"pack({tensor}, {listed})", packed_size(packing), wanted)


def packed_size(packing: Packing) -> int:
    """Return the number of elements of packed columns."""
    depth, columns = packing.size
    return packing.count * -(-columns // packing.width) * packing.width * depth


def _depthwise(
    kernel: Kernel, image: Image, sizes: Sizes, phase: Sequence[Phase], stored: Results
) -> None:
    """Write loops over pixels and channels; neighbours share what they read."""
    channels = sizes.groups
    taps = list(itertools.product(*(range(axis.taps) for axis in phase)))
    if sizes.filters > 1 or channels < LANES or len(taps) > _WRITTEN_OUT:
        raise UnsupportedError
    weights = kernel.read(kernel.f.operands[1], "kernel")
    to = strides((*sizes.outputs, channels))[:-1]
    kernel.set("a", plus(get(image.name), first_window(phase, image) * BYTES))
    kernel.set("b", i32(0))
    axes = [
        Axis(axis.count, axis.stride * s, t)
        for axis, s, t in zip(phase, image.strides, to, strict=True)
    ]
    *outer, last = axes
    height = best(last.size, [size for size in _TILES if size <= last.size])
    spacing = [axis.spacing * s for axis, s in zip(phase, image.strides, strict=True)]
    steps = strides((*sizes.window, channels))
    with (
        positions(kernel, outer) as (a, b),
        kernel.tiles("p", last.size, height) as p,
    ):
        kernel.set("xp", plus(get(a), scaled(p, last.x * BYTES)))
        kernel.set("yp", plus(get(b), scaled(p, last.y * BYTES)))
        with kernel.tiles("o", channels, LANES) as o:
            c = kernel.set("c", scaled(o, BYTES))
            kernel.set("xo", plus(get("xp"), c))
            kernel.set("yo", plus(get("yp"), c))
            kernel.set("wo", plus(get(weights), c))
            stored.hold(c, 1)
            started: set[int] = set()
            for _, group in itertools.groupby(taps, key=lambda tap: tap[:-1]):
                _row(kernel, phase, list(group), (spacing, steps), height, started)
            for r in range(height):
                place = (get("yo"), r * last.y * BYTES)
                stored.put(get(f"s{r}"), place, 0, LANES)


def _row(  # noqa: PLR0913, PLR0917 - what a row of a window is made of
    kernel: Kernel,
    phase: Sequence[Phase],
    taps: Sequence[tuple[int, ...]],
    steps: tuple[Sequence[int], Sequence[int]],
    height: int,
    started: set[int],
) -> None:
    """Write the products of a row of the window; what is read serves several pixels."""
    spacing, kernel_steps = steps
    stride = phase[-1].stride * spacing[-1] // phase[-1].spacing
    columns: dict[int, list[tuple[int, int]]] = {}
    for tap in taps:
        start = sum(t * s for t, s in zip(tap, spacing, strict=True))
        offset = sum(
            (axis.kernel + t * axis.kernel_step) * s
            for axis, t, s in zip(phase, tap, kernel_steps, strict=False)
        )
        kernel.set(f"w{tap[-1]}", load(get("wo"), offset * BYTES), "v128")
        for r in range(height):
            columns.setdefault(start + r * stride, []).append((r, tap[-1]))
    for column in sorted(columns):
        value = kernel.set("e", load(get("xo"), column * BYTES), "v128")
        for r, t in columns[column]:
            product = apply("f32x4.mul", value, get(f"w{t}"))
            if r in started:
                product = apply("f32x4.add", get(f"s{r}"), product)
            started.add(r)
            kernel.locals.setdefault(f"s{r}", "v128")
            kernel.add(put(f"s{r}", product))
