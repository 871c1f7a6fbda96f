"""What kinds of devices can do: the limits for which plans are made."""

from __future__ import annotations

from typing import Literal

from keramos.plan.layout import Limits

Profile = Literal["gpu", "software"]
PROFILES: tuple[Profile, ...] = ("gpu", "software")

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

    Software rasterisers ("software") compile programs with uniform blocks slowly and
    run them no faster, so that plans for them have none.
    """
    base = LARGE if texture_size >= LARGE_TEXTURES else Limits()
    return Limits(
        texture_size=texture_size,
        layers=base.layers,
        draw_buffers=base.draw_buffers,
        uniform_block=base.uniform_block,
        uniform_blocks=0 if profile == "software" else base.uniform_blocks,
    )
