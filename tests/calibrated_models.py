"""Layers that Keras 3 quantised by example, as they are once they are calibrated."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

CALIBRATED = ("gptq/4/3", "gptq/8/-1", "gptq/2/4", "awq/4/3")
UNITS, INPUTS = 5, 6


def calibrated_model(mode: str) -> Any:  # noqa: ANN401 - Keras is untyped
    """Return a model with random codes, scales and zeros."""
    random = np.random.default_rng(1)
    x = keras.Input((4, INPUTS))
    layers = [
        keras.layers.Dense(UNITS, dtype=_policy(mode), name="dense"),
        keras.layers.EinsumDense(
            "abc,cde->abde",
            (None, 2, 3),
            bias_axes="de",
            dtype=_policy(mode),
            name="einsum",
        ),
    ]
    model = keras.Model(x, [layer(x) for layer in layers])
    for layer in layers:
        layer.is_gptq_calibrated = layer.is_awq_calibrated = True
        for weight in layer.weights:
            weight.assign(_values(weight, mode, random))
    return model


def _policy(mode: str) -> Any:  # noqa: ANN401 - Keras is untyped
    """Return the policy of a layer."""
    return keras.dtype_policies.get(f"{mode}_from_float32")


def _values(weight: Any, mode: str, random: np.random.Generator) -> Any:  # noqa: ANN401
    """Return numbers for a weight, of the kind that it holds."""
    shape = weight.shape
    if weight.path.endswith("g_idx"):
        size = int(mode.rpartition("/")[2])
        return np.arange(*shape) // size if size > 0 else np.zeros(shape)
    if weight.dtype == "uint8":
        bits = int(mode.split("/")[1])
        is_packed = weight.path.endswith("kernel") and bits == 4
        return random.integers(0, 256 if is_packed else 2**bits, shape)
    return random.uniform(0.05, 0.2, shape)
