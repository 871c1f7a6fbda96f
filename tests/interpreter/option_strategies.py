"""What Hypothesis draws for the options of Keras' layers."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

DATA_FORMATS = st.sampled_from(["channels_last", "channels_first"])
BOOLEANS = st.booleans()
SEEDS = st.integers(0, 99)
MULTIPLIERS = st.integers(1, 3)

# Building a Keras model takes a tenth of a second: properties get fewer examples.
HALF = settings(max_examples=max(settings.default.max_examples // 2, 1))  # type: ignore[union-attr]
FEWER = settings(max_examples=max(settings.default.max_examples // 4, 1))  # type: ignore[union-attr]

ACTIVATIONS = (
    "celu",
    "elu",
    "exponential",
    "gelu",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "swish",
    "tanh",
    "tanh_shrink",
)
FEW_ACTIVATIONS = st.sampled_from([None, "relu", "softmax", "hard_sigmoid"])


def sizes(rank: int, low: int, high: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Return one number for each of *rank* axes."""
    return st.tuples(*[st.integers(low, high)] * rank)


def spacing(rank: int) -> st.SearchStrategy[dict[str, Any]]:
    """Return strides or dilations: Keras refuses both at once."""
    return st.one_of(
        st.fixed_dictionaries({"strides": sizes(rank, 1, 3)}),
        st.fixed_dictionaries({"dilation_rate": sizes(rank, 1, 3)}),
    )


def paddings(rank: int) -> st.SearchStrategy[str]:
    """Return the paddings of a convolution: only signals can be causal."""
    return st.sampled_from(["valid", "same", *["causal"][: int(rank == 1)]])


def image_shape(rank: int, channels: int, data_format: str) -> tuple[int, ...]:
    """Return the shape of a sample: 9, 8, 7 elements along its axes."""
    space = (9, 8, 7)[:rank]
    return (channels, *space) if data_format == "channels_first" else (*space, channels)
