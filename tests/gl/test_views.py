"""Slices, reshapes and transposes of views show what NumPy gives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_graphs import graph, weight

from keramos.graph import Value, apply
from keramos.plan.gl import plan
from keramos.plan.kernels import layouts
from keramos.plan.layout import (
    LANES,
    B,
    Layout,
    Limits,
    blocks,
    canonical,
    packing,
    rows,
)
from keramos.plan.profile import limits
from keramos.plan.stages import Tensor
from keramos.plan.views import reordered, reshaped, sliced
from keramos.primitives import Reshape, Slice, Spec, Transpose

Array = NDArray[Any]
WHOLE = (None, None, 1)
ALLOWED = [Limits(texture_size=16, layers=64), limits(16384), limits(4096, "software")]


def stored(array: Array, layout: Layout) -> Array:
    """Return the texels of a texture that holds *array*."""
    recipe, whole = packing(layout), array.reshape(layout.view)
    widths = zip(recipe.padded, layout.view, strict=True)
    padded = np.pad(whole, [(0, p - v) for p, v in widths])
    return padded.reshape(recipe.split).transpose(recipe.order).reshape(-1, LANES)


def shown(texels: Array, view: Tensor) -> Array:
    """Return what *view* shows, with all lanes of each texel."""
    layout, (d, h, w, c) = view.layout, canonical(view.shape)
    index = [*np.indices((1, d, h, w, blocks(c)))]
    index = [i + offset for i, offset in zip(index, view.offset, strict=True)]
    if layout.row:
        index[3], index[2] = index[3] + layout.row * index[2], 0 * index[2]
    scale = {"x": 1, "y": layout.width, "layer": layout.width * layout.height}
    place = sum(
        index[digit.axis]
        // digit.divisor
        % digit.radix
        * digit.weight
        * scale[digit.place]
        for digit in layout.digits
    )
    lanes: Array = texels[place + np.zeros_like(index[B])]
    return lanes.reshape(1, d, h, w, -1)


def expected(array: Array) -> Array:
    """Return the lanes of *array*: zeros behind the last channel."""
    d, h, w, c = canonical(array.shape)
    lanes = blocks(c) * LANES
    return np.pad(array.reshape(1, d, h, w, c), [(0, 0)] * 4 + [(0, lanes - c)])


@st.composite
def shapes(draw: st.DrawFn, count: int) -> tuple[int, ...]:
    """Draw a shape of *count* elements, in up to four axes."""
    sizes: list[int] = []
    for _ in range(draw(st.integers(0, 3))):
        sizes.append(draw(st.sampled_from([d for d in range(1, 9) if count % d == 0])))
        count //= sizes[-1]
    return (*sizes, count)


@given(data=st.data(), allowed=st.sampled_from(ALLOWED))
def test_views_of_views_show_what_numpy_gives(
    data: st.DataObject, allowed: Limits
) -> None:
    sizes = data.draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), max_size=3))
    shape = (*sizes, data.draw(st.sampled_from([4, 8, 12, 24, 6])))
    array = np.arange(1, math.prod(shape) + 1).reshape(shape)
    layout = data.draw(st.sampled_from([*layouts(shape, batch=1, limits=allowed)]))
    texels, view = stored(array, layout), Tensor(shape, layout, 0)

    for _ in range(data.draw(st.integers(1, 4))):
        found: Tensor | None
        match data.draw(st.sampled_from(["slice", "reshape", "transpose"])):
            case "slice":
                axis = data.draw(st.integers(0, array.ndim - 1))
                unit = LANES if axis == array.ndim - 1 else 1
                stop = data.draw(st.integers(1, -(-array.shape[axis] // unit))) * unit
                start = data.draw(st.integers(0, stop // unit - 1)) * unit
                run = (start, stop, 1)
                bounds = tuple(run if k == axis else WHOLE for k in range(array.ndim))
                after = array[tuple(slice(*b) for b in bounds)]
                found = sliced(view, after.shape, Slice(bounds))
            case "reshape":
                after = array.reshape(data.draw(shapes(array.size)))
                found = reshaped(view, after.shape)
            case _:
                first = data.draw(st.permutations(range(array.ndim - 1)))
                order = (*first, array.ndim - 1)
                after = array.transpose(order)
                found = reordered(view, after.shape, order)
        if found is not None:
            view, array = found, after
            assert np.array_equal(shown(texels, view), expected(array))


@pytest.mark.parametrize(
    ("part", "shape"),
    [
        ((WHOLE, WHOLE, (8, 24, 1)), (6, 5, 4, 4)),
        ((WHOLE, WHOLE, (8, 24, 1)), (30, 4, 4)),
        ((WHOLE, WHOLE, (8, 24, 1)), (30, 2, 8)),
        ((WHOLE, WHOLE, (8, 24, 1)), (2, 15, 16)),
        ((WHOLE, WHOLE, (4, 12, 1)), (30, 1, 8)),
        ((WHOLE, WHOLE, (24, None, 1)), (30, 8)),
        (((2, 5, 1), WHOLE, WHOLE), (15, 4, 8)),
        (((2, 5, 1), WHOLE, WHOLE), (3, 160)),
        ((WHOLE, (1, 3, 1), WHOLE), (6, 64)),
    ],
)
def test_the_reshape_of_a_part_is_a_view(
    part: tuple[tuple[int | None, int | None, int], ...], shape: tuple[int, ...]
) -> None:
    whole = np.arange(1, 6 * 5 * 32 + 1).reshape(6, 5, 32)
    after = whole[tuple(slice(*bounds) for bounds in part)]
    found = 0

    for layout in layouts(whole.shape, batch=1, limits=limits(16384)):
        view = sliced(Tensor(whole.shape, layout, 0), after.shape, Slice(part))
        assert view is not None
        again = reshaped(view, shape)
        if again is not None:
            found += 1
            texels = shown(stored(whole, layout), again)
            assert np.array_equal(texels, expected(after.reshape(shape)))

    assert found


def test_the_reshape_of_a_part_of_merged_rows_is_a_view() -> None:
    whole = np.arange(1, 6 * 5 * 32 + 1).reshape(6, 5, 32)
    layout = rows(whole.shape, batch=1, limits=limits(16384), pixels=4, merged=True)
    part = (WHOLE, WHOLE, (8, 24, 1))
    view = sliced(Tensor(whole.shape, layout, 0), (6, 5, 16), Slice(part))
    assert view is not None

    again = reshaped(view, (30, 2, 8))

    assert again is not None
    given_ = expected(whole[..., 8:24].reshape(30, 2, 8))
    assert np.array_equal(shown(stored(whole, layout), again), given_)


def test_a_part_that_no_run_of_the_whole_is_has_to_move() -> None:
    layout = rows((6, 20), batch=1, limits=limits(16384))
    view = sliced(Tensor((6, 20), layout, 0), (6, 16), Slice((WHOLE, (0, 16, 1))))
    assert view is not None

    assert reshaped(view, (6, 2, 8)) is None
    assert reshaped(view, (12, 8)) is None


def test_the_last_step_of_a_sequence_is_read_where_it_is() -> None:
    x = Value(Spec((5, 8)), name="x")
    (step,) = apply(Reshape((8,)), apply(Slice(((4, None, 1), WHOLE)), 2.0 * x)[0])
    model = graph(step * weight("scale", 8))

    families = [
        s.family for s in plan(model, batch=1, limits=limits(4096), where="").stages
    ]

    assert families == ["map", "map"]


def test_a_part_with_its_axes_in_another_order_is_read_where_it_is() -> None:
    x = Value(Spec((5, 6, 8)), name="x")
    (part,) = apply(Slice((WHOLE, (2, 4, 1), WHOLE)), 2.0 * x)
    (turned,) = apply(Transpose((1, 0, 2)), part)
    model = graph(turned * weight("scale", 8))

    families = [
        s.family for s in plan(model, batch=1, limits=limits(4096), where="").stages
    ]

    assert families == ["map", "map"]
