"""What kinds of devices can do: the limits for which plans are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keramos.plan.layout import Limits, Profile

PROFILES: tuple[Profile, ...] = ("gpu", "software")


@dataclass(frozen=True, slots=True)
class Device:
    """What work costs, measured by ``tests/bench/candidates.py``.

    *draw* is in microseconds; *fetch*, *uniform*, *product* and *store* are the
    picoseconds that a texel fetch, a vector read from a uniform block, a multiply-add
    of vectors and a texel stored take where there are many fragments, *fragment* those
    of a fragment besides. On a GPU what there is most of hides the rest, a software
    rasteriser does one after the other (*serial*). Fewer than *busy* fragments take as
    long as so many. Fetches cost *scattered* times as much where neighbours share no
    cache line, and everything *crowded* times as much in fragments of more than
    *blocks* channel blocks, or matrix rows of more than *pixels* pixels; pooled
    convolutions take *narrow* times as long in fragments of few results.
    No draw may take longer than *longest* microseconds: pages stutter while it lasts,
    and drivers stop what seems to hang.
    """

    draw: float
    fetch: float
    uniform: float
    product: float
    store: float
    busy: int
    scattered: float
    blocks: int
    pixels: int
    crowded: float
    narrow: float = 1.0
    fragment: float = 0.0
    serial: bool = False
    longest: float = 20_000.0


DEVICES: Mapping[Profile, Device] = {
    # An NVIDIA H100, of which few multiprocessors run fragment programs.
    "gpu": Device(
        draw=10.0,
        fetch=32.0,
        uniform=11.5,
        product=8.9,
        store=307.0,
        busy=1300,
        scattered=2.0,
        blocks=2,
        pixels=4,
        crowded=1.8,
        narrow=1.3,
    ),
    # Mesa llvmpipe on two cores: many pixels for each fragment, one wide draw. A draw
    # counts twice the 30 us that it takes: pages hand it to another process, and fewer
    # draws are fewer programs, of which each takes 65 ms or more to compile.
    "software": Device(
        draw=60.0,
        fetch=1300.0,
        uniform=1000.0,
        product=45.0,
        store=3000.0,
        busy=32,
        scattered=1.0,
        blocks=4,
        pixels=8,
        crowded=1.2,
        fragment=2000.0,
        serial=True,
    ),
}

# Devices with textures of 16384 have at least this; the others what WebGL 2 promises.
LARGE_TEXTURES = 16384
LARGE = Limits(
    texture_size=LARGE_TEXTURES,
    layers=2048,
    draw_buffers=8,
    uniform_block=65536,
    uniform_blocks=8,
)


def limits(texture_size: int, profile: Profile = "gpu") -> Limits:
    """Return the limits of devices whose MAX_TEXTURE_SIZE is *texture_size*.

    Software rasterisers ("software") have eight draw buffers. They compile programs
    with uniform blocks slowly and run them no faster, so that plans for them have none.
    """
    base = LARGE if texture_size >= LARGE_TEXTURES else Limits()
    software = profile == "software"
    return Limits(
        texture_size=texture_size,
        layers=base.layers,
        draw_buffers=LARGE.draw_buffers if software else base.draw_buffers,
        uniform_block=base.uniform_block,
        uniform_blocks=0 if software else base.uniform_blocks,
        profile=profile,
    )
