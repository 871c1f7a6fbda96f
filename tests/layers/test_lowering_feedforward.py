"""Feed-forward layers, lowered, against Keras with options drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import layers
from lowering_oracle import TOLERANCE, disagreement, model_of

FEW = settings(max_examples=12)
ACTIVATIONS = [
    name
    for names in (
        "celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_tanh",
        "leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu",
        "soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax",
        "squareplus tanh tanh_shrink",
    )
    for name in names.split()
]
BY_RANK = {
    "Conv": {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D},
    "Transpose": {
        1: layers.Conv1DTranspose,
        2: layers.Conv2DTranspose,
        3: layers.Conv3DTranspose,
    },
    "Max": {1: layers.MaxPooling1D, 2: layers.MaxPooling2D, 3: layers.MaxPooling3D},
    "Average": {
        1: layers.AveragePooling1D,
        2: layers.AveragePooling2D,
        3: layers.AveragePooling3D,
    },
    "GlobalMax": {
        1: layers.GlobalMaxPooling1D,
        2: layers.GlobalMaxPooling2D,
        3: layers.GlobalMaxPooling3D,
    },
    "GlobalAverage": {
        1: layers.GlobalAveragePooling1D,
        2: layers.GlobalAveragePooling2D,
        3: layers.GlobalAveragePooling3D,
    },
    "Padding": {
        1: layers.ZeroPadding1D,
        2: layers.ZeroPadding2D,
        3: layers.ZeroPadding3D,
    },
    "Cropping": {1: layers.Cropping1D, 2: layers.Cropping2D, 3: layers.Cropping3D},
    "UpSampling": {
        1: layers.UpSampling1D,
        2: layers.UpSampling2D,
        3: layers.UpSampling3D,
    },
}
SIZES = {1: (9,), 2: (7, 6), 3: (5, 4, 5)}


def per_axis(rank: int, low: int, high: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(low, high)] * rank)


def shape_of(
    rank: int, *, free: bool, first: bool, channels: int = 4
) -> Any:  # noqa: ANN401
    sizes: tuple[int | None, ...] = (None,) * rank if free else SIZES[rank]
    return (channels, *sizes) if first else (*sizes, channels)


LAYOUT = st.sampled_from(["channels_last", "channels_last", "channels_first"])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_agrees_with_keras(name: str) -> None:
    model = model_of(layers.Activation(name), (4, 6))

    assert disagreement(model) < TOLERANCE


@FEW
@given(
    rank=st.integers(1, 3),
    groups=st.sampled_from([1, 1, 2]),
    padding=st.sampled_from(["valid", "same", "causal"]),
    strided=st.booleans(),
    layout=LAYOUT,
    free=st.booleans(),
    bias=st.booleans(),
    data=st.data(),
)
def test_convolutions_agree_with_keras(  # noqa: PLR0913 - drawn options
    *,
    rank: int,
    groups: int,
    padding: str,
    strided: bool,
    layout: str,
    free: bool,
    bias: bool,
    data: st.DataObject,
) -> None:
    assume(padding != "causal" or (rank == 1 and layout == "channels_last"))
    steps = data.draw(per_axis(rank, 1, 3))
    layer = BY_RANK["Conv"][rank](
        6,
        data.draw(per_axis(rank, 1, 3)),
        strides=steps if strided else 1,
        dilation_rate=1 if strided else steps,
        padding=padding,
        groups=groups,
        data_format=layout,
        use_bias=bias,
        activation="relu",
    )
    shape = shape_of(rank, free=free, first=layout == "channels_first")

    model = model_of(layer, shape)
    arrays = None
    if free:
        # Windows of 3 with a dilation of 3 need 7.
        arrays = [drawn_input((2, *shape), free=8)]

    assert disagreement(model, arrays) < TOLERANCE


def drawn_input(shape: tuple[int | None, ...], *, free: int) -> Any:  # noqa: ANN401
    size = tuple(free if d is None else d for d in shape)
    return np.random.default_rng(1).normal(size=size).astype(np.float32)


@FEW
@given(
    rank=st.integers(1, 2),
    separable=st.booleans(),
    multiplier=st.integers(1, 3),
    padding=st.sampled_from(["valid", "same"]),
    stride=st.integers(1, 3),
    layout=LAYOUT,
    size=st.integers(1, 3),
)
def test_depthwise_convolutions_agree_with_keras(  # noqa: PLR0913 - drawn options
    *,
    rank: int,
    separable: bool,
    multiplier: int,
    padding: str,
    stride: int,
    layout: str,
    size: int,
) -> None:
    options = {
        "strides": stride,
        "padding": padding,
        "depth_multiplier": multiplier,
        "data_format": layout,
    }
    depthwise = [layers.DepthwiseConv1D, layers.DepthwiseConv2D][rank - 1]
    both = [layers.SeparableConv1D, layers.SeparableConv2D][rank - 1]
    layer = both(5, size, **options) if separable else depthwise(size, **options)

    model = model_of(
        layer, shape_of(rank, free=False, first=layout == "channels_first")
    )

    assert disagreement(model) < TOLERANCE


@settings(max_examples=25)
@given(
    rank=st.integers(1, 3),
    size=st.integers(1, 4),
    padding=st.sampled_from(["valid", "same"]),
    stride=st.integers(1, 3),
    extra=st.sampled_from([None, 0, 1]),
    layout=LAYOUT,
)
def test_transposed_convolutions_agree_with_keras(  # noqa: PLR0913 - drawn options
    *, rank: int, size: int, padding: str, stride: int, extra: int | None, layout: str
) -> None:
    assume(extra is None or extra < stride)
    layer = BY_RANK["Transpose"][rank](
        3,
        size,
        strides=stride,
        padding=padding,
        output_padding=extra,
        data_format=layout,
    )

    model = model_of(
        layer, shape_of(rank, free=False, first=layout == "channels_first")
    )

    assert disagreement(model) < TOLERANCE


@FEW
@given(
    kind=st.sampled_from(["Max", "Average"]),
    rank=st.integers(1, 3),
    size=st.integers(1, 3),
    stride=st.sampled_from([None, 1, 2, 3]),
    padding=st.sampled_from(["valid", "same"]),
    layout=LAYOUT,
    free=st.booleans(),
)
def test_pooling_agrees_with_keras(  # noqa: PLR0913 - drawn options
    *,
    kind: str,
    rank: int,
    size: int,
    stride: int | None,
    padding: str,
    layout: str,
    free: bool,
) -> None:
    layer = BY_RANK[kind][rank](size, stride, padding, data_format=layout)

    model = model_of(layer, shape_of(rank, free=free, first=layout == "channels_first"))

    assert disagreement(model) < TOLERANCE


@FEW
@given(
    kind=st.sampled_from(["GlobalMax", "GlobalAverage"]),
    rank=st.integers(1, 3),
    keepdims=st.booleans(),
    layout=LAYOUT,
)
def test_global_pooling_agrees_with_keras(
    *, kind: str, rank: int, keepdims: bool, layout: str
) -> None:
    layer = BY_RANK[kind][rank](data_format=layout, keepdims=keepdims)

    model = model_of(layer, shape_of(rank, free=True, first=layout == "channels_first"))

    assert disagreement(model) < TOLERANCE


def test_channels_first_pooling_in_a_channels_last_net_pools_width_and_channels() -> (
    None
):
    model = model_of(layers.MaxPooling2D(2, data_format="channels_first"), (7, 6, 4))

    assert disagreement(model) < TOLERANCE


@FEW
@given(
    rank=st.integers(1, 3),
    kind=st.sampled_from(["Padding", "Cropping"]),
    layout=LAYOUT,
    free=st.booleans(),
    data=st.data(),
)
def test_borders_agree_with_keras(
    *, rank: int, kind: str, layout: str, free: bool, data: st.DataObject
) -> None:
    pair = st.tuples(st.integers(0, 2), st.integers(0, 1))
    borders = data.draw(st.tuples(*[pair] * rank))
    layer = BY_RANK[kind][rank](
        borders[0] if rank == 1 else borders,
        **({} if rank == 1 else {"data_format": layout}),
    )
    first = rank > 1 and layout == "channels_first"

    model = model_of(layer, shape_of(rank, free=free, first=first))

    assert disagreement(model) < TOLERANCE


@FEW
@given(
    rank=st.integers(1, 3),
    method=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"]),
    free=st.booleans(),
    data=st.data(),
)
def test_upsampling_agrees_with_keras(
    *, rank: int, method: str, free: bool, data: st.DataObject
) -> None:
    size = data.draw(per_axis(rank, 1, 3))
    options = {"interpolation": method} if rank == 2 else {}
    layer = BY_RANK["UpSampling"][rank](size[0] if rank == 1 else size, **options)

    model = model_of(layer, shape_of(rank, free=free, first=False))

    assert disagreement(model) < TOLERANCE


@FEW
@given(
    axis=st.sampled_from([-1, 1, 2]),
    scale=st.booleans(),
    center=st.booleans(),
    epsilon=st.sampled_from([1e-3, 0.1]),
)
def test_batch_normalization_agrees_with_keras(
    *, axis: int, scale: bool, center: bool, epsilon: float
) -> None:
    layer = layers.BatchNormalization(
        axis=axis, scale=scale, center=center, epsilon=epsilon
    )

    model = model_of(layer, (4, 5, 6))

    assert disagreement(model) < TOLERANCE


@FEW
@given(
    slope=st.sampled_from([0.0, 0.2]),
    threshold=st.sampled_from([0.0, 0.3]),
    highest=st.sampled_from([None, 1.0, 6.0]),
)
def test_relu_agrees_with_keras(
    *, slope: float, threshold: float, highest: float | None
) -> None:
    layer = layers.ReLU(negative_slope=slope, threshold=threshold, max_value=highest)

    assert disagreement(model_of(layer, (4, 5))) < TOLERANCE


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Dense(5, activation="relu"), (None, 4)),
        (layers.Dense(5, use_bias=False), (4,)),
        (layers.LeakyReLU(0.1), (4,)),
        (layers.ELU(0.7), (4,)),
        (layers.PReLU(), (4, 3)),
        (layers.PReLU(shared_axes=[1]), (None, 3)),
        (layers.Softmax(axis=1), (4, 3)),
        (layers.Softmax(axis=(1, 3)), (4, 3, 2)),
        (layers.Flatten(), (None, 3)),
        (layers.Flatten(data_format="channels_first"), (4, 3, 2)),
        (layers.Reshape((2, -1)), (4, 3)),
        (layers.Reshape((-1, 6)), (None, 6)),
        (layers.Permute((2, 1, 3)), (4, 3, 2)),
        (layers.RepeatVector(3), (4,)),
        (layers.RepeatVector(3), (None,)),
        (layers.Dropout(0.5), (4,)),
        (layers.GaussianNoise(0.5), (4,)),
        (layers.Rescaling(1 / 127.5, -1), (4, 3)),
        (layers.Rescaling([1.0, 2.0, 3.0], [0.1, 0.2, 0.3]), (4, 3)),
        (layers.Normalization(), (4, 3)),
        (layers.Normalization(axis=(1, 2)), (4, 3)),
        (layers.Normalization(axis=None), (4, 3)),
        (layers.Normalization(mean=[1.0, 2.0], variance=[1.0, 4.0]), (4, 2)),
        (layers.Normalization(mean=1.0, variance=2.0, invert=True), (4, 3)),
    ],
    ids=lambda each: "" if isinstance(each, tuple) else each.name,
)
def test_small_layers_agree_with_keras(
    layer: Any, shape: tuple[int | None, ...]  # noqa: ANN401
) -> None:
    assert disagreement(model_of(layer, shape)) < TOLERANCE


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_embedding_takes_whole_numbers_of_either_type(dtype: str) -> None:
    model = model_of(layers.Embedding(5, 3), (None,), dtype=dtype)

    assert disagreement(model) < TOLERANCE


@pytest.mark.parametrize(
    "merge",
    [layers.Add, layers.Multiply, layers.Average, layers.Maximum, layers.Minimum],
)
def test_merges_broadcast_like_keras(merge: Any) -> None:  # noqa: ANN401
    model = model_of(merge(), (4, 3), (1, 3), (3,))

    assert disagreement(model) < TOLERANCE


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (layers.Subtract(), [(4, 3), (1, 3)]),
        (layers.Concatenate(), [(4, 3), (4, 2)]),
        (layers.Concatenate(axis=1), [(None, 3), (2, 3)]),
        (layers.Dot(axes=1), [(4,), (4,)]),
        (layers.Dot(axes=(2, 1)), [(3, 4), (4, 5)]),
        (layers.Dot(axes=-1, normalize=True), [(3, 4), (5, 4)]),
        (layers.Dot(axes=(1, 2)), [(4,), (3, 4)]),
        (layers.Dot(axes=(2, 3)), [(2, 4, 3), (2, 3, 4)]),
    ],
)
def test_joints_and_products_agree_with_keras(
    layer: Any, shapes: list[tuple[int | None, ...]]  # noqa: ANN401
) -> None:
    assert disagreement(model_of(layer, *shapes)) < TOLERANCE


# jax has float64 by a switch only.
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64")
@pytest.mark.parametrize(
    ("policy", "tolerance"),
    [("float64", TOLERANCE), ("mixed_float16", 4e-3), ("mixed_bfloat16", 4e-2)],
)
def test_other_precisions_are_computed_in_float32(
    policy: str, tolerance: float
) -> None:
    model = model_of(layers.Conv2D(4, 3, activation="relu", dtype=policy), (6, 5, 3))

    assert disagreement(model) < tolerance
