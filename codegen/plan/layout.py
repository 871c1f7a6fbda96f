"""Where the elements of a tensor lie in a texture array: digit maps.

A tensor is seen as ``(n, d, h, w, c)``: the batch, up to three spatial axes (further
leading axes are merged into d) and the channels. Four channels make a texel, so its
index is ``(n, d, h, w, b)`` with ``b = c // 4``, the channel block. Each index is
written in mixed radix, and each digit goes to the texel's x, its y or its array layer,
times a weight. From this map come the accessors of every shader, the packing of inputs
and weights, and in :func:`positions` the proof that no two texels share a place.

Lanes of the last block beyond the channels hold zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keramos.primitives import Shape

Place = Literal["x", "y", "layer"]
PLACES: tuple[Place, ...] = ("x", "y", "layer")
Extents = tuple[int, int, int, int, int]

Profile = Literal["gpu", "software"]

LANES = 4
CANONICAL_RANK = 4
# Software rasterisers compute so many fragments of a row together, and deal out squares
# of so many fragments to threads. Narrow textures take longer, by NARROW divided by the
# width, and so do low ones.
FRAGMENTS = 4
SQUARE = 64
NARROW = 1.0
LOW = 0.4
# How many rows are moved into one, at most.
MOVED = 16
N, D, H, W, B = range(5)
AXIS_NAMES = ("n", "d", "h", "w", "b")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a device allows; the defaults are what every WebGL 2 device promises.

    *layers* is MAX_ARRAY_TEXTURE_LAYERS, *uniform_block* the bytes of one uniform
    block, *uniform_blocks* how many a program may use: more compile slowly. (The
    promise for *texture_size* is 2048; no device with less than 4096 is known.)
    *profile* is the kind of device, by which kernels are chosen.
    """

    texture_size: int = 4096
    layers: int = 256
    draw_buffers: int = 4
    uniform_block: int = 16384
    uniform_blocks: int = 4
    profile: Profile = "gpu"

    def room(self, place: Place) -> int:
        """Return how many positions *place* has."""
        return self.layers if place == "layer" else self.texture_size


@dataclass(frozen=True, slots=True)
class Digit:
    """``(index[axis] // divisor) % radix`` adds *weight* times itself to *place*."""

    axis: int
    divisor: int
    radix: int
    place: Place
    weight: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The digit map of one tensor, and the texture array that it needs.

    *extents* are ``(n, d, h, w, blocks)``. Within a place the digits stand from the
    outermost to the innermost. Where *row* isn't 0, rows of so many pixels follow each
    other along w without a gap: the digits are those of ``w + row * h``, with h 0.
    """

    extents: Extents
    channels: int
    digits: tuple[Digit, ...]
    row: int = 0

    def size(self, place: Place) -> int:
        """Return the number of positions used in *place*."""
        return math.prod(digit.radix for digit in self.digits if digit.place == place)

    @property
    def view(self) -> tuple[int, int, int, int, int]:
        """Return the shape ``(n, d, h, w, c)`` of the array that lies there."""
        n, d, h, w, _ = self.extents
        return (n, d, h, w, self.channels)

    @property
    def width(self) -> int:
        """Return the texels in a row."""
        return self.size("x")

    @property
    def height(self) -> int:
        """Return the rows of a layer."""
        return self.size("y")

    @property
    def layers(self) -> int:
        """Return the layers."""
        return self.size("layer")

    @property
    def texels(self) -> int:
        """Return the texels of the whole array."""
        return self.width * self.height * self.layers

    @property
    def group(self) -> int:
        """Return how many layers in a row hold consecutive channel blocks."""
        layers = [digit for digit in self.digits if digit.place == "layer"]
        if not layers or layers[-1].axis != B or layers[-1].divisor != 1:
            return 1
        return layers[-1].radix

    @property
    def pixels(self) -> int:
        """Return how many neighbours along w lie in layers around a group's blocks."""
        layers = [digit for digit in self.digits if digit.place == "layer"]
        outer = layers[:-1] if self.group > 1 else layers
        if not outer or outer[-1].axis != W or outer[-1].divisor != 1:
            return 1
        return outer[-1].radix

    def axis_digits(self, axis: int) -> list[Digit]:
        """Return the digits of *axis*, the most significant first."""
        mine = [digit for digit in self.digits if digit.axis == axis]
        return sorted(mine, key=lambda digit: -digit.divisor)


class DoesNotFitError(ValueError):
    """No arrangement of the tensor stays within the limits."""


