"""TensorFlow's functions in graphs of tf.keras 2, against NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interpreter.live_models import hand_built_file
from numpy.typing import NDArray

from keramos.errors import CompileError
from keramos.graph import Graph
from keramos.importer import describe, import_model
from keramos.source import KerasFile, parse_model

Array = NDArray[Any]
X, Y = ["x", 0, 0], ["y", 0, 0]


def graph_of(
    function: str, arguments: Mapping[str, Any], *, pair: bool = False
) -> Graph:
    """Return the graph of a call with the tensor x, or with the list of x and y."""
    node = (
        [["x", 0, 0, arguments], ["y", 0, 0, arguments]]
        if pair
        else ["x", 0, 0, arguments]
    )
    layers: list[dict[str, Any]] = [
        {
            "class_name": "InputLayer",
            "name": name,
            "inbound_nodes": [],
            "config": {"name": name, "batch_input_shape": [None, 4, 3]},
        }
        for name in ("x", "y")
    ]
    layers.append(
        {
            "class_name": "TFOpLambda",
            "name": "f",
            "inbound_nodes": [node],
            "config": {"name": "f", "function": function},
        }
    )
    config = {
        "class_name": "Functional",
        "config": {
            "name": "m",
            "layers": layers,
            "input_layers": [X, Y],
            "output_layers": [["f", 0, 0]],
        },
    }
    file = KerasFile(
        path=Path("m.h5"),
        format="hdf5",
        keras_version="2.9.0",
        sha256="",
        model=parse_model(config),
        layer_weights=lambda _: (),
    )
    return import_model(file)


def softmax(x: Array) -> Array:
    shares: Array = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    return shares


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        ("math.add", {"y": Y, "name": None}, lambda x, y: x + y),
        ("__operators__.mul", {"y": 2.0, "name": None}, lambda x, _: x * 2),
        ("math.subtract", {"y": 1.0}, lambda x, _: x - 1),
        ("math.reduce_mean", {"axis": [1]}, lambda x, _: x.mean(1)),
        (
            "math.reduce_max",
            {"axis": -1, "keepdims": True},
            lambda x, _: x.max(-1)[..., None],
        ),
        ("nn.relu", {}, lambda x, _: np.maximum(x, 0)),
        ("nn.leaky_relu", {"alpha": 0.5}, lambda x, _: np.where(x > 0, x, x / 2)),
        ("nn.softmax", {}, lambda x, _: softmax(x)),
        (
            "clip_by_value",
            {"clip_value_min": 0, "clip_value_max": 0.5},
            lambda x, _: x.clip(0, 0.5),
        ),
        ("reshape", {"shape": [-1, 12]}, lambda x, _: x.reshape(-1, 12)),
        ("transpose", {"perm": [0, 2, 1]}, lambda x, _: x.transpose(0, 2, 1)),
        ("expand_dims", {"axis": 1}, lambda x, _: x[:, None]),
        ("tile", {"multiples": [1, 2, 1]}, lambda x, _: np.tile(x, (1, 2, 1))),
        (
            "linalg.matmul",
            {"b": Y, "transpose_b": True},
            lambda x, y: x @ y.transpose(0, 2, 1),
        ),
        ("compat.v1.gather", {"indices": [0, 2], "axis": 1}, lambda x, _: x[:, [0, 2]]),
        (
            "compat.v1.pad",
            {"paddings": [[0, 0], [1, 0], [0, 0]]},
            lambda x, _: np.pad(x, [(0, 0), (1, 0), (0, 0)]),
        ),
        ("math.squared_difference", {"y": Y}, lambda x, y: (x - y) ** 2),
        (
            "math.l2_normalize",
            {"axis": -1},
            lambda x, _: x / np.sqrt((x**2).sum(-1, keepdims=True)),
        ),
        ("cast", {"dtype": "int32"}, lambda x, _: np.trunc(x)),
        (
            "nn.bias_add",
            {"bias": [1.0, 2.0, 3.0]},
            lambda x, _: x + np.array([1, 2, 3]),
        ),
    ],
)
def test_functions_mean_what_tensorflow_says(
    function: str,
    arguments: Mapping[str, Any],
    expected: Callable[[Array, Array], Array],
) -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 2, 4, 3))

    (actual,) = graph_of(function, arguments).evaluate(x, y)

    assert np.abs(actual - expected(x, y)).max() < 1e-12


def test_concat_takes_a_list() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 2, 4, 3))

    (actual,) = graph_of("concat", {"axis": 1}, pair=True).evaluate(x, y)

    assert np.array_equal(actual, np.concatenate([x, y], 1))


def test_an_unknown_function_is_refused_by_name() -> None:
    with pytest.raises(CompileError) as caught:
        graph_of("signal.fft", {})

    assert str(caught.value) == (
        "m.h5: layer 'f' (TFOpLambda): calls TensorFlow's 'signal.fft', which Keramos "
        "doesn't know (put it into a layer of your own, and pass --custom FILE.py that "
        "defines it)"
    )


def test_a_function_across_the_batch_is_refused() -> None:
    with pytest.raises(CompileError) as caught:
        graph_of("math.reduce_mean", {"axis": [0]})

    assert str(caught.value) == (
        "m.h5: layer 'f' (TFOpLambda): can't be applied to inputs of (None, 4, 3): it "
        "works across the samples of a batch, which Keramos keeps apart"
    )


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        (
            {"op": "FFT"},
            (
                "calls TensorFlow's operation 'FFT', which Keramos doesn't know (put "
                "it into a layer of your own, and pass --custom FILE.py that defines "
                "it)"
            ),
        ),
        ("\x12\x99", "can't be read: its node_def isn't one of TensorFlow"),
        (
            {"op": "Cast"},
            "can't be applied to inputs of (None, 3): its node lacks something: 'DstT'",
        ),
    ],
)
def test_a_node_that_makes_no_sense_is_refused(node: object, problem: str) -> None:
    config = {"node_def": node, "constants": {}}
    file = hand_built_file("TensorFlowOpLayer", config, (3,), keras_version="2.3.0")

    problems = [str(each) for each in describe(file).problems]

    assert problems == [f"made.h5: layer 'tested' (TensorFlowOpLayer): {problem}"]
