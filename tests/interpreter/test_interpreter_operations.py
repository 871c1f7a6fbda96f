"""Bare operations in graphs agree with Keras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from interpreter.live_models import (
    Array,
    assert_agrees,
    hand_built_file,
    live_file,
    noise,
)
from keras import ops
from operation_cases import IMAGES, SEQUENCES, operation_model

from keramos.errors import CompileError
from keramos.runtime_min.interpreter import Interpreter
from keramos.source import Call, Ref

Tensor = Any

ONE_INPUT: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda x: x * 2 + 1,
    lambda x: 1 / (x * x + 1) - x,
    lambda x: -x // 2 % 3,
    lambda x: ops.abs(x) ** 1.5,
    lambda x: x[:, 1:, ::2],
    lambda x: x[:, 0],
    lambda x: x[..., None, 1:3],
    lambda x: x[:, ::-1],
    lambda x: ops.sum(x, axis=[1], keepdims=True),
    lambda x: ops.mean(x, axis=-1),
    lambda x: ops.max(x, axis=(1, 2)),
    lambda x: ops.min(x, axis=1),
    lambda x: ops.prod(x, axis=1),
    lambda x: ops.std(x, axis=1) + ops.var(x, axis=1),
    lambda x: ops.argmax(x, axis=-1),
    lambda x: ops.logsumexp(x, axis=-1),
    lambda x: ops.cumsum(x, axis=1),
    lambda x: ops.sort(x, axis=1),
    lambda x: ops.argsort(x, axis=-1),
    lambda x: ops.top_k(x, 2),
    lambda x: ops.normalize(x, axis=-1),
    lambda x: ops.reshape(x, (-1, 24)),
    lambda x: ops.transpose(x, (0, 2, 1)),
    lambda x: ops.squeeze(ops.expand_dims(x, 1), 1),
    lambda x: ops.swapaxes(ops.moveaxis(x, 1, 2), 1, 2),
    lambda x: ops.split(x, 2, axis=-1),
    lambda x: ops.unstack(x, axis=1),
    lambda x: ops.repeat(x, 2, axis=1),
    lambda x: ops.tile(x, [1, 2, 1]),
    lambda x: ops.flip(x, axis=1),
    lambda x: ops.roll(x, 1, axis=2),
    lambda x: ops.pad(x, [[0, 0], [1, 2], [0, 1]]),
    lambda x: ops.pad(x, [[0, 0], [1, 2], [0, 0]], mode="reflect"),
    lambda x: ops.take(x, [0, 2], axis=1),
    lambda x: ops.where(x > 0, x, 0.5),
    lambda x: ops.clip(x, -0.5, 0.5),
    lambda x: ops.cast(ops.cast(x * 3, "int32"), "float32") / 2,
    lambda x: ops.one_hot(ops.cast(ops.abs(x), "int32"), 3),
    lambda x: ops.ones_like(x) + ops.zeros_like(x),
    lambda x: ops.exp(ops.sin(x)) + ops.cos(x) - ops.tanh(x),
    lambda x: ops.sqrt(ops.square(x)) + ops.rsqrt(ops.square(x) + 1),
    lambda x: ops.log(ops.abs(x) + 1) + ops.log1p(ops.abs(x)),
    lambda x: ops.floor(x) + ops.ceil(x) + ops.round(x, 1) + ops.sign(x),
    lambda x: ops.erf(x) + ops.sigmoid(x) + ops.softplus(x),
    lambda x: ops.relu(x) + ops.silu(x) + ops.gelu(x) + ops.leaky_relu(x),
    lambda x: ops.gelu(x, approximate=False) + ops.elu(x) + ops.hard_sigmoid(x),
    lambda x: ops.softmax(x, axis=1) + ops.log_softmax(x),
    lambda x: ops.logical_and(x > 0, ops.logical_not(x < 1)),
    lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))),
    lambda x: ops.einsum("bij,bkj->bik", x, x),
    ops.stop_gradient,
    lambda x: ops.tril(x) + ops.triu(x, 1),
)

TWO_INPUTS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    lambda x, y: x + y * x - y / 3,
    lambda x, y: ops.maximum(x, y) - ops.minimum(x, y),
    lambda x, y: ops.concatenate([x, y], axis=1),
    lambda x, y: ops.stack([x, y], axis=2),
    lambda x, y: ops.where(x > y, x, y),
    ops.equal,
    lambda x, y: ops.arctan2(x, y) + ops.hypot(x, y),
    lambda x, y: ops.divide_no_nan(x, ops.relu(y)),
    lambda x, y: ops.power(ops.abs(x) + 0.5, y),
)


@pytest.mark.parametrize("index", range(len(ONE_INPUT)))
def test_operation_on_one_tensor_agrees_with_keras(index: int) -> None:
    x = keras.Input((4, 6))

    assert_agrees(keras.Model(x, ONE_INPUT[index](x)), noise((3, 4, 6)))


@pytest.mark.parametrize("index", range(len(TWO_INPUTS)))
def test_operation_on_two_tensors_agrees_with_keras(index: int) -> None:
    x, y = keras.Input((4, 6)), keras.Input((4, 6))
    model = keras.Model([x, y], TWO_INPUTS[index](x, y))

    assert_agrees(model, noise((3, 4, 6), 1), noise((3, 4, 6), 2))


@pytest.mark.parametrize("name", [*SEQUENCES, *IMAGES])
def test_every_operation_agrees_with_keras(name: str) -> None:
    model, x = operation_model(name)

    assert_agrees(model, x)


def test_unknown_operation_is_refused_by_name() -> None:
    x = keras.Input((4, 4))
    model = keras.Model(x, ops.slogdet(x), name="determinants")

    with pytest.raises(CompileError) as caught:
        Interpreter(live_file(model))

    assert str(caught.value) == (
        "live.keras: layer 'slogdet' (Slogdet): this operation is unknown (replace it "
        "by a layer, or by a custom layer)"
    )


def test_operations_keep_whole_numbers_whole() -> None:
    x = keras.Input((3,), dtype="int32")
    model = keras.Model(x, x * 2 + 1)

    actual = Interpreter(live_file(model)).predict(np.array([[1, 2, 3]]))

    assert (actual.dtype.kind, actual.tolist()) == ("i", [[3, 5, 7]])


def tensorflow_result(function: str, kwargs: dict[str, Any], x: Array) -> Array:
    """Return what a function of TensorFlow gives inside a graph of tf.keras."""
    file = hand_built_file(
        "TFOpLambda", {"function": function}, x.shape[1:], keras_version="2.15.0"
    )
    given, tested = file.model.layers
    call = Call((Ref("given", 0, 0),), {**kwargs, "name": None})
    if function.endswith("getitem"):
        call = Call(call.args, kwargs)
    layers = (given, replace(tested, calls=(call,)))
    changed = replace(file, model=replace(file.model, layers=layers))
    y: Array = Interpreter(changed, dtype="float64").predict(x)
    return y


X = noise((2, 4, 6)).astype(np.float64)


@pytest.mark.parametrize(
    ("function", "kwargs", "expected"),
    [
        ("math.multiply", {"y": 2.5}, X * 2.5),
        ("__operators__.add", {"y": Ref("given", 0, 0)}, X + X),
        ("math.subtract", {"y": 1}, X - 1),
        ("math.truediv", {"y": 4}, X / 4),
        ("math.reduce_mean", {"axis": [1], "keepdims": True}, X.mean(1, keepdims=True)),
        ("math.reduce_sum", {"axis": -1}, X.sum(-1)),
        ("nn.relu", {}, np.maximum(X, 0)),
        ("clip_by_value", {"clip_value_min": 0, "clip_value_max": 1}, X.clip(0, 1)),
        ("reshape", {"shape": [-1, 24]}, X.reshape(2, 24)),
        ("transpose", {"perm": [0, 2, 1]}, X.transpose(0, 2, 1)),
        ("expand_dims", {"axis": 1}, X[:, None]),
        ("tile", {"multiples": [1, 2, 1]}, np.tile(X, (1, 2, 1))),
        ("compat.v1.pad", {"paddings": [[0, 0], [1, 0], [0, 2]]}, None),
        (
            "math.l2_normalize",
            {"axis": -1},
            X / np.linalg.norm(X, axis=-1, keepdims=True),
        ),
        (
            "__operators__.getitem",
            {"slice_spec": [slice(None), slice(1, None), slice(None, None, 2)]},
            X[:, 1:, ::2],
        ),
        ("__operators__.getitem", {"slice_spec": [Ellipsis, 0]}, X[..., 0]),
    ],
)
def test_tensorflow_function_gives_what_its_name_says(
    function: str, kwargs: dict[str, Any], expected: Array | None
) -> None:
    if expected is None:
        expected = np.pad(X, [(0, 0), (1, 0), (0, 2)])

    assert np.allclose(tensorflow_result(function, kwargs, X), expected)


def test_unknown_tensorflow_function_is_refused_by_name() -> None:
    with pytest.raises(CompileError) as caught:
        tensorflow_result("signal.fft", {}, X)

    assert str(caught.value) == (
        "made.h5: layer 'tested' (TFOpLambda): calls TensorFlow's 'signal.fft', which "
        "is unknown (replace it by a layer, or by a custom layer)"
    )
