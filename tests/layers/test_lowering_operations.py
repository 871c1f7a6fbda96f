"""Bare operations of Keras graphs, lowered, against Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops
from lowering_oracle import TOLERANCE, disagreement
from operation_cases import IMAGES, SEQUENCES, operation_model


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lambda x, y: x + y * 2.0 - 1, 2),
        (lambda x: ops.sum(x, -1, keepdims=True), 1),
        (lambda x: x[:, 1:, ...], 1),
        (lambda x: x[..., 0], 1),
        (lambda x: x[:, None, ::2, -1], 1),
        (lambda x: ops.reshape(x, (-1, 12)), 1),
        (lambda x: ops.reshape(x, (-1, 2, 6)), 1),
        (lambda x: ops.concatenate([x, x], axis=1), 1),
        (lambda x: ops.where(x > 0, x, 1.0), 1),
        (lambda x: ops.pad(x, [[0, 0], [1, 2], [0, 1]], constant_values=2.0), 1),
        (lambda x: ops.transpose(x, (0, 2, 1)), 1),
        (lambda x, y: ops.einsum("abc,abd->acd", x, y), 2),
        (lambda x: ops.einsum("abc,cd->abd", x, np.ones((3, 5), "float32")), 1),
        (lambda x: ops.one_hot(ops.cast(x, "int32"), 3), 1),
        (lambda x: ops.expand_dims(x, 1), 1),
        (lambda x: ops.split(x, 3, axis=2), 1),
        (lambda x: ops.split(x, [1], axis=-1)[1], 1),
        (lambda x: ops.softmax(x, axis=1), 1),
        (lambda x: ops.repeat(x, 2, axis=1), 1),
        (lambda x: ops.clip(x, 0, 1), 1),
        (lambda x: ops.take(x, [0, -1], axis=1), 1),
        (lambda x: ops.mean(x, axis=(1, 2)), 1),
        (lambda x: ops.normalize(x, axis=1), 1),
        (lambda x: ops.power(x, 2), 1),
        (lambda x, y: ops.matmul(x, ops.transpose(y, (0, 2, 1))), 2),
        (lambda x: ops.logsumexp(x, axis=1), 1),
        (lambda x: x + np.ones((1, 4, 1)), 1),
        (lambda x: ops.cumsum(x, axis=1), 1),
        (lambda x: ops.argmax(x, axis=-1), 1),
        (lambda x: ops.var(x, axis=1), 1),
        (lambda x: ops.std(x, axis=1, keepdims=True), 1),
        (lambda x: ops.tile(x, (1, 2, 1)), 1),
        (lambda x: ops.roll(x, 1, axis=1), 1),
        (lambda x: ops.flip(x, axis=1), 1),
        (lambda x: ops.stack([x, x], axis=1), 1),
        (lambda x: ops.squeeze(x[:, :1], axis=1), 1),
        (ops.gelu, 1),
        (ops.leaky_relu, 1),
        (lambda x: ops.relu(x) + ops.silu(x) + ops.tanh(x), 1),
        (lambda x: ops.ones_like(x) + ops.zeros_like(x), 1),
        (lambda x: ops.maximum(x, 0.5), 1),
        (lambda x: ops.logical_and(x > 0, x < 1), 1),
        (lambda x: ops.moveaxis(x, 1, 2), 1),
        (ops.tril, 1),
        (lambda x: -x / 2, 1),
        (lambda x: x // 2.0, 1),
        (lambda x: x % 2.0, 1),
        (lambda x: ops.abs(x) ** 0.5, 1),
        (lambda x: ops.unstack(x, axis=1), 1),
        (lambda x: ops.swapaxes(x, 1, 2), 1),
        (lambda x: 1.0 / (x + 10.0), 1),
        (lambda x: ops.max(x, axis=1), 1),
        (lambda x: ops.prod(x, axis=1), 1),
        (lambda x: ops.any(x > 0, axis=1), 1),
        (lambda x: ops.all(x > 0, axis=1), 1),
        (lambda x: ops.sqrt(ops.square(x)), 1),
        (lambda x: ops.erf(x) + ops.exp(x) + ops.log1p(ops.abs(x)), 1),
    ],
)
def test_operations_agree_with_keras(function: Callable[..., Any], inputs: int) -> None:
    xs = [keras.Input((4, 3)) for _ in range(inputs)]

    model = keras.Model(xs, function(*xs))

    assert disagreement(model) < TOLERANCE


@pytest.mark.parametrize("name", [*SEQUENCES, *IMAGES])
def test_every_operation_agrees_with_keras(name: str) -> None:
    model, x = operation_model(name)

    assert disagreement(model, [x]) < TOLERANCE
