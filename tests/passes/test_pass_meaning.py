"""Every pass keeps what a graph means, whatever the graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_graphs import LENGTHS, graphs, inputs_for

from keramos.graph import Array, Graph
from keramos.passes import PASSES, Pass, optimise

DISTINCT = dict(PASSES)


def wide(x: Array) -> Array:
    """Return floats in double."""
    return x.astype(np.float64) if x.dtype == np.float32 else x


def assert_same(old: Graph, new: Graph, *, length: int) -> None:
    """Hold *new* to *old*, both in double: only folded constants are rounded."""
    new.verify()
    assert new.inputs == old.inputs
    assert new.output_specs == old.output_specs
    given = inputs_for(old, 2, np.random.default_rng(7), length=length)
    inputs = [wide(x) for x in given]
    pairs = zip(old.evaluate(*inputs), new.evaluate(*inputs), strict=True)
    for expected, actual in pairs:
        np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("step", DISTINCT.values(), ids=DISTINCT)
@given(graph=graphs(), length=st.sampled_from(LENGTHS))
def test_a_pass_keeps_the_meaning(step: Pass, graph: Graph, length: int) -> None:
    assert_same(graph, step(graph), length=length)


# What each pass looks for is rare among graphs of everything.
NEIGHBOURS = {
    "cancel_reshapes": ("reshape", "contract", "map"),
    "cancel_transposes": ("transpose", "contract", "reduce", "softmax", "resize"),
    "fold_affine": ("conv", "contract"),
    "fold_padding": ("pad", "conv", "window"),
    "fuse_epilogues": ("conv", "contract", "window", "reduce", "softmax"),
    "hoist_products": ("scan", "reshape", "map"),
    "merge_movements": ("slice", "pad", "concat"),
    "optimise_bodies": ("scan", "reshape"),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
@settings(max_examples=4 * settings().max_examples)
@given(data=st.data(), length=st.sampled_from(LENGTHS))
def test_a_pass_keeps_the_meaning_of_what_it_looks_for(
    name: str, data: st.DataObject, length: int
) -> None:
    graph = data.draw(graphs(kinds=NEIGHBOURS[name]))

    prepared = optimise(graph, skip={name, "fuse_epilogues"})
    assert_same(prepared, DISTINCT[name](prepared), length=length)


@given(graph=graphs(max_nodes=9), length=st.sampled_from(LENGTHS))
def test_all_passes_together_keep_the_meaning(graph: Graph, length: int) -> None:
    assert_same(graph, optimise(graph), length=length)
