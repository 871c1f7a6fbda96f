"""Digit maps: no two texels share a place, and packing follows the map."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from keramos.plan.layout import (
    CANONICAL_RANK,
    LANES,
    DoesNotFitError,
    Layout,
    Limits,
    image,
    is_bijective,
    packing,
    part,
    positions,
    reinterpret,
    rows,
    table,
    transposed,
)

SHAPES = st.lists(st.integers(1, 40), min_size=1, max_size=5).filter(
    lambda shape: np.prod(shape) <= 20_000
)
LIMITS = st.builds(
    Limits,
    texture_size=st.sampled_from([4, 16, 64, 256]),
    layers=st.sampled_from([8, 64, 256]),
    draw_buffers=st.sampled_from([1, 4, 8]),
    profile=st.sampled_from(["gpu", "software"]),
)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Layout, tuple[int, ...], Limits]:
    shape = tuple(draw(SHAPES))
    limits = draw(LIMITS)
    batch = draw(st.integers(1, 3))
    try:
        match draw(st.sampled_from(["image", "rows", "table"])):
            case "image":
                layout = image(shape, batch=batch, limits=limits)
            case "rows":
                pixels, group = draw(st.sampled_from([(1, 1), (1, 4), (4, 2), (2, 1)]))
                layout = rows(
                    shape,
                    batch=batch,
                    limits=limits,
                    pixels=pixels,
                    group=group,
                    merged=draw(st.booleans()),
                )
            case _:
                layout = table(shape, limits=limits)
    except DoesNotFitError:
        reject()
    return layout, shape, limits


@given(layouts())
def test_every_texel_has_a_place_of_its_own(
    case: tuple[Layout, tuple[int, ...], Limits],
) -> None:
    layout, _, _ = case

    assert is_bijective(layout)


@given(layouts())
def test_layouts_keep_within_the_limits(
    case: tuple[Layout, tuple[int, ...], Limits],
) -> None:
    layout, _, limits = case

    assert max(layout.width, layout.height) <= limits.texture_size
    assert layout.layers <= limits.layers


@given(layouts())
def test_packing_puts_each_value_where_the_map_says(
    case: tuple[Layout, tuple[int, ...], Limits],
) -> None:
    layout, _, _ = case
    view = layout.view
    array = np.arange(1, np.prod(view) + 1).reshape(view)
    recipe = packing(layout)

    widths = [(0, p - v) for p, v in zip(recipe.padded, view, strict=True)]
    texels = np.pad(array, widths).reshape(recipe.split).transpose(recipe.order)
    found = texels.reshape(-1, LANES)[positions(layout).ravel()]

    assert np.array_equal(found.reshape(*view[:-1], -1)[..., : view[-1]], array)


@given(layouts(), SHAPES)
def test_a_reinterpreted_layout_reads_the_elements_in_row_major_order(
    case: tuple[Layout, tuple[int, ...], Limits], other: list[int]
) -> None:
    layout, shape, _ = case
    rest = [d for d in other if np.prod(shape) % d == 0][:1]
    new = (*rest, int(np.prod(shape)) // int(np.prod(rest)))
    view = reinterpret(layout, new)
    assume(view is not None)
    assert view is not None

    old_order = _values(layout, shape)
    assert np.array_equal(_values(view, new), old_order)


def _values(layout: Layout, shape: tuple[int, ...]) -> list[int]:
    """Return where each value lies, in row-major order of the tensor."""
    places = positions(layout)[..., None] * LANES + np.arange(LANES)
    whole = places.reshape(*layout.extents[:-1], -1)
    return whole[..., : shape[-1]].ravel().tolist()


@given(layouts(), st.randoms(use_true_random=False))
def test_a_transposed_layout_reads_the_elements_in_the_new_order(
    case: tuple[Layout, tuple[int, ...], Limits], random: Random
) -> None:
    layout, shape, _ = case
    assume(len(shape) <= CANONICAL_RANK)
    order = list(range(len(shape) - 1))
    random.shuffle(order)
    permutation = (*order, len(shape) - 1)

    view = transposed(layout, permutation)
    assume(view is not None)
    assert view is not None

    batch = layout.extents[0]
    places = np.reshape(_values(layout, shape), (batch, *shape))
    moved = places.transpose(0, *(axis + 1 for axis in permutation))
    new = tuple(shape[axis] for axis in permutation)
    assert _values(view, new) == moved.ravel().tolist()


@given(layouts(), st.data())
def test_a_part_of_a_layout_lies_where_the_whole_has_it(
    case: tuple[Layout, tuple[int, ...], Limits], data: st.DataObject
) -> None:
    layout, shape, _ = case
    total = -(-shape[-1] // LANES)
    first = data.draw(st.integers(0, total - 1))
    channels = LANES * data.draw(st.integers(1, total - first))
    found = part(layout, first=first, channels=channels)
    assume(found is not None)
    assert found is not None
    piece, (x, y, layer) = found

    whole = positions(layout)[..., first : first + channels // LANES]
    depth, rest = np.divmod(positions(piece), piece.width * piece.height)
    rows_, columns = np.divmod(rest, piece.width)
    moved = (depth + layer) * layout.height + rows_ + y
    assert np.array_equal(moved * layout.width + columns + x, whole)


def test_a_flattened_image_with_whole_texels_needs_no_copy() -> None:
    layout = image((7, 5, 8), batch=2, limits=Limits())

    assert reinterpret(layout, (280,)) is not None


def test_a_flattened_image_with_open_lanes_needs_a_copy() -> None:
    layout = image((7, 5, 6), batch=1, limits=Limits())

    assert reinterpret(layout, (210,)) is None


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((64, 64, 8), (8, 128)),
        ((64, 64, 32), (128, 32)),
        ((16, 16, 128), (128, 8)),
        ((13, 13, 128), (416, 2)),
    ],
)
def test_rows_for_software_rasterisers_keep_two_threads_busy(
    shape: tuple[int, ...], size: tuple[int, int]
) -> None:
    software = Limits(profile="software", draw_buffers=8)

    layout = rows(shape, batch=1, limits=software, pixels=8)

    assert (layout.width, layout.height) == size


def test_a_long_digit_is_folded_where_sums_are_cut() -> None:
    layout = table((1, 1, 9216, 128), limits=Limits())

    assert (layout.height, layout.layers) == (2304, 4)


def test_one_pixel_for_software_rasterisers_has_two_rows() -> None:
    layout = rows((128,), batch=1, limits=Limits(profile="software"))

    assert (layout.width, layout.height) == (16, 2)


def test_a_tensor_that_no_folding_fits_is_refused() -> None:
    with pytest.raises(DoesNotFitError):
        image((64, 64, 64), batch=1, limits=Limits(texture_size=8, layers=8))
