"""Weights in fewer bits are as near as the bits allow, and what doesn't fit stays."""

from __future__ import annotations

from itertools import starmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from small_graphs import graph, value
from strategies_graphs import graphs, inputs_for

from keramos.expr import operand
from keramos.graph import Constant, Graph, Storage, apply, literal
from keramos.passes.round_weights import LARGEST_CODE, quantise, round_weights
from keramos.plan.factor_scales import factor_scales
from keramos.primitives import Contract, Conv, Gather, Map

UNIT = float(np.finfo(np.float32).eps)
TINY = float(np.finfo(np.float32).tiny)
STORAGES: tuple[Storage, ...] = ("float16", "uint8")

NUMBERS = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=4, max_side=5),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)
PLAIN = Conv((1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1))


def dense(weights: NDArray[np.float32]) -> Graph:
    """Return a product with *weights*."""
    (y,) = apply(Contract((0,), (0,)), value(len(weights)), literal(weights))
    return graph(y)


def rounded(weights: NDArray[np.float32], storage: Storage) -> Constant:
    """Return what *weights* become, however short their sums are."""
    (constant,) = round_weights(dense(weights), storage, terms=1).constants()
    assert constant.constant is not None
    return constant.constant


@given(weights=NUMBERS, axes=st.integers(1, 2))
def test_quantised_weights_are_within_half_a_step(
    weights: NDArray[np.float32], axes: int
) -> None:
    codes, scale = quantise(weights, axes)

    step = scale.astype(np.float64)
    error = np.abs(weights - codes * step)
    assert (error <= step * (0.5 + LARGEST_CODE * UNIT) + LARGEST_CODE * TINY).all()
    assert scale.shape == weights.shape[weights.ndim - axes :]
    assert np.array_equal(codes, np.rint(codes))
    assert np.abs(codes).max() <= LARGEST_CODE


@pytest.mark.parametrize("number", [0.0, 1.0, -0.3, 1e-42, 3e38])
def test_channels_of_one_number_keep_it(number: float) -> None:
    weights = np.full((32, 32), number, np.float32)

    codes, scale = quantise(weights, 1)

    assert np.abs(codes * scale - weights).max() <= UNIT * abs(number) + 127 * TINY


def test_a_channel_has_a_scale_of_its_own() -> None:
    weights = np.ones((32, 32), np.float32) * 10.0 ** np.arange(-16, 16)

    found = rounded(weights.astype(np.float32), "uint8").array()

    assert np.allclose(found, weights, rtol=1e-6)


@given(graph=graphs(free=False))
def test_rounding_changes_no_more_than_weights(graph: Graph) -> None:
    for storage in STORAGES:
        found = round_weights(graph, storage, fewest=1, terms=1)

        found.verify()
        assert len(found.nodes) == len(graph.nodes)
        assert [n.primitive for n in found.nodes] == [n.primitive for n in graph.nodes]


@given(graph=graphs(free=False))
def test_scales_behind_a_node_give_what_scaled_weights_give(graph: Graph) -> None:
    whole = round_weights(graph, "uint8", fewest=1, terms=1)
    inputs = [
        x.astype(np.float64) if x.dtype == np.float32 else x
        for x in inputs_for(graph, 2, np.random.default_rng(0))
    ]

    factored = factor_scales(whole)

    factored.verify()
    pairs = zip(factored.evaluate(*inputs), whole.evaluate(*inputs), strict=True)
    assert all(starmap(close, pairs))


def close(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Return whether *a* is *b* but for the rounding of codes times scales."""
    return np.allclose(a, b, rtol=0, atol=1e-5 * max(1.0, np.abs(b).max(initial=0)))


def test_halves_are_the_nearest_ones() -> None:
    weights = np.random.default_rng(0).standard_normal((40, 40)).astype(np.float32)

    found = rounded(weights, "float16")

    assert found.storage == "float16"
    assert np.array_equal(found.array(), weights.astype(np.float16))


@pytest.mark.parametrize(
    ("number", "halves"),
    [
        (np.inf, "float16"),
        (np.nan, "float16"),
        (0.0, "float16"),
        (65504.0, "float16"),
        (65536.0, "float32"),
    ],
)
def test_numbers_beyond_the_halves_stay(number: float, halves: Storage) -> None:
    weights = np.ones((32, 32), np.float32)
    weights[3, 4] = number

    found = rounded(weights, "float16")

    assert found.storage == halves
    assert np.array_equal(found.array(), weights, equal_nan=True)


def test_numbers_below_the_halves_stay() -> None:
    weights = np.full((32, 32), 1e-5, np.float32)

    assert np.array_equal(rounded(weights, "float16").array(), weights)


@pytest.mark.parametrize("number", [np.inf, np.nan])
def test_numbers_without_a_scale_stay(number: float) -> None:
    weights = np.ones((32, 32), np.float32)
    weights[3, 4] = number

    assert rounded(weights, "uint8").storage == "float32"


@pytest.mark.parametrize("storage", STORAGES)
def test_few_numbers_stay(storage: Storage) -> None:
    few = np.ones((31, 33), np.float32)
    row = np.ones(2048, np.float32)
    (y,) = apply(Map(operand(0) + operand(1)), value(2048), literal(row))

    assert rounded(few, storage).storage == "float32"
    assert round_weights(graph(y), storage).constants() == graph(y).constants()


def test_weights_of_short_sums_stay_but_for_halves() -> None:
    depthwise = Conv((1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), groups=256)
    weights = literal(np.ones((3, 3, 1, 256), np.float32))
    (y,) = apply(depthwise, value(8, 8, 256), weights)

    found = [round_weights(graph(y), storage).constants()[0] for storage in STORAGES]

    kept = [x.constant.storage for x in found if x.constant is not None]
    assert kept == ["float16", "float32"]


def test_a_scale_belongs_to_what_a_weight_contributes_to() -> None:
    numbers = np.ones((2, 3, 16, 64), np.float32)
    table = literal(np.ones((64, 32), np.float32))
    (image,) = apply(PLAIN, value(8, 8, 16), literal(numbers))
    (heads,) = apply(Contract((0,), (0,)), value(2), literal(numbers))
    (words,) = apply(Gather(0), table, value(5))

    found = [round_weights(graph(y), "uint8", terms=2) for y in (image, heads, words)]

    assert [shapes_of_scales(each) for each in found] == [
        [(64,)],
        [(3, 16, 64)],
        [(32,)],
    ]


def test_weights_that_are_summed_over_where_they_would_be_scaled_stay() -> None:
    (y,) = apply(
        Contract((0,), (1,)), value(64), literal(np.ones((64, 64), np.float32))
    )

    assert shapes_of_scales(round_weights(graph(y), "uint8")) == []


def shapes_of_scales(graph: Graph) -> list[tuple[int | None, ...]]:
    """Return the shape of each scale."""
    constants = [x.constant for x in graph.constants() if x.constant is not None]
    return [c.factors.scale.spec.shape for c in constants if c.factors is not None]
