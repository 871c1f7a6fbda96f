"""What the same configuration means in Keras 1, 2 and 3."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from interpreter.live_models import Array, hand_built_file, noise

from keramos.runtime_min.interpreter import Interpreter
from keramos.source import Call, LayerConfig, ModelConfig, Ref

X = np.array([[-4.0, -1.0, 0.0, 1.0, 4.0]])
SEQUENCE = noise((1, 3, 2))


def result(
    version: str,
    class_name: str,
    config: dict[str, Any],
    x: Array,
    *weights: Array,
) -> Array:
    """Return what one layer of a file gives in double precision."""
    file = hand_built_file(
        class_name, config, x.shape[1:], keras_version=version, weights=weights
    )
    y: Array = Interpreter(file, dtype="float64").predict(x)
    return y


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.2.2", [0, 0.3, 0.5, 0.7, 1]),
        ("2.2.4-tf", [0, 0.3, 0.5, 0.7, 1]),
        ("3.3.3", [0, 2 / 6, 3 / 6, 4 / 6, 1]),
    ],
)
def test_hard_sigmoid_changed_with_keras_3(version: str, expected: list[float]) -> None:
    y = result(version, "Activation", {"activation": "hard_sigmoid"}, X)

    assert np.allclose(y, [expected])


def test_leaky_relu_takes_its_slope_under_either_name() -> None:
    old = result("2.15.0", "LeakyReLU", {"alpha": 0.1}, X)
    new = result("3.3.3", "LeakyReLU", {"negative_slope": 0.1}, X)

    assert np.array_equal(old, new)


def test_leaky_relu_of_an_activation_string_has_another_slope() -> None:
    layer = result("3.3.3", "LeakyReLU", {}, X)
    string = result("3.3.3", "Activation", {"activation": "leaky_relu"}, X)

    assert np.allclose([layer[0, 0], string[0, 0]], [-1.2, -0.8])


def test_batch_normalization_takes_its_axis_as_a_list() -> None:
    x = noise((1, 4, 4, 3))
    weights = [noise((3,), 1), noise((3,), 2), noise((3,), 3), np.ones(3)]

    as_list = result("2.2.4-tf", "BatchNormalization", {"axis": [3]}, x, *weights)
    as_number = result("2.15.0", "BatchNormalization", {"axis": 3}, x, *weights)

    assert np.array_equal(as_list, as_number)


GRU_WEIGHTS = (noise((2, 9), 1), noise((3, 9), 2))


def test_gru_without_the_key_resets_before_the_product_until_keras_3() -> None:
    config = {"units": 3, "recurrent_activation": "sigmoid"}
    bias = noise((9,), 3)

    silent = result("2.0.6", "GRU", config, SEQUENCE, *GRU_WEIGHTS, bias)
    explicit = result(
        "2.15.0", "GRU", {**config, "reset_after": False}, SEQUENCE, *GRU_WEIGHTS, bias
    )

    assert np.array_equal(silent, explicit)


def test_gru_without_the_key_resets_behind_the_product_in_keras_3() -> None:
    bias = noise((2, 9), 3)

    silent = result("3.0.0", "GRU", {"units": 3}, SEQUENCE, *GRU_WEIGHTS, bias)
    explicit = result(
        "3.0.0",
        "GRU",
        {"units": 3, "reset_after": True, "recurrent_activation": "sigmoid"},
        SEQUENCE,
        *GRU_WEIGHTS,
        bias,
    )

    assert np.array_equal(silent, explicit)


def test_lstm_without_the_key_has_hard_gates_until_keras_3() -> None:
    weights = (noise((2, 12), 1), noise((3, 12), 2), noise((12,), 3))

    silent = result("2.0.2", "LSTM", {"units": 3}, SEQUENCE, *weights)
    explicit = result(
        "2.0.2",
        "LSTM",
        {"units": 3, "recurrent_activation": "hard_sigmoid"},
        SEQUENCE,
        *weights,
    )

    assert np.array_equal(silent, explicit)


def test_time_major_sequences_have_their_steps_in_front() -> None:
    weights = (noise((2, 12), 1), noise((3, 12), 2), noise((12,), 3))
    config = {"units": 3, "return_sequences": True}
    x = noise((4, 5, 2))

    batch_first = result("2.4.0", "LSTM", config, x, *weights)
    time_first = result(
        "2.4.0", "LSTM", {**config, "time_major": True}, x.swapaxes(0, 1), *weights
    )

    assert np.allclose(time_first.swapaxes(0, 1), batch_first)


def test_random_crop_takes_the_middle_in_keras_2_only() -> None:
    x = noise((1, 6, 6, 1))
    config = {"height": 3, "width": 3}

    old = result("2.15.0", "RandomCrop", config, x)
    new = result("3.0.0", "RandomCrop", config, x)

    assert (old.shape, new.shape) == ((1, 3, 3, 1), (1, 6, 6, 1))


def test_maxout_dense_takes_the_largest_product() -> None:
    kernel, bias = noise((4, 5, 3), 1), noise((4, 3), 2)
    config = {"output_dim": 3, "nb_feature": 4, "bias": True}

    y = result("1.2.2", "MaxoutDense", config, X, kernel, bias)

    products = [X @ kernel[i].astype(np.float64) + bias[i] for i in range(4)]
    assert np.allclose(y, np.max(products, 0))


def test_highway_mixes_its_input_in() -> None:
    kernel, carry = noise((5, 5), 1), np.zeros((5, 5))
    config = {"activation": "linear", "bias": True}

    y = result(
        "1.2.2", "Highway", config, X, kernel, carry, noise((5,), 2), np.zeros(5)
    )

    transformed = X @ kernel.astype(np.float64) + noise((5,), 2)
    assert np.allclose(y, (transformed + X) / 2)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_locally_connected_is_a_convolution_if_all_kernels_are_equal(
    data_format: str,
) -> None:
    kernel = noise((2, 3, 4, 5), 1)
    order = (2, 0, 1, 3) if data_format == "channels_first" else (0, 1, 2, 3)
    window = kernel.transpose(order).reshape(24, 5)
    shape = (4, 6, 7) if data_format == "channels_first" else (6, 7, 4)
    config = {
        "filters": 5,
        "kernel_size": [2, 3],
        "strides": [2, 1],
        "data_format": data_format,
        "use_bias": False,
    }
    x = noise((2, *shape))

    local = result(
        "2.15.0", "LocallyConnected2D", config, x, np.stack([window] * 3 * 5)
    )
    shared = result("2.15.0", "Conv2D", config, x, kernel)

    assert np.allclose(local, shared)


def called(class_name: str, name: str, *inputs: str, **config: object) -> LayerConfig:
    """Return a layer called once, on one tensor or on a list of them."""
    refs = [Ref(each, 0, 0) for each in inputs]
    args = (refs if len(refs) > 1 else refs[0],) if refs else ()
    return LayerConfig(class_name, name, {"name": name, **config}, (Call(args, {}),))


@pytest.mark.parametrize(("version", "steps"), [("2.15.0", [0]), ("3.0.0", [0, 1, 2])])
def test_sum_counts_a_step_that_all_inputs_count_or_any_does(
    version: str, steps: list[int]
) -> None:
    model = ModelConfig(
        "Functional",
        "model",
        (
            called("InputLayer", "a", batch_shape=[None, 4, 1]),
            called("InputLayer", "b", batch_shape=[None, 4, 1]),
            called("Masking", "mask_a", "a"),
            called("Masking", "mask_b", "b"),
            called("Add", "sum", "mask_a", "mask_b"),
            called("GlobalAveragePooling1D", "mean", "sum"),
        ),
        [Ref("a", 0, 0), Ref("b", 0, 0)],
        Ref("mean", 0, 0),
    )
    file = hand_built_file("Add", {}, (1,), keras_version=version)
    a = np.array([[[1.0], [2], [0], [0]]])
    b = np.array([[[4.0], [0], [8], [0]]])

    mean = Interpreter(replace(file, model=model)).predict(a, b)

    assert mean.tolist() == [[(a + b)[0, steps].mean()]]


@pytest.mark.parametrize(("version", "sees_mask"), [("2.15.0", True), ("3.0.0", False)])
def test_rnn_with_an_initial_state_sees_its_mask_in_keras_2_only(
    version: str, *, sees_mask: bool
) -> None:
    weights = (noise((1, 3), 1), noise((3, 3), 2), noise((3,), 3))
    file = hand_built_file(
        "SimpleRNN", {"units": 3}, (1,), keras_version=version, weights=weights
    )
    state = Call((Ref("masked", 0, 0),), {"initial_state": [Ref("h", 0, 0)]})
    tested = replace(file.model.layers[1], calls=(state,))
    model = ModelConfig(
        "Functional",
        "model",
        (
            called("InputLayer", "x", batch_shape=[None, 3, 1]),
            called("InputLayer", "h", batch_shape=[None, 3]),
            called("Masking", "masked", "x"),
            tested,
        ),
        [Ref("x", 0, 0), Ref("h", 0, 0)],
        Ref("tested", 0, 0),
    )
    interpreter = Interpreter(replace(file, model=model))
    x, h = np.array([[[1.0], [0.0], [0.0]]]), noise((1, 3), 4)

    with_gap = interpreter.predict(x, h)
    once = np.tanh(x[:, 0] @ weights[0] + weights[2] + h @ weights[1])

    assert np.allclose(with_gap, once, atol=1e-6) == sees_mask
