"""Random Keras models, made by Keras itself and saved as real files.

A model grows layer by layer: each step picks tensors that exist, and a layer that takes
their shapes. So there are branches, merges, several inputs and outputs, layers applied
more than once, and every option that the layer list of Keramos promises.
"""

from __future__ import annotations

import logging
import math
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from numpy.typing import NDArray

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
from keras import layers

# Keras warns, at every save, that HDF5 is legacy: here that is the point.
logging.getLogger("absl").setLevel(logging.ERROR)

Array = NDArray[Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]
# Keras has no types: a layer, a tensor or a model.
KerasObject = Any
Shape = tuple[int, ...]
LayerMaker = Callable[[Draw, Shape], KerasObject]

MOST_ELEMENTS = 2000
VOCABULARY = 7
# Of Keras' 30, `threshold` can't be given by name (it has required arguments), and
# `glu`, which halves the channels, is drawn for even channels alone.
ACTIVATIONS = (
    "celu",
    "elu",
    "exponential",
    "gelu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
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
    "tanh",
    "tanh_shrink",
)
# What a file may call its layers, all accepted by Keras. Case and accents collide once
# the names are identifiers.
NAMES = (
    "class",
    "Conv",
    "conv",
    "cönv",
    "predict",
    "gl_Position",
    "層",
    '"""; import os #',
    "*\u2215 #error",
    "\\",
    "{{ name }}",
    "x" * 300,
    "1st",
    "a__b",
    "np",
    "\u202egnp.exe",
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A Keras model and a batch for it."""

    model: KerasObject
    inputs: tuple[Array, ...]

    def save(self, folder: Path, suffix: str) -> Path:
        """Write the model as a real file; *suffix* is ``h5`` or ``keras``."""
        path = folder / f"model.{suffix}"
        self.model.save(path)
        return path

    def expected(self) -> list[Array]:
        """Return what Keras computes, one array per output."""
        inputs = self.inputs[0] if len(self.inputs) == 1 else list(self.inputs)
        result = self.model(inputs, training=False)
        return [np.asarray(y) for y in keras.tree.flatten(result)]


@st.composite
def keras_models(
    draw: Draw, *, most_layers: int = 7, sequential: bool | None = None
) -> Drawn:
    """Draw a model with random weights, and a batch of one to three samples."""
    keras.utils.clear_session(free_memory=False)
    is_sequential = draw(st.booleans()) if sequential is None else sequential
    count = draw(st.integers(1, most_layers))
    with random_untouched():
        model = _sequential(draw, count) if is_sequential else _functional(draw, count)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    randomise(model, rng)
    n = draw(st.integers(1, 3))
    return Drawn(model, tuple(_batch(tensor, n, rng) for tensor in model.inputs))


@contextmanager
def random_untouched() -> Iterator[None]:
    """Leave the module random as it was: the seeds that Keras draws are never used."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def _sequential(draw: Draw, count: int) -> KerasObject:
    """Return a chain of layers; sometimes the input shape stands in the first."""
    names = draw(st.permutations(NAMES))
    tensor = _input(draw)
    chain = [tensor]
    for _ in range(count):
        layer = _layer(draw, tensor, names)
        tensor = layer(tensor)
        chain.append(layer)
    source, *chain = chain
    return keras.Sequential(
        [keras.Input(source.shape[1:], dtype=source.dtype), *chain], name="drawn"
    )


def _functional(draw: Draw, count: int) -> KerasObject:
    """Return a graph; what nothing reads is an output."""
    names = draw(st.permutations(NAMES))
    inputs = [_input(draw) for _ in range(draw(st.integers(1, 2)))]
    tensors = list(inputs)
    used: set[int] = set()
    applied: list[tuple[KerasObject, Shape, str]] = []
    for _ in range(count):
        operands, result = _step(draw, tensors, applied, names)
        used.update(map(id, operands))
        tensors.append(result)
    unread = [tensor for tensor in inputs if id(tensor) not in used]
    tensors += [_layer(draw, tensor, names)(tensor) for tensor in unread]
    made = [tensor for tensor in tensors if all(tensor is not x for x in inputs)]
    outputs = [tensor for tensor in made if id(tensor) not in used]
    # A tensor inside the model may be an output too.
    extra = draw(st.sampled_from(made))
    if draw(st.booleans()) and all(extra is not y for y in outputs):
        outputs.append(extra)
    return keras.Model(
        *(each[0] if len(each) == 1 else each for each in (inputs, outputs))
    )


def _step(
    draw: Draw,
    tensors: Sequence[KerasObject],
    applied: list[tuple[KerasObject, Shape, str]],
    names: list[str],
) -> tuple[list[KerasObject], KerasObject]:
    """Return the tensors that the next layer takes, and what it gives."""
    tensor = draw(st.sampled_from(tensors))
    key = (_shape(tensor), tensor.dtype)
    again = [layer for layer, *built_for in applied if tuple(built_for) == key]
    if again and draw(st.booleans()):
        return [tensor], draw(st.sampled_from(again))(tensor)
    partners = [other for other in tensors if _mergeable(tensor, other)]
    if partners and draw(st.integers(0, 2)) == 0:
        other = draw(st.sampled_from(partners))
        operands = [tensor, other] if draw(st.booleans()) else [other, tensor]
        return operands, _merge(draw, operands)
    layer = _layer(draw, tensor, names)
    applied.append((layer, *key))
    return [tensor], layer(tensor)


def _shape(tensor: KerasObject) -> Shape:
    """Return the shape without the batch axis."""
    return tuple(tensor.shape[1:])


def _input(draw: Draw) -> KerasObject:
    """Return an input of rank 1 to 3, or a row of tokens."""
    kind = draw(st.sampled_from(("image", "image", "sequence", "vector", "tokens")))
    if kind == "tokens":
        return keras.Input((draw(st.integers(2, 6)),), dtype="int32")
    sizes = {
        "image": [(3, 10), (3, 10), (1, 6)],
        "sequence": [(2, 12), (1, 6)],
        "vector": [(1, 9)],
    }[kind]
    return keras.Input(tuple(draw(st.integers(*size)) for size in sizes))


def _batch(tensor: KerasObject, n: int, rng: np.random.Generator) -> Array:
    """Return *n* samples for an input."""
    shape = (n, *_shape(tensor))
    if tensor.dtype == "int32":
        return rng.integers(0, VOCABULARY, shape).astype(np.int32)
    return rng.normal(size=shape).astype(np.float32)


def randomise(model: KerasObject, rng: np.random.Generator) -> None:
    """Give every weight values as training might: scaled by fan-in, variances > 0."""
    for weight in model.weights:
        name = weight.name
        if not np.issubdtype(np.dtype(weight.dtype), np.floating):
            continue
        values = rng.normal(size=weight.shape)
        if "variance" in name or "gamma" in name:
            values = rng.uniform(0.5, 2, size=weight.shape)
        elif len(weight.shape) > 1:
            values /= math.sqrt(math.prod(weight.shape[:-1]))
        weight.assign(values.astype(np.float32))


def _layer(draw: Draw, tensor: KerasObject, names: list[str]) -> KerasObject:
    """Return a fresh layer that *tensor* fits, and that stays small behind it."""
    shape = _shape(tensor)
    if tensor.dtype == "int32":
        return layers.Embedding(VOCABULARY, draw(st.integers(1, 5)))
    makers = BY_RANK[len(shape)] if draw(st.integers(0, 2)) else ANY_RANK
    name = draw(st.sampled_from(sorted(makers)))
    layer = makers[name](draw, shape)
    if names and draw(st.integers(0, 5)) == 0:
        layer.name = names.pop()
    try:
        result = layer.compute_output_shape((1, *shape))
    except ValueError:
        assume(False)  # noqa: FBT003  Hypothesis' own way to say no
    assume(0 < math.prod(result) <= MOST_ELEMENTS)
    return layer


def _activation(draw: Draw) -> str | None:
    """Return an activation's name, or None."""
    return draw(st.none() | st.sampled_from(ACTIVATIONS)) or None


def _axis(draw: Draw, shape: Shape) -> int:
    """Return an axis, counted from either end; the batch isn't one."""
    rank = len(shape)
    return int(draw(st.integers(1, rank) | st.integers(-rank, -1)))


def _data_format(draw: Draw) -> str:
    """Return mostly ``channels_last``."""
    formats = ("channels_last", "channels_last", "channels_last", "channels_first")
    return str(draw(st.sampled_from(formats)))


def _channels(shape: Shape, data_format: str) -> int:
    """Return the number of channels."""
    return shape[-1] if data_format == "channels_last" else shape[0]


def _spatial(shape: Shape, data_format: str) -> Shape:
    """Return the sizes that are no channels."""
    return shape[:-1] if data_format == "channels_last" else shape[1:]


def _window(draw: Draw, shape: Shape, *, least: int = 1) -> dict[str, Any]:
    """Return size, padding and format such that the window fits."""
    data_format = _data_format(draw)
    padding = draw(st.sampled_from(("valid", "same")))
    sizes = tuple(
        draw(st.integers(min(least, size), 3 if padding == "same" else min(3, size)))
        for size in _spatial(shape, data_format)
    )
    return {"size": sizes, "padding": padding, "data_format": data_format}


def _strides(draw: Draw, rank: int, *, equal: bool = False) -> Shape:
    """Return steps of 1 to 3; some layers of Keras take equal ones only."""
    if equal:
        return (draw(st.integers(1, 2)),) * rank
    return tuple(draw(st.integers(1, 3)) for _ in range(rank))


def _convolution(draw: Draw, shape: Shape) -> KerasObject:
    """Return a Conv1D or Conv2D with groups, and strides or dilation."""
    rank = len(shape) - 1
    window = _window(draw, shape)
    channels = _channels(shape, window["data_format"])
    groups = draw(st.sampled_from([g for g in range(1, 4) if channels % g == 0]))
    steps: dict[str, Any] = {"strides": _strides(draw, rank)}
    if draw(st.booleans()):
        rates = tuple(draw(st.integers(1, 2)) for _ in range(rank))
        spatial = _spatial(shape, window["data_format"])
        extents = zip(window["size"], rates, spatial, strict=True)
        fits = all((k - 1) * rate < size for k, rate, size in extents)
        steps = {"dilation_rate": rates} if fits else {}
    if rank == 1 and draw(st.booleans()):
        window |= {"padding": "causal", "data_format": "channels_last"}
        groups = 1
    return (layers.Conv1D if rank == 1 else layers.Conv2D)(
        groups * draw(st.integers(1, 3)),
        window["size"],
        padding=window["padding"],
        data_format=window["data_format"],
        groups=groups,
        activation=_activation(draw),
        use_bias=draw(st.booleans()),
        **steps,
    )


def _depthwise(draw: Draw, shape: Shape) -> KerasObject:
    """Return a DepthwiseConv2D."""
    window = _window(draw, shape)
    return layers.DepthwiseConv2D(
        window["size"],
        strides=_strides(draw, 2, equal=True),
        padding=window["padding"],
        depth_multiplier=draw(st.integers(1, 2)),
        data_format=window["data_format"],
        activation=_activation(draw),
        use_bias=draw(st.booleans()),
    )


def _separable(draw: Draw, shape: Shape) -> KerasObject:
    """Return a SeparableConv2D."""
    window = _window(draw, shape)
    return layers.SeparableConv2D(
        draw(st.integers(1, 5)),
        window["size"],
        strides=_strides(draw, 2, equal=True),
        padding=window["padding"],
        depth_multiplier=draw(st.integers(1, 2)),
        data_format=window["data_format"],
        activation=_activation(draw),
        use_bias=draw(st.booleans()),
    )


def _transposed(draw: Draw, shape: Shape) -> KerasObject:
    """Return a Conv2DTranspose."""
    window = _window(draw, shape)
    return layers.Conv2DTranspose(
        draw(st.integers(1, 5)),
        window["size"],
        strides=_strides(draw, 2),
        padding=window["padding"],
        data_format=window["data_format"],
        activation=_activation(draw),
        use_bias=draw(st.booleans()),
    )


def _pooling(one: KerasObject, two: KerasObject) -> LayerMaker:
    """Return the maker of a pooling layer of either rank."""

    def make(draw: Draw, shape: Shape) -> KerasObject:
        window = _window(draw, shape, least=2)
        rank = len(shape) - 1
        strides = draw(st.none() | st.just(_strides(draw, rank)))
        size = window.pop("size")
        return (one if rank == 1 else two)(size, strides=strides, **window)

    return make


def _global_pooling(one: KerasObject, two: KerasObject) -> LayerMaker:
    """Return the maker of a global pooling layer of either rank."""

    def make(draw: Draw, shape: Shape) -> KerasObject:
        options = {"data_format": _data_format(draw), "keepdims": draw(st.booleans())}
        return (one if len(shape) == 2 else two)(**options)

    return make


def _batch_normalization(draw: Draw, shape: Shape) -> KerasObject:
    """Return a BatchNormalization over any axis."""
    return layers.BatchNormalization(
        axis=_axis(draw, shape),
        epsilon=draw(st.sampled_from((1e-3, 1e-5))),
        center=draw(st.booleans()),
        scale=draw(st.booleans()),
    )


def _relu(draw: Draw, _: Shape) -> KerasObject:
    """Return a ReLU with all three parameters."""
    return layers.ReLU(
        max_value=draw(st.none() | st.sampled_from((0.5, 1.0, 6.0))),
        negative_slope=draw(st.sampled_from((0.0, 0.1, 0.3))),
        threshold=draw(st.sampled_from((0.0, 0.25))),
    )


def _prelu(draw: Draw, shape: Shape) -> KerasObject:
    """Return a PReLU that shares its slopes over some axes."""
    axes = draw(st.sets(st.integers(1, len(shape)))) or None
    return layers.PReLU(shared_axes=sorted(axes) if axes else None)


def _normalization(draw: Draw, shape: Shape) -> KerasObject:
    """Return a Normalization with given statistics, per channel or for all."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    axis = draw(st.sampled_from((-1, None)))
    count = shape[-1] if axis else 1
    mean, variance = rng.normal(size=count), rng.uniform(0.5, 2, size=count)
    return layers.Normalization(
        axis=axis,
        mean=mean if axis else float(mean[0]),
        variance=variance if axis else float(variance[0]),
        invert=draw(st.booleans()),
    )


def _reshape(draw: Draw, shape: Shape) -> KerasObject:
    """Return a Reshape to rank 1, 2 or 3, sometimes with a -1."""
    total = math.prod(shape)
    target: list[int] = []
    for _ in range(draw(st.integers(0, 2))):
        rest = total // math.prod(target)
        target.append(draw(st.sampled_from([d for d in range(1, 7) if rest % d == 0])))
    target.append(draw(st.sampled_from((-1, total // math.prod(target)))))
    return layers.Reshape(target)


def _permute(draw: Draw, shape: Shape) -> KerasObject:
    """Return a Permute."""
    return layers.Permute(draw(st.permutations(range(1, len(shape) + 1))))


def _padding(draw: Draw, shape: Shape) -> KerasObject:
    """Return a ZeroPadding1D or ZeroPadding2D."""
    pairs = _margins(draw, len(shape) - 1, most=2)
    if len(pairs) == 1:
        return layers.ZeroPadding1D(pairs[0])
    return layers.ZeroPadding2D(pairs, data_format=_data_format(draw))


def _cropping(draw: Draw, shape: Shape) -> KerasObject:
    """Return a Cropping1D or Cropping2D."""
    pairs = _margins(draw, len(shape) - 1, most=1)
    if len(pairs) == 1:
        return layers.Cropping1D(pairs[0])
    return layers.Cropping2D(pairs, data_format=_data_format(draw))


def _margins(draw: Draw, rank: int, *, most: int) -> tuple[tuple[int, int], ...]:
    """Return a pair of margins per axis."""
    margin = st.integers(0, most)
    return tuple((draw(margin), draw(margin)) for _ in range(rank))


def _upsampling(draw: Draw, shape: Shape) -> KerasObject:
    """Return an UpSampling1D or UpSampling2D."""
    if len(shape) == 2:
        return layers.UpSampling1D(draw(st.integers(1, 3)))
    return layers.UpSampling2D(
        (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        data_format=_data_format(draw),
        interpolation=draw(st.sampled_from(("nearest", "bilinear"))),
    )


def _dense(draw: Draw, _: Shape) -> KerasObject:
    """Return a Dense."""
    return layers.Dense(
        draw(st.integers(1, 6)),
        activation=_activation(draw),
        use_bias=draw(st.booleans()),
    )


def _recurrent(draw: Draw, _: Shape) -> KerasObject:
    """Return a recurrent layer, sometimes one that goes both ways."""
    kind = draw(st.sampled_from((layers.LSTM, layers.GRU, layers.SimpleRNN)))
    options = {
        "return_sequences": draw(st.booleans()),
        "use_bias": draw(st.booleans()),
        "unroll": draw(st.booleans()),
    }
    if draw(st.booleans()):
        return layers.Bidirectional(kind(draw(st.integers(1, 3)), **options))
    return kind(draw(st.integers(1, 5)), go_backwards=draw(st.booleans()), **options)


def _time_distributed(draw: Draw, shape: Shape) -> KerasObject:
    """Return a layer for rows, applied to each row of an image."""
    makers = (_recurrent, _convolution, _dense)
    return layers.TimeDistributed(draw(st.sampled_from(makers))(draw, shape[1:]))


def _spatial_dropout(_: Draw, shape: Shape) -> KerasObject:
    """Return a SpatialDropout of the tensor's rank."""
    return (layers.SpatialDropout1D if len(shape) == 2 else layers.SpatialDropout2D)(
        0.5
    )


def _mergeable(a: KerasObject, b: KerasObject) -> bool:
    """Return whether the layers that merge take both."""
    floats = a.dtype == b.dtype == "float32"
    return a is not b and floats and bool(_merges(_shape(a), _shape(b)))


def _merges(a: Shape, b: Shape) -> list[str]:
    """Return the kinds of merging that the shapes allow."""
    kinds = []
    if len(a) == len(b) and all(
        p == q or 1 in (p, q) for p, q in zip(a, b, strict=True)
    ):
        kinds.append("elementwise")
    if len(a) == len(b) and sum(p != q for p, q in zip(a, b, strict=True)) <= 1:
        kinds.append("concatenate")
    if len(a) <= 2 and len(b) <= 2 and set(a) & set(b):
        kinds.append("dot")
    return kinds


def _merge(draw: Draw, operands: Sequence[KerasObject]) -> KerasObject:
    """Return two tensors merged into one."""
    a, b = map(_shape, operands)
    kind = draw(st.sampled_from(_merges(a, b)))
    if kind == "elementwise":
        names = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
        return getattr(layers, draw(st.sampled_from(names)))()(list(operands))
    if kind == "concatenate":
        differing = [i for i, (p, q) in enumerate(zip(a, b, strict=True)) if p != q]
        axes = differing or list(range(len(a)))
        axis = draw(st.sampled_from(axes))
        from_end = draw(st.booleans())
        return layers.Concatenate(axis=axis - len(a) if from_end else axis + 1)(
            list(operands)
        )
    pairs = [(i, j) for i, p in enumerate(a, 1) for j, q in enumerate(b, 1) if p == q]
    return layers.Dot(axes=draw(st.sampled_from(pairs)), normalize=draw(st.booleans()))(
        list(operands)
    )


def _plain(make: Callable[[], KerasObject]) -> LayerMaker:
    """Return the maker of a layer that has nothing to draw."""
    return lambda _draw, _shape: make()


ANY_RANK: dict[str, LayerMaker] = {
    "activation": lambda draw, shape: layers.Activation(
        draw(st.sampled_from(ACTIVATIONS + ("glu",) * (shape[-1] % 2 == 0)))
    ),
    "batch_normalization": _batch_normalization,
    "dense": _dense,
    "dropout": _plain(lambda: layers.Dropout(0.5)),
    "elu": lambda draw, _: layers.ELU(draw(st.sampled_from((1.0, 0.3)))),
    "gaussian_dropout": _plain(lambda: layers.GaussianDropout(0.5)),
    "gaussian_noise": _plain(lambda: layers.GaussianNoise(0.5)),
    "leaky_relu": lambda draw, _: layers.LeakyReLU(draw(st.sampled_from((0.3, 0.01)))),
    "normalization": _normalization,
    "prelu": _prelu,
    "relu": _relu,
    "rescaling": lambda draw, _: layers.Rescaling(
        draw(st.sampled_from((1 / 255, 2.0))), draw(st.sampled_from((0.0, -1.0)))
    ),
    "reshape": _reshape,
    "softmax": lambda draw, shape: layers.Softmax(_axis(draw, shape)),
}
CONVOLUTIONS: dict[str, LayerMaker] = {
    f"convolution_{number}": _convolution for number in range(3)
}
SPATIAL: dict[str, LayerMaker] = CONVOLUTIONS | {
    "average_pooling": _pooling(layers.AveragePooling1D, layers.AveragePooling2D),
    "cropping": _cropping,
    "flatten": lambda draw, _: layers.Flatten(_data_format(draw)),
    "global_average": _global_pooling(
        layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D
    ),
    "global_max": _global_pooling(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D),
    "max_pooling": _pooling(layers.MaxPooling1D, layers.MaxPooling2D),
    "permute": _permute,
    "spatial_dropout": _spatial_dropout,
    "upsampling": _upsampling,
    "zero_padding": _padding,
}
BY_RANK: dict[int, dict[str, LayerMaker]] = {
    1: {
        "dense": _dense,
        "repeat_vector": lambda draw, _: layers.RepeatVector(draw(st.integers(1, 4))),
    },
    2: SPATIAL | {"recurrent": _recurrent},
    3: SPATIAL
    | {
        "time_distributed": _time_distributed,
        "depthwise": _depthwise,
        "separable": _separable,
        "transposed": _transposed,
    },
}


def layer_names(model: KerasObject) -> Iterator[str]:
    """Yield the class names of the model's layers, for statistics."""
    return (type(layer).__name__ for layer in model.layers)
