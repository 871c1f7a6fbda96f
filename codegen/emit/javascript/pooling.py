"""Window: pooling, with the channels innermost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from keramos.emit.javascript.elementwise import store
from keramos.emit.javascript.function import Function, known, plus, strides, times
from keramos.emit.javascript.window import Image, padded, phases, reach, zeros
from keramos.plan.javascript import Source
from keramos.primitives import Window

# Larger windows are looped over rather than written out.
_WRITTEN_OUT = 16


def emit_window(f: Function, window: Window, target: Source) -> None:
    """Write a pooling."""
    x = f.operands[0]
    raw = known(window.infer(x.spec)[0].shape)
    results = store(f, target, raw, channels=raw[-1])
    if math.prod(raw):
        image = Image(f.read(x), x.shape[:-1], x.shape[-1], (0,) * (len(raw) - 1))
        lows = [
            zeros(*axis)[0]
            for axis in zip(
                image.sizes, window.size, window.strides, window.padding, strict=True
            )
        ]
        around = _around(f, window, image, lows, raw)
        depth = f.depth
        at = to = "0"
        steps = strides(raw)
        for k, count in enumerate(raw[:-1]):
            if count > 1:
                i = f"i{k}"
                f.repeat(f"let {i} = 0; {i} < {count}; {i}++")
                at = plus(at, times(i, window.strides[k] * around.strides[k]))
                to = plus(to, times(i, steps[k]))
        divisor = _divisor(f, window, image, lows, raw)
        f.repeat(f"let c = 0; c < {raw[-1]}; c++")
        f.line(f"const a = {plus(at, 'c')};")
        value = _combined(f, window, around)
        results.put(plus(to, "c"), "c", f"{value} / {divisor}" if divisor else value)
        f.close(depth)
    results.finish()


def _around(
    f: Function, window: Window, image: Image, lows: Sequence[int], raw: Sequence[int]
) -> Image:
    """Return *image* with as much padding as the windows read."""
    axes = [
        phases(count, size, (stride, 1, 1), low)
        for count, size, stride, low in zip(
            raw[:-1], window.size, window.strides, lows, strict=True
        )
    ]
    reached = [reach(axis, d) for axis, d in zip(axes, image.sizes, strict=True)]
    fill = -math.inf if window.kind == "max" else 0.0
    return padded(f, image, reached, value=fill)


def _divisor(
    f: Function, window: Window, image: Image, lows: Sequence[int], raw: Sequence[int]
) -> str:
    """Return the text of the number of elements that aren't padding."""
    if window.kind != "mean":
        return ""
    whole = 1
    texts = []
    for k, (size, stride, low) in enumerate(
        zip(window.size, window.strides, lows, strict=True)
    ):
        if low == 0 and (raw[k] - 1) * stride + size <= image.sizes[k]:
            whole *= size
            continue
        first = plus(times(f"i{k}", stride) if raw[k] > 1 else "0", -low)
        end = f"Math.min({plus(first, size)}, {image.sizes[k]})"
        f.line(f"const n{k} = {end} - Math.max({first}, 0);")
        texts.append(f"n{k}")
    if not texts:
        return str(whole)
    f.line(
        f"const count = {' * '.join([*([str(whole)] if whole > 1 else []), *texts])};"
    )
    return "count"


def _combined(f: Function, window: Window, image: Image) -> str:
    """Write what combines a window and return the text of the result."""
    first = "-Infinity" if window.kind == "max" else "0"
    if math.prod(window.size) <= _WRITTEN_OUT:
        offsets = [
            sum(u * step for u, step in zip(tap, image.strides, strict=True))
            for tap in itertools.product(*map(range, window.size))
        ]
        f.line(f"let s = {image.name}[{plus('a', offsets[0])}];")
        for offset in offsets[1:]:
            _combine(f, window, f"{image.name}[{plus('a', offset)}]")
        return "s"
    f.line(f"let s = {first};")
    depth = f.depth
    index = "a"
    for k, size in enumerate(window.size):
        f.repeat(f"let u{k} = 0; u{k} < {size}; u{k}++")
        index = plus(index, times(f"u{k}", image.strides[k]))
    _combine(f, window, f"{image.name}[{index}]")
    f.close(depth)
    return "s"


def _combine(f: Function, window: Window, value: str) -> None:
    f.line(f"s = Math.max(s, {value});" if window.kind == "max" else f"s += {value};")
