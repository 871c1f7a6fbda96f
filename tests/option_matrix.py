"""Every option of every layer of Keras 3, with values worth trying.

What isn't here has no part in what a layer computes: IRRELEVANT says so by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from hypothesis import strategies as st
from interpreter.live_models import through_layer
from keras import layers

Values = Sequence[Any]
Options = Mapping[str, Values]

# Options of training, of making weights, and of Keras itself.
IRRELEVANT = frozenset(
    {"kwargs", "name", "dtype", "seed", "trainable", "autocast", "args", "noise_shape"}
    | {"dropout", "recurrent_dropout", "lora_rank", "lora_alpha", "momentum"}
    | {"quantization_config", "synchronized", "flash_attention", "activity_regularizer"}
    | {"implementation", "sparse", "rate", "stddev", "l1", "l2", "input_length"}
    | {"weights", "power_iterations", "renorm", "renorm_momentum", "renorm_clipping"}
    | {"unit_forget_bias", "use_cudnn", "gptq_unpacked_column_size"}
)
ENDINGS = ("_initializer", "_regularizer", "_constraint")
FLAG = (False, True)
BATCH = 2
FORMATS = ("channels_last", "channels_first")
FUNCTIONS = (None, "relu", "softmax", "hard_sigmoid")
# Nothing to draw: identities, and classes of which another test has all options.
ELSEWHERE = frozenset(
    {"Bidirectional", "TimeDistributed", "RNN", "StackedRNNCells"}  # recurrent tests
    | {"GRUCell", "LSTMCell", "SimpleRNNCell", "IntegerLookup", "SpectralNormalization"}
    | {"Normalization", "Masking", "ReversibleEmbedding", "AutoContrast"}
)


@dataclass(frozen=True, slots=True)
class Case:
    """The shapes of a layer's inputs, and what its options may be."""

    shapes: Sequence[Sequence[int]]
    options: Options = field(default_factory=dict)
    dtype: str = "float32"


def _space(rank: int) -> Sequence[Sequence[int]]:
    """Return the shape of one input with two channels, in either layout."""
    return [(*(6, 5, 4)[: rank - 1], 4, 4)]


def _convolution(rank: int, **more: Values) -> Case:
    """Return the options of a convolution."""
    options: dict[str, Values] = {
        "kernel_size": (1, 2, 3),
        "strides": (1, 2),
        "padding": ("valid", "same"),
        "data_format": FORMATS,
        "dilation_rate": (1, 2),
        "activation": FUNCTIONS,
        "use_bias": FLAG,
    }
    return Case(_space(rank), {**options, **more})


def _pooling(rank: int) -> Case:
    """Return the options of a pooling."""
    return Case(
        _space(rank),
        {
            "pool_size": (1, 2, 3),
            "strides": (None, 1, 2),
            "padding": ("valid", "same"),
            "data_format": FORMATS,
        },
    )


_DEPTHWISE: Options = {"depth_multiplier": (1, 2)}
_FILTERS: Options = {"filters": (2, 4)}
_CAUSAL: Options = {"padding": ("valid", "same", "causal")}
_GROUPS: Options = {"groups": (1, 2)}
_OUTPUT_PADDING: Options = {"output_padding": (None, 0, 1)}
_ADAPTIVE: Options = {"output_size": (1, 2, 3), "data_format": FORMATS}
_GLOBAL: Options = {"data_format": FORMATS, "keepdims": FLAG}
_RECURRENT: Options = {
    "units": (1, 3),
    "activation": ("tanh", "relu"),
    "use_bias": FLAG,
    "return_sequences": FLAG,
    "return_state": FLAG,
    "go_backwards": FLAG,
    "stateful": (False,),
    "unroll": FLAG,
}
_GATED: Options = {**_RECURRENT, "recurrent_activation": ("sigmoid", "hard_sigmoid")}
_FILM: Options = {
    **{name: _GATED[name] for name in _GATED if name not in ("units", "unroll")},
    "filters": (1, 2),
    "kernel_size": (1, 2),
    "strides": (1, 2),
    "padding": ("valid", "same"),
    "data_format": FORMATS,
    "dilation_rate": (1, 2),
}
_ATTENTION: Options = {"use_scale": FLAG}
_SCORED: Options = {**_ATTENTION, "score_mode": ("dot", "concat")}
_SEQUENCES = [(4, 6), (3, 6)]
_PAIR = [(4, 3), (4, 3)]
_ROW = [(4, 6)]
_IMAGE = [(6, 5, 3)]
_SIZED: Options = {"height": (2, 4, 7), "width": (3, 5, 6), "data_format": FORMATS}

