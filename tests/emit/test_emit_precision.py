"""Packages store weights in fewer bits, and say what that costs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from emitted import assert_close, predict, tolerances
from hypothesis import given
from hypothesis import strategies as st
from small_graphs import graph, value
from strategies_graphs import LENGTHS, graphs, inputs_for

from keramos import compile_model
from keramos.emit.precision import compared
from keramos.emit.weights import weights
from keramos.graph import Graph, Storage, apply, literal
from keramos.passes.round_weights import round_weights
from keramos.primitives import Contract
from keramos.runtime_min.vendored.tensors import read_tensors

STORAGES: tuple[Storage, ...] = ("float16", "uint8")
DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "digits.keras"


@pytest.mark.parametrize("storage", STORAGES)
@given(
    drawn=graphs(kinds=("conv", "contract", "gather", "scan", "map")), data=st.data()
)
def test_emitted_code_agrees_with_the_rounded_graph(
    storage: Storage, drawn: Graph, data: st.DataObject
) -> None:
    rounded = round_weights(drawn, storage, fewest=1, terms=1)
    length = data.draw(st.sampled_from(LENGTHS))
    inputs = inputs_for(rounded, 2, np.random.default_rng(0), length=length)

    actual = predict(rounded, inputs)

    assert_close(actual, rounded.evaluate(*inputs), tolerances(rounded, inputs))


@pytest.mark.parametrize("storage", STORAGES)
def test_weights_are_read_as_the_graph_has_them(
    storage: Storage, tmp_path: Path
) -> None:
    numbers = np.random.default_rng(0).standard_normal((40, 3, 20)) * 1e-3
    numbers[:, 1] = 0
    kernel = literal(numbers.astype(np.float32), name="kernel")
    product = graph(*apply(Contract((0,), (0,)), value(40), kernel))
    rounded = round_weights(product, storage, terms=1)
    (tmp_path / "weights").write_bytes(weights(rounded, {}))

    found = read_tensors(tmp_path / "weights").take("kernel", (40, 3, 20), np.float32)

    (constant,) = rounded.constants()
    assert constant.constant is not None
    assert np.array_equal(found, constant.constant.array())


@pytest.mark.parametrize(("storage", "most"), [("float16", 0.51), ("uint8", 0.26)])
def test_files_of_weights_shrink(storage: Storage, most: float, tmp_path: Path) -> None:
    sizes = [
        (compile_model(DIGITS, tmp_path, name=f"digits_{each}", weights=each).path)
        .joinpath("weights.safetensors")
        .stat()
        .st_size
        for each in ("float32", storage)
    ]

    assert sizes[1] < most * sizes[0]


@pytest.mark.parametrize("storage", STORAGES)
def test_the_manifest_has_the_measured_cost(storage: Storage, tmp_path: Path) -> None:
    package = compile_model(DIGITS, tmp_path, targets=("cpu",), weights=storage)

    stored = json.loads((package.path / "manifest.json").read_bytes())["precision"]

    (line,) = package.costs
    (cost,) = stored
    assert (cost["option"], cost["output"]) == (f"weights as {storage}", "dense_1")
    assert cost["largest"] > 0
    assert line.startswith(f"weights as {storage}: 'dense_1' differs by ")
    said = [float(text.rstrip(",")) for text in line.split() if "e-" in text]
    assert np.allclose(said, [cost["largest"], cost["relative"]], rtol=0.06)


@pytest.mark.parametrize(
    ("exact", "found", "largest", "relative"),
    [
        ([1.0, -2.0], [1.0, -2.5], 0.5, 0.25),
        ([0.0, 0.0], [0.0, 0.5], 0.5, 0.5),
        ([np.inf, np.nan, 2.0], [np.inf, np.nan, 2.0], 0.0, 0.0),
        ([np.inf, 2.0], [2.0, 2.0], np.inf, np.inf),
        ([np.nan, 2.0], [2.0, 2.0], np.inf, np.inf),
    ],
)
def test_differences_count_what_is_not_a_number(
    exact: list[float], found: list[float], largest: float, relative: float
) -> None:
    (cost,) = compared("", ["y"], [np.array(exact)], [np.array(found)])

    assert (cost.largest, cost.relative) == (largest, relative)
