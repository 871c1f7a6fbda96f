"""Every family of layers in one model, and what is refused: README's table.

Layers that Keras 3 can't make, or not without TensorFlow, are in the files of older
versions that tests/test_keras2.py reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import keras
from keras import layers

# Keras is untyped.
Tensor = Any
Model = Any

STEPS = 4
WORDS = 6
Outputs = Sequence[Tensor]


def _image(channels: int = 4) -> Tensor:
    return keras.Input((6, 5, channels))


def _sequence(features: int = 4) -> Tensor:
    return keras.Input((STEPS, features))


def _words() -> Tensor:
    return keras.Input((STEPS,), dtype="int32")


def _each(x: Tensor, *made: Any) -> Model:  # noqa: ANN401 - layers
    """Return the model that applies several layers to one input."""
    return keras.Model(x, [layer(x) for layer in made])


def _ranks(name: str, *args: Any, **options: Any) -> Model:  # noqa: ANN401 - options
    """Return a model of a layer's variants for one, two and three axes of space."""
    inputs = [keras.Input((*(5, 4, 6)[:rank], 4)) for rank in (1, 2, 3)]
    known = [
        (x, getattr(layers, f"{name}{rank}D"))
        for rank, x in enumerate(inputs, 1)
        if hasattr(layers, f"{name}{rank}D")
    ]
    outputs = [made(*args, **options)(x) for x, made in known]
    return keras.Model([x for x, _ in known], outputs)


def _activations() -> Model:
    return _each(
        _sequence(),
        layers.Activation("gelu"),
        layers.ELU(),
        layers.LeakyReLU(),
        layers.PReLU(),
        layers.ReLU(6.0),
        layers.Softmax(),
    )


def _attention() -> Model:
    q, v = _sequence(), keras.Input((3, 4))
    return keras.Model(
        [q, v],
        [
            layers.AdditiveAttention()([q, v]),
            layers.Attention(score_mode="concat")([q, v]),
            layers.GroupQueryAttention(3, 4, 2)(q, v),
            layers.MultiHeadAttention(2, 3)(q, v),
        ],
    )


def _categories() -> Model:
    numbers, x = _words(), keras.Input((3,))
    return keras.Model(
        [numbers, x],
        [
            layers.CategoryEncoding(4, "multi_hot")(numbers),
            layers.Discretization([-0.5, 0.5])(x),
        ],
    )


def _embedding() -> Model:
    x, steps = _words(), _sequence()
    table = layers.ReversibleEmbedding(WORDS, 3)
    return keras.Model(
        [x, steps],
        [
            layers.Embedding(WORDS, 3)(x),
            table(table(x), reverse=True),
            layers.SimpleRNN(2)(layers.Masking()(steps)),
        ],
    )


def _identity() -> Model:
    names = ("Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise")
    made = [getattr(layers, name)(0.5) for name in names]
    x = _sequence()
    return _each(x, layers.Identity(), layers.ActivityRegularization(), *made)


def _images() -> Model:
    return _each(
        _image(3),
        layers.AutoContrast(value_range=(-1, 1)),
        layers.CenterCrop(3, 2),
        layers.RandomCrop(3, 3),
        layers.RandomFlip(),
        layers.Resizing(4, 7, "bicubic"),
    )


def _merging() -> Model:
    a, b = _sequence(), _sequence()
    names = ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply")
    made = [getattr(layers, name)() for name in (*names, "Subtract")]
    return keras.Model([a, b], [each([a, b]) for each in (*made, layers.Dot(2))])


def _normalization() -> Model:
    return _each(
        _image(),
        layers.GroupNormalization(2),
        layers.LayerNormalization(),
        layers.RMSNormalization(),
        layers.SpectralNormalization(layers.Dense(3)),
        layers.UnitNormalization(),
    )


def _pooling() -> Model:
    x = _image()
    return _each(
        x,
        *(
            made(2, padding=padding)
            for made, padding in product(
                (layers.AveragePooling2D, layers.MaxPooling2D), ("valid", "same")
            )
        ),
        layers.GlobalAveragePooling2D(),
        layers.GlobalMaxPooling2D(),
        lambda each: layers.GlobalAveragePooling1D()(layers.Reshape((30, 4))(each)),
    )


def _recurrent() -> Model:
    x, film = _sequence(), keras.Input((3, 4, 4, 2))
    cells = [layers.LSTMCell(2), layers.GRUCell(2), layers.SimpleRNNCell(2)]
    made = (layers.GRU(2), layers.LSTM(2), layers.SimpleRNN(2), layers.RNN(cells))
    return keras.Model(
        [x, film], [*(each(x) for each in made), layers.ConvLSTM2D(2, 2)(film)]
    )


def _reshaping() -> Model:
    x = _image()
    row = layers.Flatten()(x)
    return keras.Model(
        x,
        [
            layers.Cropping2D(1)(x),
            layers.Permute((3, 1, 2))(x),
            layers.RepeatVector(2)(row),
            layers.Reshape((-1, 4))(x),
            layers.UpSampling2D(2, interpolation="bilinear")(x),
            layers.ZeroPadding2D((1, 2))(x),
        ],
    )


