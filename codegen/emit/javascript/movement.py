"""Primitives that move elements: Gather, Transpose, Slice, Pad, Concat, Resize."""

from __future__ import annotations

import math
from collections.abc import Mapping

from keramos.emit.javascript.expression import number_text
from keramos.emit.javascript.function import (
    Function,
    Shape,
    Walk,
    nest,
    plus,
    strides,
    times,
)
from keramos.plan.javascript import Source
from keramos.primitives import (
    Concat,
    Gather,
    Method,
    Pad,
    Resize,
    Slice,
    Transpose,
    taps,
)

# How far the kernels of interpolation reach.
RADIUS: Mapping[Method, int] = {
    "bilinear": 1,
    "bicubic": 2,
    "lanczos3": 3,
    "lanczos5": 5,
}


def emit_gather(f: Function, gather: Gather, target: Source) -> None:
    """Write a look-up: indices outside are clamped."""
    data, indices = f.operands
    x, at, y = f.read(data), f.read(indices, "indices"), f.write(target)
    before = math.prod(data.shape[: gather.axis])
    size = data.shape[gather.axis]
    behind = math.prod(data.shape[gather.axis + 1 :])
    with f.loop("i", before) as i, f.loop("j", indices.size) as j:
        f.line(f"const k = Math.min(Math.max({at}[{j}] | 0, 0), {size - 1});")
        start = plus(times(i, size * behind), times("k", behind))
        to = plus(times(i, indices.size * behind), times(j, behind))
        with f.loop("c", behind) as c:
            f.line(f"{y}[{plus(to, c)}] = {x}[{plus(start, c)}];")


def _move(f: Function, x: str, y: str, sizes: Shape, walks: tuple[Walk, Walk]) -> None:
    """Write the copy of *sizes* elements, from the first walk to the second."""
    source, target = walks
    with nest(f, sizes, {x: source, y: target}) as index:
        f.line(f"{y}[{index[y]}] = {x}[{index[x]}];")


def emit_transpose(f: Function, transpose: Transpose, target: Source) -> None:
    """Write a transposition."""
    x = f.operands[0]
    steps = strides(x.shape)
    sizes = tuple(x.shape[axis] for axis in transpose.permutation)
    source = Walk(0, tuple(steps[axis] for axis in transpose.permutation))
    walks = (source, Walk(0, strides(sizes)))
    _move(f, f.read(x), f.write(target), sizes, walks)


def emit_slice(f: Function, key: Slice, target: Source) -> None:
    """Write a slice."""
    x = f.operands[0]
    ranges = [
        range(*slice(*s).indices(d)) for s, d in zip(key.slices, x.shape, strict=True)
    ]
    steps = strides(x.shape)
    pairs = list(zip(ranges, steps, strict=True))
    source = Walk(
        sum(r.start * step for r, step in pairs if r),
        tuple(r.step * step for r, step in pairs),
    )
    sizes = tuple(map(len, ranges))
    walks = (source, Walk(0, strides(sizes)))
    _move(f, f.read(x), f.write(target), sizes, walks)


def emit_pad(f: Function, pad: Pad, target: Source) -> None:
    """Write a copy with a constant around it."""
    x = f.operands[0]
    sizes = [low + d + high for d, (low, high) in zip(x.shape, pad.widths, strict=True)]
    steps = strides(sizes)
    start = sum(low * step for (low, _), step in zip(pad.widths, steps, strict=True))
    name, y = f.read(x), f.write(target)
    f.line(f"{y}.fill({number_text(pad.value)});")
    _move(f, name, y, x.shape, (Walk(0, strides(x.shape)), Walk(start, steps)))


def emit_concat(f: Function, concat: Concat, target: Source) -> None:
    """Write one copy per input."""
    y = f.write(target)
    sizes = list(f.operands[0].shape)
    sizes[concat.axis] = sum(x.shape[concat.axis] for x in f.operands)
    steps = strides(sizes)
    start = 0
    for x in f.operands:
        walks = (Walk(0, strides(x.shape)), Walk(start, steps))
        _move(f, f.read(x), y, x.shape, walks)
        start += x.shape[concat.axis] * steps[concat.axis]


def emit_resize(f: Function, resize: Resize, target: Source) -> None:
    """Write the interpolation of one axis after the other."""
    x = f.operands[0]
    name, shape = f.read(x), list(x.shape)
    y = f.write(target)
    for place, axis in enumerate(resize.axes):
        old, wanted = shape[axis], resize.size[place]
        new = old * resize.factor[place] if wanted is None else wanted
        shape[axis] = new
        last = place == len(resize.axes) - 1
        to = y if last else f.scratch(math.prod(shape), "resized")
        sizes = (math.prod(shape[:axis]), old, new, math.prod(shape[axis + 1 :]))
        _interpolate(f, resize, sizes, name, to)
        name = to


def _interpolate(
    f: Function, resize: Resize, sizes: tuple[int, int, int, int], x: str, y: str
) -> None:
    """Write the interpolation along one axis; *sizes* are old, new and around them."""
    before, old, new, behind = sizes
    near = resize.method == "nearest"
    table, count = _nearest(f, old, new) if near else _taps(f, resize, old, new)
    indices = table if near else f"{table}.index"
    # Of loops that aren't needed, no block is left.
    with f.block(""), f.loop("i", before) as i, f.loop("j", new) as j:
        row = times(j, count)
        for tap in range(count):
            start = times(f"{indices}[{plus(row, tap)}]", behind)
            f.line(f"const a{tap} = {plus(times(i, old * behind), start)};")
            if not near:
                f.line(f"const w{tap} = {table}.weight[{plus(row, tap)}];")
        to = plus(times(i, new * behind), times(j, behind))
        with f.loop("c", behind) as c:
            parts = [f"{x}[{plus(f'a{tap}', c)}]" for tap in range(count)]
            if not near:
                parts = [f"{part} * w{tap}" for tap, part in enumerate(parts)]
            f.line(f"{y}[{plus(to, c)}] = {' + '.join(parts)};")


def _nearest(f: Function, old: int, new: int) -> tuple[str, int]:
    f.use("nearest")
    return f.table(f"nearest({old}, {new})", "taps"), 1


def _taps(f: Function, resize: Resize, old: int, new: int) -> tuple[str, int]:
    """Return the parameter of the taps and weights, and how many each output has."""
    _, weight = taps(old, new, method=resize.method, antialias=resize.antialias)
    count = weight.shape[1]
    f.use("taps")
    kernel = f.use(resize.method)
    radius = RADIUS[resize.method]
    antialias = "true" if resize.antialias else "false"
    text = f"taps({kernel}, {radius}, {old}, {new}, {antialias}, {count})"
    return f.table(text, "taps"), count