MATRIX: Mapping[str, Case] = {
    "Activation": Case(_ROW, {"activation": FUNCTIONS[1:]}),
    "AdditiveAttention": Case(_SEQUENCES, _ATTENTION),
    "Attention": Case(_SEQUENCES, _SCORED),
    "BatchNormalization": Case(
        _IMAGE,
        {
            "axis": (-1, 1, 2),
            "epsilon": (1e-3, 0.1),
            "center": FLAG,
            "scale": FLAG,
        },
    ),
    "CategoryEncoding": Case(
        [(4,)],
        {"num_tokens": (4, 6), "output_mode": ("multi_hot", "one_hot", "count")},
        "int32",
    ),
    "CenterCrop": Case(_IMAGE, _SIZED),
    "Concatenate": Case(_PAIR, {"axis": (-1, 1, 2)}),
    "Dense": Case(_ROW, {"units": (1, 3), "activation": FUNCTIONS, "use_bias": FLAG}),
    "Discretization": Case(
        _ROW,
        {
            "bin_boundaries": ([-0.5, 0.5],),
            "num_bins": (None,),
            "epsilon": (0.01,),
            "output_mode": ("int", "multi_hot", "count"),
        },
    ),
    "Dot": Case([(4, 4), (4, 4)], {"axes": (1, 2, (1, 2)), "normalize": FLAG}),
    "EinsumDense": Case(
        _ROW,
        {
            "equation": ("abc,cd->abd",),
            "output_shape": ((None, 3),),
            "activation": FUNCTIONS,
            "bias_axes": (None, "d"),
        },
    ),
    "ELU": Case(_ROW, {"alpha": (1.0, 0.3)}),
    "Embedding": Case(
        [(4,)],
        {"input_dim": (6,), "output_dim": (1, 3), "mask_zero": FLAG},
        "int32",
    ),
    "Flatten": Case(_IMAGE, {"data_format": FORMATS}),
    "GroupNormalization": Case(
        [(4, 4, 4)],
        {
            "groups": (1, 2, -1),
            "axis": (-1, 1),
            "epsilon": (1e-3, 0.1),
            "center": FLAG,
            "scale": FLAG,
        },
    ),
    "GroupQueryAttention": Case(
        _SEQUENCES,
        {
            "head_dim": (2,),
            "num_query_heads": (4,),
            "num_key_value_heads": (1, 2),
            "sliding_window": (None, 1, 2),
            "use_bias": FLAG,
            "use_gate": FLAG,
        },
    ),
    "GRU": Case(_ROW, {**_GATED, "reset_after": FLAG}),
    "LayerNormalization": Case(
        _IMAGE,
        {
            "axis": (-1, 1, (1, 2)),
            "epsilon": (1e-3, 0.1),
            "center": FLAG,
            "scale": FLAG,
        },
    ),
    "LeakyReLU": Case(_ROW, {"negative_slope": (0.3, 0.0)}),
    "LSTM": Case(_ROW, {**_GATED}),
    "MelSpectrogram": Case(
        [(60,)],
        {
            "fft_length": (16,),
            "sequence_stride": (5,),
            "sequence_length": (None, 12),
            "window": ("hann", "hamming"),
            "sampling_rate": (16000,),
            "num_mel_bins": (3,),
            "min_freq": (300.0,),
            "max_freq": (None, 6000.0),
            "power_to_db": (False,),
            "top_db": (80.0,),
            "mag_exp": (1.0, 2.0),
            "min_power": (1e-10,),
            "ref_power": (1.0,),
        },
    ),
    "MultiHeadAttention": Case(
        _SEQUENCES,
        {
            "num_heads": (1, 2),
            "key_dim": (2,),
            "value_dim": (None, 3),
            "use_bias": FLAG,
            "output_shape": (None, 5),
            "attention_axes": (None,),
            "sliding_window": (None, 1, 2),
            "use_gate": FLAG,
        },
    ),
    "Permute": Case(_IMAGE, {"dims": ((1, 2, 3), (3, 1, 2), (2, 1, 3))}),
    "PReLU": Case(_IMAGE, {"shared_axes": (None, [1], [1, 2])}),
    "ReLU": Case(
        _ROW,
        {
            "max_value": (None, 1.0),
            "negative_slope": (0.0, 0.2),
            "threshold": (0.0, 0.3),
        },
    ),
    "RepeatVector": Case([(4,)], {"n": (1, 3)}),
    "Rescaling": Case(
        _IMAGE, {"scale": (2.0, [1.0, 2, 3]), "offset": (0.0, [0, 1, 2])}
    ),
    "Reshape": Case(_IMAGE, {"target_shape": ((-1, 3), (10, 9), (5, 6, 3))}),
    "Resizing": Case(
        _IMAGE,
        {
            **_SIZED,
            "interpolation": ("nearest", "bilinear", "bicubic", "lanczos3"),
            "crop_to_aspect_ratio": FLAG,
            "pad_to_aspect_ratio": FLAG,
            "fill_mode": ("constant",),
            "fill_value": (0.0, 0.5),
            "antialias": FLAG,
        },
    ),
    "RMSNormalization": Case(_IMAGE, {"axis": (-1, 3), "epsilon": (1e-6, 0.1)}),
    "SimpleRNN": Case(_ROW, _RECURRENT),
    "Softmax": Case(_IMAGE, {"axis": (-1, 1, (1, 2))}),
    "STFTSpectrogram": Case(
        [(40, 2)],
        {
            "mode": ("log", "magnitude", "psd", "real", "imag", "angle", "stft"),
            "frame_length": (8,),
            "frame_step": (None, 3),
            "fft_length": (None, 16),
            "window": ("hann", "hamming", None),
            "periodic": FLAG,
            "scaling": ("density", "spectrum", None),
            "padding": ("valid", "same"),
            "expand_dims": FLAG,
            "data_format": FORMATS,
        },
    ),
    "UnitNormalization": Case(_IMAGE, {"axis": (-1, 1, (1, 2))}),
    "UpSampling1D": Case(_ROW, {"size": (1, 3)}),
    "UpSampling2D": Case(
        _IMAGE,
        {
            "size": (1, 2, (2, 3)),
            "data_format": FORMATS,
            "interpolation": ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"),
        },
    ),
    "UpSampling3D": Case(_space(3), {"size": (1, 2), "data_format": FORMATS}),
    "Cropping1D": Case(_ROW, {"cropping": (1, (0, 2))}),
    "Cropping2D": Case(
        _IMAGE, {"cropping": (1, ((0, 1), (1, 0))), "data_format": FORMATS[:1]}
    ),
    "Cropping3D": Case(_space(3), {"cropping": (1,), "data_format": FORMATS}),
    "ZeroPadding1D": Case(_ROW, {"padding": (1, (0, 2)), "data_format": FORMATS}),
    "ZeroPadding2D": Case(
        _IMAGE, {"padding": (1, ((0, 1), (2, 0))), "data_format": FORMATS}
    ),
    "ZeroPadding3D": Case(_space(3), {"padding": (1,), "data_format": FORMATS}),
    "Conv1D": _convolution(1, **_FILTERS, **_CAUSAL, **_GROUPS),
    "Conv2D": _convolution(2, **_FILTERS, **_GROUPS),
    "Conv3D": _convolution(3, **_FILTERS, **_GROUPS),
    "Conv1DTranspose": _convolution(1, **_FILTERS, **_OUTPUT_PADDING),
    "Conv2DTranspose": _convolution(2, **_FILTERS, **_OUTPUT_PADDING),
    "Conv3DTranspose": _convolution(3, **_FILTERS, **_OUTPUT_PADDING),
    "DepthwiseConv1D": _convolution(1, **_DEPTHWISE),
    "DepthwiseConv2D": _convolution(2, **_DEPTHWISE),
    "SeparableConv1D": _convolution(1, **_FILTERS, **_DEPTHWISE),
    "SeparableConv2D": _convolution(2, **_FILTERS, **_DEPTHWISE),
    **{
        f"{kind}Pooling{rank}D": _pooling(rank)
        for kind in ("Average", "Max")
        for rank in (1, 2, 3)
    },
    **{
        f"Global{kind}Pooling{rank}D": Case(_space(rank), _GLOBAL)
        for kind in ("Average", "Max")
        for rank in (1, 2, 3)
    },
    **{
        f"Adaptive{kind}Pooling{rank}D": Case(_space(rank), _ADAPTIVE)
        for kind in ("Average", "Max")
        for rank in (1, 2, 3)
    },
    "ConvLSTM1D": Case([(3, 5, 2)], _FILM),
    "ConvLSTM2D": Case([(3, 4, 4, 2)], _FILM),
    "ConvLSTM3D": Case([(2, 3, 3, 3, 1)], _FILM),
    **{
        name: Case(_PAIR)
        for name in ("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract")
    },
}


