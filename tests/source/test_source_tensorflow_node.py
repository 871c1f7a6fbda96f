"""Nodes of TensorFlow's graphs, as JSON and as the bytes that TensorFlow wrote."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keramos.source import NodeDefinition, parse_node

# What TensorFlow 2.15 gave for node_def.SerializeToString().decode().
MEAN = (
    "\n\x04Mean\x12\x04Mean\x1a\x01x\x1a\x16Mean/reduction_indices"
    "*\x0f\n\tkeep_dims\x12\x02(\x01*\n\n\x04Tidx\x12\x020\x03*\x07\n\x01T\x12\x020\x01"
)
SQUEEZE = (
    "\n\x07Squeeze\x12\x07Squeeze\x1a\x01x*\x15\n\x0csqueeze_dims\x12\x05\n\x03\x1a\x01"
    "\x01*\x07\n\x01T\x12\x020\x01"
)
CAST = (
    "\n\x04Cast\x12\x04Cast\x1a\x07Greater*\x0e\n\x08Truncate\x12\x02(\x00"
    "*\n\n\x04DstT\x12\x020\x03*\n\n\x04SrcT\x12\x020\n"
)
BIAS = (
    "\n\x07BiasAdd\x12\x07BiasAdd\x1a\x05zeros\x1a\x07zeros_1*\x07\n\x01T\x12\x020\x01"
    "*\x15\n\x0bdata_format\x12\x06\x12\x04NHWC"
)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (
            MEAN,
            NodeDefinition(
                "Mean", {"keep_dims": True, "Tidx": "int32", "T": "float32"}
            ),
        ),
        (SQUEEZE, NodeDefinition("Squeeze", {"squeeze_dims": [1], "T": "float32"})),
        (
            CAST,
            NodeDefinition(
                "Cast", {"Truncate": False, "DstT": "int32", "SrcT": "bool"}
            ),
        ),
        (BIAS, NodeDefinition("BiasAdd", {"T": "float32", "data_format": "NHWC"})),
        (
            {"op": "Mean", "attr": {"keep_dims": {"b": True}, "n": {"i": "2"}}},
            NodeDefinition("Mean", {"keep_dims": True, "n": 2}),
        ),
        (
            {"op": "BiasAdd", "attr": {"data_format": {"s": "TkhXQw=="}}},
            NodeDefinition("BiasAdd", {"data_format": "NHWC"}),
        ),
        (
            {"op": "Cast", "attr": {"DstT": {"type": "DT_HALF"}}},
            NodeDefinition("Cast", {"DstT": "float16"}),
        ),
    ],
)
def test_both_forms_of_a_node_are_read(
    stated: object, expected: NodeDefinition
) -> None:
    assert parse_node(stated) == expected


@pytest.mark.parametrize("stated", [None, 3, "", [], {}, {"op": 1}, MEAN[:-3]])
def test_what_is_no_node_is_a_value_error(stated: object) -> None:
    with pytest.raises(ValueError, match="node_def"):
        parse_node(stated)


@given(text=st.text(max_size=60), cut=st.integers(0, len(MEAN)))
def test_no_string_does_more_than_raise_a_value_error(text: str, cut: int) -> None:
    with contextlib.suppress(ValueError):
        parse_node(MEAN[:cut] + text)