def _spectrograms() -> Model:
    x = keras.Input((64,))
    mel = layers.MelSpectrogram(16, 8, num_mel_bins=4, min_freq=200)(x)
    wave = layers.Reshape((64, 1))(x)
    return keras.Model(x, [mel, layers.STFTSpectrogram(frame_length=16)(wave)])


def _wrappers() -> Model:
    x = _sequence()
    return _each(
        x,
        layers.Bidirectional(layers.LSTM(2, return_sequences=True)),
        layers.TimeDistributed(layers.Dense(3)),
    )


MODELS: Mapping[str, Callable[[], Model]] = {
    "activation": _activations,
    "adaptive pooling": lambda: _each(
        _image(),
        layers.AdaptiveAveragePooling2D((3, 2)),
        layers.AdaptiveMaxPooling2D((4, 3)),
    ),
    "attention": _attention,
    "batch normalization": lambda: _each(
        _image(), layers.BatchNormalization(), layers.BatchNormalization(axis=1)
    ),
    "categories": _categories,
    "convolution": lambda: _ranks("Conv", 3, 2, padding="same"),
    "convolution, depthwise": lambda: _ranks("DepthwiseConv", 2),
    "convolution, separable": lambda: _ranks("SeparableConv", 3, 2),
    "convolution, transposed": lambda: _each(
        _image(), layers.Conv2DTranspose(3, 3, strides=2, padding="same")
    ),
    "dense": lambda: _each(_sequence(), layers.Dense(3, activation="relu")),
    "einsum dense": lambda: _each(
        _sequence(), layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d")
    ),
    "embedding": _embedding,
    "identity": _identity,
    "images": _images,
    "merging": _merging,
    "normalization": _normalization,
    "pooling": _pooling,
    "recurrent": _recurrent,
    "reshaping": _reshaping,
    "scaling": lambda: _each(
        _image(3),
        layers.Rescaling(2.0, 1.0),
        layers.Normalization(mean=[0.0, 1, 2], variance=[1.0, 2, 3]),
    ),
    "spectrograms": _spectrograms,
    "wrappers": _wrappers,
}
# Families of older files, and of networks that tests/test_applications.py compiles.
ELSEWHERE = ("applications", "legacy")


@dataclass(frozen=True, slots=True)
class Limit:
    """What a family doesn't do: README's words, and a layer that is refused for it."""

    words: str
    class_name: str
    config: Mapping[str, Any]
    shape: Sequence[int | None]
    problem: str
    version: str = "3.10.0"


_TERNARY = {"class_name": "DTypePolicy", "config": {"name": "ternary_from_float32"}}
_CELL = {"class_name": "LSTMCell", "config": {"units": 2}}
LIMITS: Mapping[str, Sequence[Limit]] = {
    "activation": [
        Limit(
            "functions of one's own, but with `--custom`",
            "Activation",
            {"activation": "my_own"},
            (3,),
            "which Keras doesn't have",
        )
    ],
    "batch normalization": [
        Limit(
            "`mode=1` of Keras 1",
            "BatchNormalization",
            {"mode": 1},
            (3,),
            "normalises by the batch at hand",
            "1.2.2",
        )
    ],
    "categories": [
        Limit(
            "counting over samples",
            "CategoryEncoding",
            {"num_tokens": 4, "output_mode": "count"},
            (),
            "counts over the samples of a batch",
        )
    ],
    "dense": [
        Limit(
            "packed ternary weights",
            "Dense",
            {"units": 2, "dtype": _TERNARY},
            (3,),
            "quantized as 'ternary'",
        )
    ],
    "einsum dense": [
        Limit(
            "equations across samples",
            "EinsumDense",
            {"equation": "ab,bc->c", "output_shape": [2]},
            (3,),
            "mixes the samples of a batch",
        )
    ],
    "normalization": [
        Limit(
            "`axis=0`",
            "UnitNormalization",
            {"axis": 0},
            (3,),
            "works across the samples of a batch",
        )
    ],
    "recurrent": [
        Limit(
            "`time_major`",
            "LSTM",
            {"units": 2, "time_major": True},
            (4, 3),
            "time_major is True",
            "2.4.0",
        ),
        Limit(
            "constants",
            "RNN",
            {"cell": _CELL, "num_constants": 1},
            (4, 3),
            "num_constants is 1",
        ),
    ],
    "reshaping": [
        Limit(
            "Permute and Reshape of the batch",
            "Permute",
            {"dims": [0, 1]},
            (3,),
            "not an order of the axes from 1",
        )
    ],
    "spectrograms": [
        Limit(
            "windows given as numbers",
            "MelSpectrogram",
            {"window": [1.0, 2.0]},
            (64,),
            "which MelSpectrogram doesn't have",
        )
    ],
    "wrappers": [
        Limit(
            "Bidirectional around other than recurrent layers",
            "Bidirectional",
            {"layer": {"class_name": "Dense", "config": {"units": 2}}},
            (4, 3),
            "isn't recurrent",
        )
    ],
}