def options_of(name: str) -> set[str]:
    """Return the options of a Keras layer that may matter."""
    made = getattr(layers, name)
    given = set(inspect.signature(made.__init__).parameters) - {"self"}
    return {each for each in given - IRRELEVANT if not each.endswith(ENDINGS)}


def drawn(data: st.DataObject, case: Case) -> dict[str, Any]:
    """Return one value for each option."""
    return {
        name: data.draw(st.sampled_from(values), label=name)
        for name, values in case.options.items()
    }


def model_of(name: str, options: dict[str, Any]) -> Any:  # noqa: ANN401 - Keras
    """Return a layer's model; reject what Keras itself doesn't take."""
    case = MATRIX[name]
    try:
        layer = getattr(layers, name)(**options)
        if name in ("GroupQueryAttention", "MultiHeadAttention"):
            query, value = (keras.Input(shape) for shape in case.shapes)
            model = keras.Model([query, value], layer(query, value))
        else:
            model = through_layer(layer, *case.shapes, dtype=case.dtype)
        given = inputs_for(name, seed=1)
        model(given if len(given) > 1 else given[0])
    except (ValueError, TypeError, NotImplementedError, ZeroDivisionError):
        return None
    return model


def inputs_for(name: str, seed: int) -> list[np.ndarray[Any, Any]]:
    """Return a batch."""
    rng = np.random.default_rng(seed)
    case = MATRIX[name]
    if case.dtype == "int32":
        return [rng.integers(0, 4, (BATCH, *shape)) for shape in case.shapes]
    return [
        rng.normal(size=(BATCH, *shape)).astype(np.float32) for shape in case.shapes
    ]
