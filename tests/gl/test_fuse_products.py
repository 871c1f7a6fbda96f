"""Products of one input that are computed as one, with what the graph means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import keras
import numpy as np
import pytest
from gl.device import run
from hypothesis import given
from hypothesis import strategies as st
from keras import layers
from numpy.typing import NDArray
from strategies_products import (
    always,
    attention,
    conv,
    dense,
    ended,
    graph,
    products,
    relu,
)

from keramos.expr import operand
from keramos.graph import Constant, Graph, Storage, Value, apply, constant, literal
from keramos.importer import import_model
from keramos.passes import optimise
from keramos.passes.round_weights import round_weights
from keramos.plan.factor_scales import factor_scales
from keramos.plan.fuse_products import prepare_fused
from keramos.plan.gl import plan
from keramos.plan.layout import Limits
from keramos.plan.prepare import Target, prepare
from keramos.plan.profile import limits
from keramos.plan.stages import GlPlan
from keramos.primitives import (
    Concat,
    Contract,
    Conv,
    Reduce,
    Reshape,
    Slice,
    Spec,
    Transpose,
)
from keramos.source import read

# Sums of up to a few hundred products in another order.
TOLERANCE = 1e-5
LIMITS = [
    Limits(texture_size=16, layers=64, draw_buffers=4),
    Limits(texture_size=4096, draw_buffers=1),
    Limits(texture_size=256, draw_buffers=8),
    limits(4096),
    limits(16384),
    limits(4096, "software"),
]


def given_to(of: Graph, n: int) -> NDArray[np.float32]:
    """Return a batch of inputs."""
    shape = tuple(d or 0 for d in of.inputs[0].shape)
    drawn = np.random.default_rng(1).standard_normal((n, *shape))
    return drawn.astype(np.float32)


def assert_close(
    actual: Sequence[NDArray[np.float32]], expected: Sequence[NDArray[np.float32]]
) -> None:
    """Compare outputs, relative to the largest number."""
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        assert np.abs(a - e).max() <= TOLERANCE * max(1.0, np.abs(e).max())


@given(drawn=products())
def test_a_graph_of_fused_products_means_the_same(drawn: Graph) -> None:
    x = given_to(drawn, 2)

    with always():
        prepared = prepare_fused(drawn, target=Target(1, limits(4096)))

    prepared.graph.verify()
    assert_close(prepared.graph.evaluate(x), drawn.evaluate(x))
    for node in drawn.nodes:
        (before,), (after,) = node.results(), prepared.results[node]
        (a,), (b,) = (
            replace(g, outputs=(y,), output_names=("y",)).evaluate(x)
            for g, y in ((drawn, before), (prepared.graph, after))
        )
        assert_close([b.reshape(a.shape)], [a])


@pytest.mark.parametrize("allowed", LIMITS, ids=range(len(LIMITS)))
@given(drawn=products(), batch=st.sampled_from([1, 2]))
def test_fused_products_give_what_the_graph_means(
    allowed: Limits, drawn: Graph, batch: int
) -> None:
    x = given_to(drawn, 2)

    with TemporaryDirectory() as folder, always():
        actual, gl = run(drawn, [x], Path(folder), limits=allowed, batch=batch)

    assert_close(actual, drawn.evaluate(x))
    for stage in gl.stages:
        read_ = {gl.texture(tensor) for tensor in stage.operands}
        assert not read_.intersection(gl.texture(tensor) for tensor in stage.outputs)


def planned(of: Graph, *, allowed: Limits | None = None) -> GlPlan:
    """Return the plan for a GPU."""
    return plan(of, batch=1, limits=allowed or limits(16384), where="model")


def apart(of: Graph) -> GlPlan:
    """Return the plan without fused products."""
    with patch("keramos.plan.gl.prepare_fused", prepare):
        return planned(of)


def draws(gl: GlPlan) -> int:
    """Return how many draws a plan without loops takes."""
    return sum(len(stage.draws()) for stage in gl.stages)


def imported(model: keras.Model, folder: Path) -> Graph:
    """Return the optimised graph of a model."""
    model.save(folder / "model.keras")
    return optimise(import_model(read(folder / "model.keras")))


def test_queries_keys_and_values_are_one_draw(tmp_path: Path) -> None:
    x = keras.Input((64, 128))
    y = layers.MultiHeadAttention(4, 32)(x, x)
    block = imported(keras.Model(x, layers.Add()([x, y])), tmp_path)

    gl = planned(block)

    # Projections, scores, the softmax's sums, the weighted values, the last one.
    assert draws(gl) == 5
    assert draws(apart(block)) == 7
    assert "move" not in {stage.family for stage in gl.stages}


def test_heads_that_are_reshaped_are_views() -> None:
    rng = np.random.default_rng(0)
    x = Value(Spec((64, 128)), name="x")
    parts = []
    for _ in range(3):
        (heads,) = apply(Reshape((64, 4, 32)), dense(x, 128, rng=rng))
        parts.append(apply(Transpose((1, 0, 2)), heads)[0])
    q, k, v = parts
    (scores,) = apply(Contract((2,), (2,), (0,), (0,)), q, k)
    (y,) = apply(Contract((2,), (1,), (0,), (0,)), scores, v)

    gl = planned(graph(x, y))

    assert draws(gl) == 3


def test_the_first_convolutions_of_branches_are_one_draw(tmp_path: Path) -> None:
    def block(x: keras.KerasTensor) -> keras.KerasTensor:
        plain = layers.Conv2D(64, 1, activation="relu")(x)
        small = layers.Conv2D(48, 1, activation="relu")(x)
        small = layers.Conv2D(64, 5, padding="same", activation="relu")(small)
        large = layers.Conv2D(64, 1, activation="relu")(x)
        large = layers.Conv2D(96, 3, padding="same", activation="relu")(large)
        return layers.Concatenate()([plain, small, large])

    x = keras.Input((17, 17, 192))
    y = layers.MaxPooling2D(2)(block(layers.ReLU()(x)))
    inception = imported(keras.Model(x, y), tmp_path)

    gl = planned(inception)

    # What is written in place of the concatenation stays apart.
    assert draws(apart(inception)) - draws(gl) == 1
    assert "move" not in {stage.family for stage in gl.stages}


def test_a_shortcut_is_computed_beside_the_first_convolution(tmp_path: Path) -> None:
    x = keras.Input((14, 14, 64))
    y = layers.Conv2D(16, 1, strides=2, activation="relu")(layers.ReLU()(x))
    y = layers.Conv2D(16, 3, padding="same", activation="relu")(y)
    y = layers.Conv2D(64, 1)(y)
    shortcut = layers.Conv2D(64, 1, strides=2)(layers.ReLU()(x))
    whole = keras.Model(x, layers.ReLU()(layers.Add()([shortcut, y])))
    residual = imported(whole, tmp_path)
    inputs = given_to(residual, 1)

    actual, gl = run(residual, [inputs], tmp_path, limits=limits(16384), batch=1)

    assert draws(apart(residual)) - draws(gl) == 1
    assert_close(actual, residual.evaluate(inputs))


def test_a_loop_reads_the_slices_of_both_directions_where_they_are(
    tmp_path: Path,
) -> None:
    x = keras.Input((12, 16))
    y = layers.Bidirectional(layers.LSTM(8))(x)
    both = imported(keras.Model(x, y), tmp_path)
    inputs = given_to(both, 1)

    actual, gl = run(both, [inputs], tmp_path, limits=limits(16384), batch=1)

    # The second sequence is turned around, as it would be otherwise.
    assert len(apart(both).stages) - len(gl.stages) == 1
    assert [stage.family for stage in gl.stages[:2]] == ["conv", "move"]
    assert_close(actual, both.evaluate(inputs))


def pair(*, first: Sequence[int] = (16, 1, 1), second: Sequence[int]) -> Graph:
    """Return two convolutions, each of so many filters, a window and a stride."""
    rng = np.random.default_rng(0)
    x = Value(Spec((8, 8, 16)), name="x")
    y = relu(x)
    ends = []
    for filters, window, stride in (first, second):
        part = conv(y, filters, rng, window=window, stride=stride)
        ends.append(apply(Reduce("max", (0, 1)), part)[0])
    return graph(x, *ends)


def fused(of: Graph) -> bool:
    """Return whether a slice of a product takes the place of another one."""
    target = Target(1, limits(16384))
    with always():
        prepared = prepare_fused(of, target=target)
    return any(isinstance(node.primitive, Slice) for node in prepared.graph.nodes)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((16, 1, 1), (16, 1, 1), True),
        ((16, 1, 1), (6, 1, 1), True),
        ((6, 1, 1), (16, 1, 1), True),
        ((6, 1, 1), (6, 1, 1), False),
        ((16, 1, 1), (16, 3, 1), False),
        ((16, 1, 1), (16, 1, 2), False),
        ((16, 3, 2), (16, 3, 2), True),
    ],
)
def test_products_of_one_geometry_are_fused(
    first: Sequence[int], second: Sequence[int], *, expected: bool
) -> None:
    assert fused(pair(first=first, second=second)) == expected


def test_what_is_an_output_is_not_fused() -> None:
    plain = pair(second=(16, 1, 1))
    convolved = [node for node in plain.nodes if isinstance(node.primitive, Conv)]

    tapped = plain.with_outputs(convolved[0].results(), ["tap"])

    assert fused(plain)
    assert not fused(tapped)


def test_epilogues_that_read_numbers_of_other_types_are_not_fused() -> None:
    rng = np.random.default_rng(0)
    x = Value(Spec((8, 8, 16)), name="x")
    y, total = relu(x), operand(0) + operand(1)
    whole = literal(np.arange(16, dtype=np.int32))
    halves = literal(np.arange(16, dtype=np.float32) / 2)
    parts = [ended(conv(y, 16, rng), total, extra) for extra in (whole, halves)]
    ends = [apply(Reduce("max", (0, 1)), part)[0] for part in parts]

    assert not fused(graph(x, *ends))


def test_what_saves_too_little_is_not_fused() -> None:
    rng = np.random.default_rng(0)
    x = Value(Spec((128, 128, 256)), name="x")
    y = relu(x)
    large = [conv(y, 256, rng) for _ in range(2)]
    ends = [apply(Reduce("max", (0, 1)), part)[0] for part in large]

    whole = graph(x, *ends)

    prepared = prepare_fused(whole, target=Target(1, limits(16384)))

    assert not any(isinstance(n.primitive, Slice) for n in prepared.graph.nodes)
    assert fused(whole)


@pytest.mark.parametrize("filters", [[16, 8], [6, 16], [16, 6, 8]])
def test_the_slices_of_what_is_fused_are_views(filters: Sequence[int]) -> None:
    rng = np.random.default_rng(0)
    x = Value(Spec((8, 8, 16)), name="x")
    y = relu(x)
    parts = [conv(y, count, rng) for count in filters]
    ends = [apply(Reduce("max", (0, 1)), part)[0] for part in parts]

    with always():
        gl = planned(graph(x, *ends))

    assert sum(stage.family.startswith("conv") for stage in gl.stages) == 1
    assert "move" not in {stage.family for stage in gl.stages}


def test_constants_that_are_stored_in_different_ways_are_not_joined() -> None:
    half, plain = (
        constant(Constant(Spec((4,)), lambda: np.ones(4), storage=storage), name="")
        for storage in ("float16", "float32")
    )

    mixed, alike = (apply(Concat(0), x, plain)[0].constant for x in (half, plain))

    assert mixed is not None
    assert mixed.joined == ()
    assert alike is not None
    assert [run for _, run in alike.joined] == [4, 4]


@pytest.mark.parametrize("storage", ["float32", "float16", "uint8"])
def test_weights_of_fused_products_are_stored_once(
    storage: Storage, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    x = Value(Spec((64, 128)), name="x")
    whole = graph(x, attention(x, 4, 32, rng))
    rounded = round_weights(whole, storage)
    inputs = given_to(rounded, 1)

    actual, gl = run(rounded, [inputs], tmp_path, limits=limits(16384), batch=1)

    document = json.loads((tmp_path / "shaders" / "plan.json").read_text())
    entries = document["constants"] + document["buffers"]
    runs = [run_ for entry in entries for _, run_ in entry.get("joined", [])]
    stored = sum(size for name, size in sizes(tmp_path).items() if "gl" in name)
    assert draws(gl) == 3
    assert runs.count(128) >= 3
    assert stored == 0
    assert_close(actual, factor_scales(rounded).evaluate(inputs))


def sizes(folder: Path) -> dict[str, int]:
    """Return the bytes of each tensor of a package."""
    data = (folder / "weights.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return {
        name: entry["data_offsets"][1] - entry["data_offsets"][0]
        for name, entry in header.items()
    }
