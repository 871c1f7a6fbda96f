"""What packages carry along computes what it says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from keramos.emit.weights import ALIGNMENT, Tensor, safetensors
from keramos.primitives import DType, Method, taps
from keramos.runtime_min.vendored import resize, verification
from keramos.runtime_min.vendored.scalar import BLOCK, erf, sigmoid, swish
from keramos.runtime_min.vendored.tensors import read_tensors
from keramos.runtime_min.vendored.window import inside, wide_windows, windows

Function = Callable[..., NDArray[np.float32]]

EPSILON = float(np.finfo(np.float32).eps)
NUMBERS = np.linspace(-20, 20, 4001).astype(np.float32)


def test_erf_is_off_by_less_than_four_units() -> None:
    expected = np.array([math.erf(x) for x in NUMBERS])

    assert np.abs(erf(NUMBERS) - expected).max() < 4 * EPSILON


def test_sigmoid_is_exact_to_four_units_even_where_it_is_small() -> None:
    expected = 1 / (1 + np.exp(-NUMBERS.astype(np.float64)))

    assert (np.abs(sigmoid(NUMBERS) - expected) / expected).max() < 4 * EPSILON


def test_swish_is_exact_to_four_units_even_where_it_is_small() -> None:
    x = NUMBERS[NUMBERS != 0].astype(np.float64)
    expected = x / (1 + np.exp(-x))

    found = swish(x.astype(np.float32))

    assert (np.abs(found - expected) / np.abs(expected)).max() < 4 * EPSILON


@pytest.mark.parametrize("function", [erf, swish])
@pytest.mark.parametrize("order", ["C", "F"])
def test_scalar_functions_take_arrays_of_many_blocks(
    function: Function, order: Literal["C", "F"]
) -> None:
    shape = (3, BLOCK // 2 + 7)
    x = np.linspace(-5, 5, 3 * shape[1], dtype=np.float32).reshape(shape)

    found = function(np.asarray(x, order=order))

    np.testing.assert_array_equal(found, np.stack([function(row) for row in x]))


@pytest.mark.parametrize("function", [erf, sigmoid, swish])
def test_scalar_functions_write_over_their_operand(
    function: Function,
) -> None:
    x = NUMBERS.copy()

    y = function(x, out=x)

    assert y is x
    np.testing.assert_array_equal(x, function(NUMBERS))


@pytest.mark.parametrize("function", [erf, sigmoid])
def test_bounded_functions_keep_the_ends(function: Function) -> None:
    with np.errstate(over="ignore"):
        y = function(np.array([np.nan, np.inf, -np.inf], np.float32))

    assert [str(value) for value in y[:2]] == ["nan", "1.0"]
    assert y[2] == (-1 if function is erf else 0)


@given(
    old=st.integers(1, 40),
    new=st.integers(1, 40),
    method=st.sampled_from(get_args(Method)),
    antialias=st.booleans(),
)
def test_resize_weighs_the_taps_of_the_primitive(
    old: int, new: int, method: Method, *, antialias: bool
) -> None:
    index, weight = taps(old, new, method=method, antialias=antialias)
    matrix = np.zeros((new, old))
    np.add.at(matrix, (np.arange(new)[:, None], index), weight)

    found = resize.resize(
        np.eye(old, dtype=np.float32), 0, new, method=method, antialias=antialias
    )

    np.testing.assert_allclose(found, matrix, atol=4 * EPSILON)


def test_windows_are_views() -> None:
    x = np.arange(2 * 7 * 8 * 3, dtype=np.float32).reshape(2, 7, 8, 3)

    found = windows(x, (3, 2), (2, 3), (2, 3), (1, 2))

    assert np.shares_memory(found, x)
    for i, j, u, v in np.ndindex(3, 2, 2, 3):
        expected = x[:, i * 2 + u, j * 3 + v * 2]
        np.testing.assert_array_equal(found[:, i, j, u, v], expected)


def test_wide_windows_hold_neighbours() -> None:
    x = np.arange(2 * 5 * 8 * 3, dtype=np.float32).reshape(2, 5, 8, 3)

    found = wide_windows(x, (4, 3), (2, 3), (1, 1), 2).reshape(2, 4, 3, 2, 3, 2, 3)

    for i, j, k, u, v in np.ndindex(4, 3, 2, 2, 3):
        expected = x[:, i + u, j * 2 + k + v]
        np.testing.assert_array_equal(found[:, i, j, u, v, k], expected)


@given(
    length=st.integers(1, 9),
    size=st.integers(1, 4),
    stride=st.integers(1, 3),
    before=st.integers(0, 6),
    count=st.integers(0, 6),
)
def test_padding_is_told_from_elements(
    length: int, size: int, stride: int, before: int, count: int
) -> None:
    starts = [i * stride - before for i in range(count)]
    expected = [sum(0 <= at + k < length for k in range(size)) for at in starts]

    assert inside(count, length, size, stride, before).tolist() == expected


ARRAYS = {
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.array(2.5, np.float32),
    "matrix": np.arange(15, dtype=np.float32).reshape(3, 5)[:, ::2],
    "integers": np.array([-1, 7], np.int32),
    "truths": np.array([True, False, True]),
}


def stored(path: Path) -> None:
    names: dict[str, DType] = {"f": "float32", "i": "int32", "b": "bool"}
    tensors = {
        name: Tensor(x.shape, names[x.dtype.kind], partial(np.asarray, x))
        for name, x in ARRAYS.items()
    }
    path.write_bytes(safetensors(tensors))


def test_tensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    stored(tmp_path / "x")

    found = read_tensors(tmp_path / "x").arrays

    assert {n: (x.dtype, x.tolist()) for n, x in found.items()} == {
        n: (x.dtype, x.tolist()) for n, x in ARRAYS.items()
    }


def test_tensors_are_aligned_and_follow_without_gaps(tmp_path: Path) -> None:
    stored(tmp_path / "x")
    raw = (tmp_path / "x").read_bytes()
    length = int.from_bytes(raw[:8], "little")

    entries = json.loads(raw[8 : 8 + length])

    starts, ends = zip(
        *(entry["data_offsets"] for entry in entries.values()), strict=True
    )
    assert starts == (0, *ends[:-1])
    assert len(raw) == 8 + length + ends[-1]
    assert (8 + length) % ALIGNMENT == 0
    assert [entries[name]["data_offsets"][0] % ALIGNMENT for name in ARRAYS] == [0] * 5


def test_another_tensor_than_expected_is_refused(tmp_path: Path) -> None:
    stored(tmp_path / "x")
    tensors = read_tensors(tmp_path / "x")

    with pytest.raises(ValueError, match="expected integers float32") as caught:
        tensors.take("integers", (2,), np.float32)

    assert str(caught.value) == (
        f"{tmp_path / 'x'}: expected integers float32 (2,), found int32 (2,)"
    )


def test_mapped_tensors_are_read_only(tmp_path: Path) -> None:
    stored(tmp_path / "x")
    array = read_tensors(tmp_path / "x").take("truths", (3,), np.bool_)

    with pytest.raises(ValueError, match="read-only"):
        array[0] = False


@pytest.mark.parametrize(
    ("expected", "found", "difference"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.0], [1.0, 2.5], 0.25),
        ([np.nan, np.inf], [np.nan, np.inf], 0.0),
        ([np.nan, 1.0], [0.0, 1.0], np.inf),
        ([0.0, 1.0], [np.nan, 1.0], np.inf),
        ([np.inf, 1.0], [-np.inf, 1.0], np.inf),
        ([1e-40, 1e-40], [0.0, 0.0], float(np.float32(1e-40))),
        ([0.0, 0.0], [0.0, 0.25], 0.25),
    ],
)
def test_differences_are_relative_to_the_largest_value(
    expected: list[float], found: list[float], difference: float
) -> None:
    a, b = (np.array(x, np.float32) for x in (expected, found))

    assert verification.difference(a, b) == difference


def test_a_digest_holds_the_ends_and_the_norm() -> None:
    x: NDArray[np.float32] = np.linspace(-3, 4, 50, dtype=np.float32).reshape(5, 10)

    found = verification.digest(x)

    ends = np.array([-3, 4, 0.5, float(np.linalg.norm(x))])
    np.testing.assert_allclose(found[:4].astype(np.float64), ends, rtol=1e-6)
    assert (len(found), found[4], found[-1]) == (20, -3, 4)
