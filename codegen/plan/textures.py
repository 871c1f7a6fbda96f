"""Which textures a plan needs, and which tensors share one: greedy by size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keramos.graph import Storage
from keramos.plan.layout import Layout
from keramos.plan.stages import Loop, Step, Tensor, Texture, flattened

# A pooled texture may be this much larger than a tenant needs.
WASTE = 1.25


def texture_for(layout: Layout, storage: Storage) -> Texture:
    """Return the texture that holds a single tensor."""
    return Texture(layout.width, layout.height, layout.layers, storage)


def allocate(
    steps: Sequence[Step],
    whole: Mapping[int, Layout],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> tuple[list[Texture], dict[int, int]]:
    """Return the pool and which home lives where: greedy by size over lifetimes.

    *whole* are the layouts of homes of which stages write a part.
    """
    lives = _lifetimes(steps, inputs, outputs)
    layouts: dict[int, Layout] = {x.home: x.layout for x in inputs}
    layouts |= {x.home: x.layout for stage in flattened(steps) for x in stage.outputs}
    layouts |= whole
    storages = {x.home: x.storage for x in inputs}
    storages |= {x.home: x.storage for s in flattened(steps) for x in s.outputs}
    textures: list[Texture] = []
    tenants: list[list[int]] = []
    places: dict[int, int] = {}
    for home in sorted(layouts, key=lambda home: (-layouts[home].texels, home)):
        need = texture_for(layouts[home], storages[home])
        for number, texture in enumerate(textures):
            busy = any(_overlap(lives[other], lives[home]) for other in tenants[number])
            if not busy and _suits(texture, need):
                break
        else:
            number = len(textures)
            textures.append(need)
            tenants.append([])
        tenants[number].append(home)
        places[home] = number
    return textures, places


def _lifetimes(
    steps: Sequence[Step], inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> dict[int, tuple[int, int]]:
    """Return the first and the last step of each home.

    A home is alive from the step that writes it to the last one that reads it, both
    included, so that no stage reads and writes one texture. A loop is a single step.
    """
    first: dict[int, int] = {x.home: -1 for x in inputs}
    last: dict[int, int] = dict(first)
    for number, step in enumerate(steps):
        for stage in flattened([step]):
            for x in stage.outputs:
                first.setdefault(x.home, number)
                last[x.home] = number
            last |= {x.home: number for x in stage.operands if x.batched}
        if isinstance(step, Loop):
            last |= {home: number for pair in step.states for home in pair}
    last |= {tensor.home: len(steps) for tensor in outputs}
    return {home: (start, last[home]) for home, start in first.items()}


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]


def _suits(texture: Texture, need: Texture) -> bool:
    large = (
        texture.width >= need.width
        and texture.height >= need.height
        and texture.layers >= need.layers
    )
    return (
        texture.storage == need.storage
        and large
        and texture.bytes <= WASTE * need.bytes
    )
