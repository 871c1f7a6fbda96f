"""Window: pooling in vectors of channels; and images with padding around them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from keramos.emit.javascript.function import Walk, collapse, known, strides
from keramos.emit.javascript.window import Image, phases, reach, zeros
from keramos.emit.wasm.assembler import apply, get, i32, load, plus
from keramos.emit.wasm.elementwise import results
from keramos.emit.wasm.kernel import BYTES, LANES, Kernel, UnsupportedError, scaled
from keramos.emit.wasm.product import Axis, positions
from keramos.plan.javascript import Source
from keramos.primitives import Window

# Larger windows are left to JavaScript.
_WRITTEN_OUT = 25


def padded(
    kernel: Kernel,
    image: Image,
    widths: Sequence[tuple[int, int]],
    *,
    value: float = 0.0,
) -> Image:
    """Return *image* with *value* around it, copied where that is needed."""
    if all(pair == (0, 0) for pair in widths):
        return image
    sizes = tuple(
        low + size + high for size, (low, high) in zip(image.sizes, widths, strict=True)
    )
    count = math.prod(sizes) * image.channels
    name = kernel.scratch(-(-count // LANES) * LANES, "padded")
    result = Image(name, sizes, image.channels, tuple(low for low, _ in widths))
    kernel.fill(name, count, value)
    steps = result.strides
    start = sum(low * s for (low, _), s in zip(widths, steps, strict=True))
    walks = (Walk(0, (*image.strides, 1)), Walk(0, (*steps, 1)))
    lengths, (x, y) = collapse((*image.sizes, image.channels), walks)
    axes = list(map(Axis, lengths, x.strides, y.strides))
    run = axes.pop().size if axes and axes[-1].x == axes[-1].y == 1 else 1
    line = axes.pop() if axes else Axis(1, 0, 0)
    kernel.set("a", get(image.name))
    kernel.set("b", plus(get(name), start * BYTES))
    with positions(kernel, axes) as (a, b):
        kernel.set("from", get(a))
        kernel.set("to", get(b))
        kernel.copy(line.size, run, ("from", line.x * BYTES), ("to", line.y * BYTES))
    return result


def write_window(kernel: Kernel, window: Window, target: Source) -> None:
    """Write a pooling; raise UnsupportedError."""
    x = kernel.f.operands[0]
    raw = known(window.infer(x.spec)[0].shape)
    channels = raw[-1]
    if channels < LANES or math.prod(window.size) > _WRITTEN_OUT or not math.prod(raw):
        raise UnsupportedError
    image = Image(kernel.read(x), x.shape[:-1], channels, (0,) * (len(raw) - 1))
    listed = list(
        zip(image.sizes, window.size, window.strides, window.padding, strict=True)
    )
    lows = [zeros(*axis)[0] for axis in listed]
    inside = all(
        low == 0 and (count - 1) * stride + size <= d
        for low, count, (d, size, stride, _) in zip(lows, raw, listed, strict=False)
    )
    if window.kind == "mean" and not inside:
        raise UnsupportedError
    axes = [
        phases(count, size, (stride, 1, 1), low)
        for count, size, stride, low in zip(
            raw[:-1], window.size, window.strides, lows, strict=True
        )
    ]
    reached = [reach(axis, d) for axis, d in zip(axes, image.sizes, strict=True)]
    fill = -math.inf if window.kind == "max" else 0.0
    image = padded(kernel, image, reached, value=fill)
    stored = results(kernel, target, raw, channels=channels)
    steps = [
        stride * s for stride, s in zip(window.strides, image.strides, strict=True)
    ]
    kernel.set("a", get(image.name))
    kernel.set("b", i32(0))
    op = "f32x4.max" if window.kind == "max" else "f32x4.add"
    axes_of_y = list(map(Axis, raw[:-1], steps, strides(raw)[:-1]))
    with (
        positions(kernel, axes_of_y) as (a, b),
        kernel.tiles("o", channels, LANES) as o,
    ):
        c = kernel.set("c", scaled(o, BYTES))
        address = kernel.set("xo", plus(get(a), c))
        stored.hold(c, 1)
        first, *others = [
            sum(u * step for u, step in zip(tap, image.strides, strict=True))
            for tap in itertools.product(*map(range, window.size))
        ]
        value = kernel.set("s", load(address, first * BYTES), "v128")
        for offset in others:
            more = apply(op, value, load(address, offset * BYTES))
            value = kernel.set("s", more, "v128")
        if window.kind == "mean":
            count = kernel.constant(math.prod(window.size))
            value = apply("f32x4.div", value, count)
        stored.put(value, (kernel.set("yo", plus(get(b), c)), 0), 0, LANES)
    stored.rest()
