"""What convolutions and pooling share: padded copies, and where windows lie."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from keramos.emit.javascript.expression import number_text
from keramos.emit.javascript.function import Function, Shape, Walk, nest, strides
from keramos.primitives import Padding, same_padding


@dataclass(frozen=True, slots=True)
class Phase:
    """The outputs ``start + q * step`` of an axis, *count* of them.

    Output q reads x at ``q * stride + first + t * spacing`` for tap t of *taps*, which
    is element ``kernel + t * kernel_step`` of the window.
    """

    start: int
    step: int
    count: int
    stride: int
    first: int
    spacing: int
    taps: int
    kernel: int
    kernel_step: int

    @property
    def last(self) -> int:
        """Return the last position that is read."""
        return (
            (self.count - 1) * self.stride + self.first + (self.taps - 1) * self.spacing
        )


def phases(
    outputs: int, window: int, steps: tuple[int, int, int], low: int
) -> list[Phase]:
    """Return the phases of an axis for *steps*: stride, dilation, input dilation.

    Between the elements of a dilated x lie zeros; the outputs of one phase meet them
    with the same taps, which are left out. *low* zeros stand in front.
    """
    stride, dilation, spread = steps
    period = spread // math.gcd(stride, spread)
    result = []
    for start in range(min(period, outputs)):
        positions = [start * stride + u * dilation - low for u in range(window)]
        taps = [u for u, at in enumerate(positions) if at % spread == 0]
        kernel_step = taps[1] - taps[0] if len(taps) > 1 else 1
        first = taps[0] if taps else 0
        result.append(
            Phase(
                start=start,
                step=period,
                count=-(-(outputs - start) // period),
                stride=period * stride // spread,
                first=positions[first] // spread if taps else 0,
                spacing=kernel_step * dilation // spread if len(taps) > 1 else 1,
                taps=len(taps),
                kernel=first,
                kernel_step=kernel_step,
            )
        )
    return result


def zeros(size: int, window: int, stride: int, padding: Padding) -> tuple[int, int]:
    """Return the zeros in front of and behind an axis."""
    return same_padding(size, window, stride) if padding == "same" else padding


@dataclass(frozen=True, slots=True)
class Image:
    """An array ``(*sizes, channels)`` of which *before* elements are padding."""

    name: str
    sizes: Shape
    channels: int
    before: Shape

    @property
    def strides(self) -> tuple[int, ...]:
        """Return the strides of the spatial axes."""
        return strides((*self.sizes, self.channels))[:-1]

    @property
    def size(self) -> int:
        """Return the number of elements."""
        return math.prod(self.sizes) * self.channels


def padded(
    f: Function,
    image: Image,
    widths: Sequence[tuple[int, int]],
    *,
    value: float = 0.0,
    spread: Sequence[int] | None = None,
) -> Image:
    """Return *image* with *value* around it, copied where that is needed.

    *spread* puts its elements so far apart, with *value* between them.
    """
    spread = spread or [1] * len(image.sizes)
    if all(pair == (0, 0) for pair in widths) and all(d == 1 for d in spread):
        return image
    sizes = tuple(
        low + (size - 1) * step + 1 + high
        for size, (low, high), step in zip(image.sizes, widths, spread, strict=True)
    )
    name = f.scratch(math.prod(sizes) * image.channels, "padded")
    result = Image(name, sizes, image.channels, tuple(low for low, _ in widths))
    f.line(f"{name}.fill({number_text(value)});")
    steps = result.strides
    start = sum(low * s for (low, _), s in zip(widths, steps, strict=True))
    walks = {
        name: Walk(start, (*(a * b for a, b in zip(spread, steps, strict=True)), 1)),
        image.name: Walk(0, (*image.strides, 1)),
    }
    with nest(f, (*image.sizes, image.channels), walks) as index:
        f.line(f"{name}[{index[name]}] = {image.name}[{index[image.name]}];")
    return result


def combinations(axes: Sequence[Sequence[Phase]]) -> list[tuple[Phase, ...]]:
    """Return one phase per axis, in all combinations."""
    return list(itertools.product(*axes))


def reach(axis: Sequence[Phase], size: int) -> tuple[int, int]:
    """Return how far the phases of an axis read in front of and behind x."""
    reading = [phase for phase in axis if phase.taps and phase.count]
    low = max((-phase.first for phase in reading), default=0)
    high = max((phase.last - (size - 1) for phase in reading), default=0)
    return max(low, 0), max(high, 0)
