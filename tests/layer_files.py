"""A file for every layer class that is read, with options drawn from what matters.

Classes of the installed Keras are made by it, with the options of option_matrix.py.
What other versions wrote, and what Keras can't make alone, is stated here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from interpreter.live_models import fill_weights, hand_built_file, live_file
from interpreter.live_models import through_layer as through
from keras import layers
from keras.src.applications.convnext import LayerScale, StochasticDepth
from keras.src.applications.inception_resnet_v2 import CustomScaleLayer
from option_matrix import MATRIX, drawn, model_of

from keramos.layers.identity import Identity
from keramos.layers.images import Augmentation
from keramos.layers.registry import LAYERS
from keramos.source import KerasFile

Shape = tuple[int, ...]
Makers = Sequence[Callable[[], keras.Model]]


@dataclass(frozen=True, slots=True)
class Written:
    """One layer as a file has it, and the shapes of its weights."""

    config: Mapping[str, Any]
    shape: Shape
    weights: Sequence[Shape] = ()
    version: str = "3.10.0"
    dtype: str = "float32"


# Names of other versions for classes of this one.
RENAMED = {
    "BatchNormalizationV1": "BatchNormalization",
    "Deconvolution2D": "Conv2DTranspose",
    "GroupedQueryAttention": "GroupQueryAttention",
    "SyncBatchNormalization": "BatchNormalization",
}
ROW, IMAGE = (4, 6), (6, 5, 3)
_CROP = {"height": 3, "width": 2}
_LOOKUP = {"vocabulary": [1, 3, 2, 0], "num_oov_indices": 1}
_MAXOUT = {"output_dim": 3, "nb_feature": 4}
_LOCAL = {"filters": 3, "strides": 2}
_WINDOWS = {**_LOCAL, "kernel_size": [2, 3], "strides": [2, 1]}
WRITTEN: Mapping[str, Sequence[Written]] = {
    "AddLoss": [Written({}, ROW)],
    "AddMetric": [Written({}, ROW)],
    "Highway": [
        Written({"activation": kind}, (5,), [(5, 5), (5, 5), (5,), (5,)], "1.2.2")
        for kind in ("linear", "tanh")
    ],
    "IntegerLookup": [
        Written({**_LOOKUP, **more}, (4,), dtype="int64")
        for more in (
            {},
            {"mask_token": 0},
            {"output_mode": "multi_hot"},
            {"output_mode": "count"},
            {"num_oov_indices": 3},
            {"invert": True},
        )
    ],
    "LocallyConnected1D": [
        Written({**_LOCAL, "kernel_size": 3}, (7, 2), [(3, 6, 3), (3, 3)], "2.15.0"),
        Written(
            {**_LOCAL, "kernel_size": 2, "use_bias": False},
            (7, 2),
            [(3, 4, 3)],
            "2.15.0",
        ),
    ],
    "LocallyConnected2D": [
        Written(
            {**_WINDOWS, "data_format": order},
            shape,
            [(15, 24, 3), (3, 5, 3)],
            "2.15.0",
        )
        for order, shape in (("channels_last", (6, 7, 4)),)
    ],
    "MaxoutDense": [
        Written(_MAXOUT, (5,), [(4, 5, 3), (4, 3)], "1.2.2"),
        Written({**_MAXOUT, "bias": False}, (5,), [(4, 5, 3)], "1.2.2"),
    ],
    "RandomCrop": [Written(_CROP, IMAGE, version=v) for v in ("2.15.0", "3.10.0")],
    "RandomFourierFeatures": [
        Written({"output_dim": 3}, (5,), [(1,), (5, 3), (3,)], "2.15.0")
    ],
    "TernaryDense": [
        Written({"units": 3, "threshold": limit}, ROW, [(6, 3), (3,)])
        for limit in (None, 0.3)
    ],
    "ThresholdedReLU": [
        Written({"theta": theta}, ROW, version="2.15.0") for theta in (0.0, 0.5)
    ],
}


def _one(make: Callable[[], keras.Layer], shape: Shape) -> Callable[[], keras.Model]:
    """Return what makes the model of one layer."""
    return lambda: through(make(), shape)


def _masked(value: float) -> keras.Model:
    """Return a model in which about half of the steps are masked."""
    x = keras.Input((5, 1))
    steps = layers.Masking(value)(layers.ReLU(threshold=0.0)(x) + value)
    return keras.Model(x, layers.LSTM(2, return_sequences=True)(steps))


def _tied(**options: Any) -> keras.Model:  # noqa: ANN401 - options of Keras
    """Return a model that looks words up, and back again."""
    x = keras.Input((4,), dtype="int32")
    table = layers.ReversibleEmbedding(6, 3, **options)
    return keras.Model(x, table(table(x), reverse=True))


def _normalised(**options: Any) -> keras.Model:  # noqa: ANN401 - options of Keras
    """Return a model of a normalisation with known statistics."""
    known = {"mean": [0.0, 1.0, 2.0], "variance": [1.0, 2.0, 3.0]}
    return through(layers.Normalization(**known, **options), IMAGE)


def _scaled(factor: float) -> keras.Model:
    """Return a model that adds a part of its second input to the first."""
    inputs = [keras.Input(ROW), keras.Input(ROW)]
    return keras.Model(inputs, CustomScaleLayer(factor)(inputs))


def _cells() -> list[keras.Layer]:
    """Return a cell of each kind."""
    return [layers.LSTMCell(2), layers.GRUCell(3), layers.SimpleRNNCell(2)]


def _recurrent(cell: Callable[[], Any]) -> Makers:
    """Return models of a cell, in both directions."""
    return [
        _one(lambda: layers.RNN(cell()), ROW),
        _one(lambda: layers.RNN(cell(), return_sequences=True), ROW),
        _one(lambda: layers.RNN(cell(), return_state=True, go_backwards=True), ROW),
    ]


MADE: Mapping[str, Makers] = {
    "AutoContrast": [
        _one(lambda: layers.AutoContrast(value_range=(-1, 1)), IMAGE),
        _one(lambda: layers.AutoContrast(value_range=(0, 255)), IMAGE),
    ],
    "Bidirectional": [
        _one(lambda: layers.Bidirectional(layers.LSTM(2)), ROW),
        _one(lambda: layers.Bidirectional(layers.GRU(2), merge_mode="mul"), ROW),
        _one(lambda: layers.Bidirectional(layers.GRU(2), merge_mode="ave"), ROW),
        _one(
            lambda: layers.Bidirectional(
                layers.SimpleRNN(3, return_sequences=True), merge_mode="sum"
            ),
            ROW,
        ),
        _one(lambda: layers.Bidirectional(layers.LSTM(2), merge_mode=None), ROW),
    ],
    "CustomScaleLayer": [lambda: _scaled(0.17), lambda: _scaled(2.0)],
    "GRUCell": [
        *_recurrent(lambda: layers.GRUCell(3)),
        *_recurrent(lambda: layers.GRUCell(2, reset_after=False, use_bias=False)),
    ],
    "LayerScale": [_one(lambda: LayerScale(0.1, 3), IMAGE)],
    "LSTMCell": [
        *_recurrent(lambda: layers.LSTMCell(3)),
        *_recurrent(lambda: layers.LSTMCell(2, activation="relu", use_bias=False)),
    ],
    "Masking": [lambda: _masked(0.0), lambda: _masked(0.5)],
    "Normalization": [
        _normalised,
        lambda: _normalised(invert=True),
        _one(lambda: layers.Normalization(axis=None, mean=1.0, variance=2.0), ROW),
    ],
    "ReversibleEmbedding": [
        _tied,
        lambda: _tied(tie_weights=False),
        lambda: _tied(reverse_dtype="float32", logit_soft_cap=2.0),
    ],
    "RNN": _recurrent(_cells),
    "SimpleRNNCell": [
        *_recurrent(lambda: layers.SimpleRNNCell(3)),
        *_recurrent(lambda: layers.SimpleRNNCell(2, "relu", use_bias=False)),
    ],
    "SpectralNormalization": [
        _one(lambda: layers.SpectralNormalization(layers.Dense(3)), ROW),
        _one(lambda: layers.SpectralNormalization(layers.Conv2D(2, 3)), IMAGE),
    ],
    "StackedRNNCells": _recurrent(lambda: layers.StackedRNNCells(_cells())),
    "StochasticDepth": [_one(lambda: StochasticDepth(0.5), IMAGE)],
    "TimeDistributed": [
        _one(lambda: layers.TimeDistributed(layers.Dense(3)), ROW),
        _one(lambda: layers.TimeDistributed(layers.Conv2D(3, 2)), (3, *IMAGE)),
        _one(lambda: layers.TimeDistributed(layers.MaxPooling2D(2)), (3, *IMAGE)),
        _one(lambda: layers.TimeDistributed(layers.Flatten()), (3, *IMAGE)),
        _one(lambda: layers.TimeDistributed(layers.Conv3D(2, 2)), (2, 3, 3, 3, 4)),
        _one(lambda: layers.TimeDistributed(layers.LSTM(2)), (3, *ROW)),
        _one(
            lambda: layers.TimeDistributed(layers.TimeDistributed(layers.Conv2D(2, 2))),
            (2, 2, 3, 3, 2),
        ),
    ],
}


def is_drawn(name: str) -> bool:
    """Return whether there are files of the class *name* to draw."""
    plain = LAYERS[name] in (Augmentation, Identity)
    return plain or name in {**MADE, **WRITTEN} or _known(name) in MATRIX


def drawn_file(name: str, data: st.DataObject) -> KerasFile:
    """Return a file with a layer of the class *name*, rejecting what can't be."""
    known = _known(name)
    if known in MATRIX:
        model = model_of(known, drawn(data, MATRIX[known]))
        assume(model is not None)
        return _renamed(_live(model), name)
    if name in MADE:
        return _live(data.draw(st.sampled_from(MADE[name]))())
    if name in WRITTEN:
        return _stated(name, data.draw(st.sampled_from(WRITTEN[name])))
    if not is_drawn(name):
        raise KeyError(name)
    return _stated(name, Written({}, IMAGE))


def _live(model: keras.Model) -> KerasFile:
    fill_weights(model, 0)
    return live_file(model)


def _known(name: str) -> str:
    """Return what the matrix calls the class *name*, which may be an alias."""
    if name in MATRIX:
        return name
    return RENAMED.get(name) or getattr(layers, name, keras.Layer).__name__


def _renamed(file: KerasFile, name: str) -> KerasFile:
    """Return *file* with *name* as the class of its only layer but inputs."""
    config = tuple(
        each if each.class_name == "InputLayer" else replace(each, class_name=name)
        for each in file.model.layers
    )
    return replace(file, model=replace(file.model, layers=config))


def _stated(name: str, layer: Written) -> KerasFile:
    rng = np.random.default_rng(0)
    file = hand_built_file(
        name,
        dict(layer.config),
        layer.shape,
        keras_version=layer.version,
        weights=[
            rng.normal(0, 0.5, shape).astype(np.float32) for shape in layer.weights
        ],
    )
    given, tested = file.model.layers
    typed = replace(given, config={**given.config, "dtype": layer.dtype})
    return replace(file, model=replace(file.model, layers=(typed, tested)))