def canonical(shape: Shape) -> tuple[int, int, int, int]:
    """Return *shape* as ``(d, h, w, c)``; raise ValueError for free dimensions."""
    sizes = [d for d in shape if d is not None]
    if len(sizes) != len(shape):
        raise ValueError(f"shape {shape} has a free dimension")
    sizes = [1] * (4 - len(sizes)) + sizes
    return (math.prod(sizes[:-3]), sizes[-3], sizes[-2], sizes[-1])


def blocks(channels: int) -> int:
    """Return the texels that hold *channels* values."""
    return max(-(-channels // LANES), 1)


@dataclass(slots=True)
class _Part:
    """A digit whose weight isn't known yet."""

    axis: int
    divisor: int
    radix: int


def arrange(
    extents: Extents, channels: int, *, places: dict[Place, list[_Part]], limits: Limits
) -> Layout:
    """Return the layout with what exceeds the limits folded into other places.

    Raises DoesNotFitError where there is no room left.
    """
    _fold(places, limits)
    digits = []
    for place in PLACES:
        weight = math.prod(part.radix for part in places[place])
        for part in places[place]:
            weight //= part.radix
            digits.append(Digit(part.axis, part.divisor, part.radix, place, weight))
    return Layout(extents, channels, tuple(digits))


def _size(parts: list[_Part]) -> int:
    return math.prod(part.radix for part in parts)


# Where the outermost part of an overfull place goes, in order of preference.
_REFUGE: dict[Place, tuple[Place, ...]] = {
    "x": ("y", "layer"),
    "y": ("layer", "x"),
    "layer": ("y", "x"),
}


def _fold(places: dict[Place, list[_Part]], limits: Limits) -> None:
    for place in PLACES:
        while _size(places[place]) > limits.room(place):
            outer = places[place].pop(0)
            allowed = limits.room(place) // _size(places[place])
            if allowed > 1:
                pieces = _pieces(outer.radix, allowed)
                low = -(-outer.radix // pieces)
                places[place].insert(0, _Part(outer.axis, outer.divisor, low))
                outer = _Part(outer.axis, outer.divisor * low, pieces)
            _house(outer, places, _REFUGE[place], limits)


def _pieces(radix: int, allowed: int) -> int:
    """Return into how many pieces of at most *allowed* a digit is split.

    A power of two where it divides the digit: sums are cut at such places.
    """
    fewest = -(-radix // allowed)
    even = 1 << (fewest - 1).bit_length()
    return fewest if radix % even else even


def _house(
    part: _Part,
    places: dict[Place, list[_Part]],
    refuges: tuple[Place, ...],
    limits: Limits,
) -> None:
    for place in refuges:
        room = limits.room(place) // _size(places[place])
        if room >= part.radix:
            places[place].insert(0, part)
            return
    for place in refuges:
        room = limits.room(place) // _size(places[place])
        if room > 1:
            places[place].insert(0, _Part(part.axis, part.divisor, room))
            rest = _Part(part.axis, part.divisor * room, -(-part.radix // room))
            _house(rest, places, tuple(p for p in refuges if p != place), limits)
            return
    raise DoesNotFitError


def _whole(extents: Extents, *axes: int) -> list[_Part]:
    return [_Part(axis, 1, extents[axis]) for axis in axes if extents[axis] > 1]


def image(shape: Shape, *, batch: int, limits: Limits) -> Layout:
    """Return x = w, y = (n, d, h), layer = b: one layer per channel block."""
    d, h, w, c = canonical(shape)
    extents = (batch, d, h, w, blocks(c))
    places: dict[Place, list[_Part]] = {
        "x": _whole(extents, W),
        "y": _whole(extents, N, D, H),
        "layer": _whole(extents, B),
    }
    return arrange(extents, c, places=places, limits=limits)


def rows(  # noqa: PLR0913 - options, each by its name
    shape: Shape,
    *,
    batch: int,
    limits: Limits,
    pixels: int = 1,
    group: int = 1,
    drawn: int | None = None,
    merged: bool = False,
) -> Layout:
    """Return x = b_high, y = (n, d, h, w_high), layer = (w_low, b_low).

    One draw writes *pixels* neighbours along w of *group* channel blocks. *drawn* is
    how many channels a stage writes, if not all. Of *merged* rows the last pixels of
    one and the first of the next are neighbours.
    """
    d, h, w, c = canonical(shape)
    row = w if merged else 0
    if merged:
        h, w = 1, h * w
    extents = (batch, d, h, w, blocks(c))
    high = -(-blocks(c) // group)
    wide = -(-w // pixels)
    places: dict[Place, list[_Part]] = {
        "x": [_Part(B, group, high)] if high > 1 else [],
        "y": [
            *_whole(extents, N, D, H),
            *([_Part(W, pixels, wide)] if wide > 1 else []),
        ],
        "layer": [
            *([_Part(W, 1, pixels)] if pixels > 1 else []),
            *([_Part(B, 1, group)] if group > 1 else []),
        ],
    }
    if limits.profile == "software":
        _fill_rows(places, -(-blocks(drawn or c) // group))
    layout = arrange(extents, c, places=places, limits=limits)
    return replace(layout, row=row)


def _fill_rows(places: dict[Place, list[_Part]], width: int) -> None:
    """Move pixels into rows that are too short, or where threads would be idle.

    A stage writes *width* texels of each row. Blocks stay outermost, so that those of
    a concatenation's pieces lie together. Those of a single pixel are written in two
    rows.
    """
    if not places["y"]:
        _fold_row(places["x"], places["y"])
        return
    height = _size(places["y"])
    moves = [
        (index, count)
        for index, part in reversed(list(enumerate(places["y"])))
        for count in range(1, min(part.radix, MOVED) + 1)
    ]

    def time(move: tuple[int, int]) -> tuple[int, bool, int]:
        index, count = move
        radix = places["y"][index].radix
        rows = height // radix * -(-radix // count)
        return rasterised(width * count, rows), radix % count > 0, count

    index, count = min(moves, key=time)
    if count > 1:
        part = places["y"][index]
        rest = -(-part.radix // count)
        high = _Part(part.axis, part.divisor * count, rest)
        places["y"][index : index + 1] = [high] if rest > 1 else []
        places["x"].append(_Part(part.axis, part.divisor, count))


@lru_cache(4096)
def rasterised(width: int, height: int) -> int:
    """Return how many fragments take as long on a software rasteriser of two threads.

    FRAGMENTS of a row are computed together, and squares of SQUARE by SQUARE by one
    thread each.
    """
    across, down = (
        [min(SQUARE, size - start) for start in range(0, size, SQUARE)]
        for size in (-(-width // FRAGMENTS) * FRAGMENTS, height)
    )
    threads = [0, 0]
    for load in sorted((a * b for a in across for b in down), reverse=True):
        threads[threads[1] < threads[0]] += load
    return round(2 * max(threads) * (1 + NARROW / width) * (1 + LOW / height))


def _fold_row(x: list[_Part], y: list[_Part]) -> None:
    if x and _size(x) % (2 * FRAGMENTS) == 0:
        whole = x[0]
        half = _Part(whole.axis, whole.divisor, whole.radix // 2)
        x[:] = [half]
        y[:] = [_Part(whole.axis, whole.divisor * half.radix, 2)]


def table(shape: Shape, *, limits: Limits) -> Layout:
    """Return x = b, y = w, layer = (d, h): rows of constants, read by row."""
    d, h, w, c = canonical(shape)
    extents = (1, d, h, w, blocks(c))
    places: dict[Place, list[_Part]] = {
        "x": _whole(extents, B),
        "y": _whole(extents, W),
        "layer": _whole(extents, D, H),
    }
    return arrange(extents, c, places=places, limits=limits)


@dataclass(frozen=True, slots=True)
class SequenceLayout:
    """A sequence whose steps are written one by one.

    *whole* is the layout of ``(t, *step shape)``, *step* that of one step, whose texels
    start at ``origins[t]``, as ``(x, y, layer)``.
    """

    whole: Layout
    step: Layout
    origins: tuple[tuple[int, int, int], ...]


def sequence(shape: Shape, steps: int, *, batch: int, limits: Limits) -> SequenceLayout:
    """Return the layout of *steps* values of *shape*, the step outermost.

    Raises DoesNotFitError where a step can't lie in one piece.
    """
    d, h, w, c = canonical(shape)
    axis = max(CANONICAL_RANK - len(shape), 1)
    inner = d if axis == D else 1
    extents = [batch, d, h, w, blocks(c)]
    extents[axis] = steps * inner
    low = min(limits.draw_buffers, blocks(c))
    high = -(-blocks(c) // low)
    rest = [a for a in (D, H, W) if a != axis]
    within = [_Part(D, 1, d)] if axis == D and d > 1 else []
    places: dict[Place, list[_Part]] = {
        "x": [_Part(B, low, high)] if high > 1 else [],
        "y": [
            _Part(axis, inner, steps),
            *([_Part(N, 1, batch)] if batch > 1 else []),
            *within,
            *[_Part(a, 1, extents[a]) for a in rest if extents[a] > 1],
        ],
        "layer": [_Part(B, 1, low)] if low > 1 else [],
    }
    whole = arrange(_extents(extents), c, places=places, limits=limits)
    moments = [
        digit for digit in whole.digits if digit.axis == axis and digit.divisor >= inner
    ]
    extents[axis] = inner
    kept = tuple(digit for digit in whole.digits if digit not in moments)
    step = Layout(_extents(extents), c, kept)
    for place in PLACES:
        weight = step.size(place)
        for digit in (d for d in kept if d.place == place):
            weight //= digit.radix
            if digit.weight != weight:
                raise DoesNotFitError
    origins = tuple(
        _origin([(m, t * inner // m.divisor % m.radix) for m in moments])
        for t in range(steps)
    )
    return SequenceLayout(whole, step, origins)


def layered_sequence(
    shape: Shape, steps: int, *, batch: int, limits: Limits
) -> SequenceLayout | None:
    """Return the layout of *steps* values of *shape*, each in layers of its own.

    A step lies in them as :func:`rows` has it. None where there are too few layers.
    """
    try:
        step = rows(shape, batch=batch, limits=limits)
    except DoesNotFitError:
        return None
    axis = max(CANONICAL_RANK - len(shape), 1)
    inner = step.extents[axis]
    held = math.prod(digit.radix for digit in step.digits if digit.axis == axis)
    if steps * step.layers > limits.layers or held != inner:
        return None
    extents = list(step.extents)
    extents[axis] = steps * inner
    moment = Digit(axis, inner, steps, "layer", step.layers)
    outer = [digit for digit in step.digits if digit.place != "layer"]
    layers = [digit for digit in step.digits if digit.place == "layer"]
    whole = Layout(_extents(extents), step.channels, (*outer, moment, *layers))
    origins = tuple((0, 0, t * step.layers) for t in range(steps))
    return SequenceLayout(whole, step, origins)


def _extents(sizes: list[int]) -> Extents:
    n, d, h, w, b = sizes
    return (n, d, h, w, b)


def _origin(digits: list[tuple[Digit, int]]) -> tuple[int, int, int]:
    x, y, layer = (
        sum(value * digit.weight for digit, value in digits if digit.place == place)
        for place in PLACES
    )
    return (x, y, layer)


def part(
    layout: Layout, *, first: int, channels: int
) -> tuple[Layout, tuple[int, int, int]] | None:
    """Return the layout of *channels* from block *first* on, and where it begins.

    The beginning is ``(x, y, layer)``. None where the blocks don't lie in one piece.
    """
    count = blocks(channels)
    mine = layout.axis_digits(B)
    n, d, h, w, _ = layout.extents
    extents = (n, d, h, w, count)
    if not mine:
        return replace(layout, extents=extents, channels=channels), (0, 0, 0)
    top = mine[0]
    if first % top.divisor:
        return None
    cut = replace(top, radix=-(-count // top.divisor))
    digits = tuple(cut if digit is top else digit for digit in layout.digits)
    whole = Layout(extents, channels, digits, layout.row)
    for place in PLACES:
        weight = whole.size(place)
        for digit in (d for d in digits if d.place == place):
            weight //= digit.radix
            if digit.weight != weight:
                return None
    return whole, _origin([(top, first // top.divisor)])


def reinterpret(layout: Layout, shape: Shape) -> Layout | None:
    """Return the layout of the same texels under another *shape*.

    None where a row-major reshape doesn't map digits to digits.
    """
    d, h, w, c = canonical(shape)
    row = layout.row if layout.row == w and layout.extents[W] == h * w else 0
    if row:
        h, w = 1, h * w
    new = (layout.extents[N], d, h, w, blocks(c))
    if c != layout.channels and (c % LANES or layout.channels % LANES):
        return None
    digits = []
    for digit in layout.digits:
        if digit.axis == N:
            digits.append(digit)
            continue
        split = _split(digit, layout.extents, new)
        if split is None:
            return None
        digits.extend(split)
    return Layout(new, c, tuple(digits), row)


def transposed(layout: Layout, permutation: tuple[int, ...]) -> Layout | None:
    """Return the layout of the same texels with their axes in another order.

    *permutation* is that of a tensor of at most four axes, the channels last. None
    where two of the axes are one.
    """
    if layout.row:
        return None
    first = B + 1 - len(permutation)
    source = [*range(first), *(first + axis for axis in permutation)]
    n, d, h, w, b = (layout.extents[axis] for axis in source)
    digits = (replace(digit, axis=source.index(digit.axis)) for digit in layout.digits)
    return Layout((n, d, h, w, b), layout.channels, tuple(digits))


def regrouped(
    layout: Layout, shape: tuple[int, int, int, int], pieces: int
) -> Layout | None:
    """Return the layout of a kernel's texels with its rows in groups side by side.

    *shape* is ``(1, taps, depth, filters)``; of the result ``(1, taps, depth / pieces,
    pieces * filters)``. None where the groups' rows don't begin at digits.
    """
    _, taps, depth, filters = shape
    apart = reinterpret(layout, (taps, pieces, depth // pieces, filters))
    if apart is None:
        return None
    count = blocks(filters)
    digits = []
    for digit in apart.digits:
        match digit.axis:
            case int(axis) if axis == D:
                digits.append(replace(digit, axis=H))
            case int(axis) if axis == H:
                divisor = digit.divisor * count
                digits.append(replace(digit, axis=B, divisor=divisor))
            case _:
                digits.append(digit)
    extents = (1, 1, taps, depth // pieces, count * pieces)
    return Layout(extents, filters * pieces, tuple(digits))


def _strides(extents: Extents) -> dict[int, int]:
    return {axis: math.prod(extents[axis + 1 :]) for axis in (D, H, W, B)}


def _split(digit: Digit, old: Extents, new: Extents) -> list[Digit] | None:
    """Return *digit* as digits of the new axes, the outermost first."""
    strides = _strides(new)
    low = digit.divisor * _strides(old)[digit.axis]
    high = low * digit.radix
    stride, extent = _strides(old)[digit.axis], old[digit.axis]
    if digit.divisor * digit.radix > extent:
        # It overhangs its axis, and leaves holes that only the same axis can describe.
        same = (a for a in strides if (strides[a], new[a]) == (stride, extent))
        axis = next(same, None)
        return None if axis is None else [replace(digit, axis=axis)]
    inner = sorted(s for s in set(strides.values()) if low < s < high)
    bounds = [low, *inner, high]
    if any(b % a for a, b in pairwise(bounds)):
        return None
    result: list[Digit] = []
    for start, stop in pairwise(bounds):
        axis = next(
            a for a in (B, W, H, D) if strides[a] <= start < strides[a] * new[a]
        )
        if start % strides[axis]:
            return None
        weight = digit.weight * (start // low)
        part = Digit(axis, start // strides[axis], stop // start, digit.place, weight)
        result.insert(0, part)
    return result


def positions(layout: Layout) -> NDArray[np.int64]:
    """Return the flat position ``(layer * height + y) * width + x`` of every texel.

    The result has the shape of the extents.
    """
    grid = np.indices(layout.extents)
    total = np.zeros(layout.extents, np.int64)
    scale = {"x": 1, "y": layout.width, "layer": layout.width * layout.height}
    for digit in layout.digits:
        value = grid[digit.axis] // digit.divisor % digit.radix
        total += value * (digit.weight * scale[digit.place])
    return total


def is_bijective(layout: Layout) -> bool:
    """Return whether every texel has a place of its own inside the array."""
    flat = positions(layout).ravel()
    inside = flat.size == 0 or (flat.min() >= 0 and flat.max() < layout.texels)
    return bool(inside) and np.unique(flat).size == flat.size


@dataclass(frozen=True, slots=True)
class Packing:
    """How an array ``(n, d, h, w, c)`` becomes ``(layers, height, width, 4)``.

    Pad each axis with zeros to *padded*, reshape to *split*, transpose by *order*,
    reshape. Backwards it reads a tensor from its texture.
    """

    padded: tuple[int, ...]
    split: tuple[int, ...]
    order: tuple[int, ...]
    size: tuple[int, int, int, int]


def packing(layout: Layout) -> Packing:
    """Return the recipe that fills the texture array of *layout*."""
    padded: list[int] = []
    split: list[int] = []
    where: dict[Digit, int] = {}
    for axis in range(5):
        digits = layout.axis_digits(axis)
        total = math.prod(digit.radix for digit in digits)
        padded.append(total * (LANES if axis == B else 1))
        for digit in digits:
            where[digit] = len(split)
            split.append(digit.radix)
    split.append(LANES)
    order = [
        where[digit]
        for place in ("layer", "y", "x")
        for digit in sorted(
            (d for d in layout.digits if d.place == place), key=lambda d: -d.weight
        )
    ]
    size = (layout.layers, layout.height, layout.width, LANES)
    return Packing(tuple(padded), tuple(split), (*order, len(split) - 1), size)
