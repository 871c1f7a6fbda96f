"""Class activation maps are those of Keras' models, by the gradients of jax."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import model_files as files
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray
from packages import compiled

from keramos import CompileError, compile_model

Array = NDArray[Any]
# Keras has no types.
KerasModel = Any
Tensor = Any
SHAPE = (12, 12, 3)
CLASSES = 5


def image() -> Tensor:
    return keras.Input(SHAPE, name="image")


def cam() -> tuple[KerasModel, str]:
    x = start = image()
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="last")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(start, layers.Dense(CLASSES, activation="softmax")(x)), "last"


def pooled() -> tuple[KerasModel, str]:
    x = start = image()
    x = layers.Conv2D(6, 3, activation="relu", name="last")(x)
    x = layers.Dropout(0.5)(layers.MaxPooling2D(2)(x))
    x = layers.Dense(7, activation="gelu")(layers.Flatten()(x))
    return keras.Model(start, layers.Dense(CLASSES, activation="softmax")(x)), "last"


def overlapping() -> tuple[KerasModel, str]:
    x = start = image()
    x = layers.Conv2D(6, 3, name="last")(x)
    x = layers.ReLU()(x)
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    x = layers.AveragePooling2D(2, padding="same")(x)
    x = layers.Dense(7, activation="tanh")(layers.Flatten()(x))
    return keras.Model(start, layers.Dense(CLASSES)(x)), "last"


def earlier() -> tuple[KerasModel, str]:
    x = start = image()
    x = layers.Conv2D(6, 3, strides=2, padding="same", name="first")(x)
    x = layers.BatchNormalization()(x)
    y = layers.SeparableConv2D(6, 3, padding="same", activation="swish")(x)
    x = layers.Add()([x, y])
    x = layers.Concatenate()([x, layers.Conv2D(4, 1)(x)])
    x = layers.GlobalMaxPooling2D()(x)
    return keras.Model(start, layers.Dense(CLASSES, activation="softmax")(x)), "first"


def with_another_branch() -> tuple[KerasModel, str]:
    x = start = image()
    left = layers.Conv2D(4, 3, padding="same", activation="relu", name="left")(x)
    right = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.Multiply()([left, right])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(start, layers.Dense(CLASSES, activation="softmax")(x)), "left"


def mobile() -> tuple[KerasModel, str]:
    x = start = image()
    x = layers.Conv2D(6, 3, activation="relu6", name="last")(x)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Reshape((CLASSES,))(layers.Conv2D(CLASSES, 1)(x))
    return keras.Model(start, layers.Activation("softmax")(x)), "last"


def binary() -> tuple[KerasModel, str]:
    x = start = image()
    x = layers.Conv2D(6, 3, activation="relu", name="last")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(start, layers.Dense(1, activation="sigmoid")(x)), "last"


def one_dimensional() -> tuple[KerasModel, str]:
    start = keras.Input((20, 3), name="image")
    x = layers.Conv1D(6, 3, activation="relu", name="last")(start)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(start, layers.Dense(CLASSES, activation="softmax")(x)), "last"


MODELS: list[Callable[[], tuple[KerasModel, str]]] = [
    *(cam, pooled, overlapping, earlier, with_another_branch, mobile, binary),
    one_dimensional,
]
# In these, the last feature map is another one than that of the named layer.
NAMED = (overlapping, earlier, with_another_branch)


def built(make: Callable[[], tuple[KerasModel, str]]) -> tuple[KerasModel, str]:
    keras.utils.set_random_seed(3)
    return make()


def samples(model: KerasModel, n: int = 3) -> Array:
    shape = (n, *model.inputs[0].shape[1:])
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def run(
    model: KerasModel, layer: str, x: Tensor, addend: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the layer's outputs plus *addend*, and the scores that follow."""
    own = model.get_layer(layer)
    call, found = own.call, []

    def changed(*args: Tensor, **kwargs: Tensor) -> Tensor:
        found.append(call(*args, **kwargs) + addend)
        return found[0]

    own.call = changed
    try:
        scores = model(x)
    finally:
        own.call = call
    return found[0], scores


def expected(model: KerasModel, layer: str, x: Array, labels: Array) -> Array:
    """Return Grad-CAM as its authors describe it, the gradients taken by jax."""
    model.layers[-1].activation = keras.activations.linear
    maps = []
    for sample, label in zip(x[:, None], labels, strict=True):
        features = np.asarray(run(model, layer, sample, 0.0)[0])[0]

        def score(addend: Tensor, x: Tensor = sample, label: int = label) -> Tensor:
            return run(model, layer, x, addend)[1][0, label]

        slope = jax.grad(score)(jnp.zeros((1, *features.shape), jnp.float32))
        places = tuple(range(features.ndim - 1))
        alpha = np.asarray(slope)[0].mean(axis=places)
        level = np.maximum((features * alpha).sum(-1), 0)
        maps.append(level / level.max() if level.max() > 0 else level)
    return np.array(maps)


@pytest.mark.parametrize("device", ["cpu", "gl"])
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_maps_are_grad_cam(
    tmp_path: Path, make: Callable[[], tuple[KerasModel, str]], device: str
) -> None:
    model, layer = built(make)
    path = files.saved(tmp_path / "network.keras", model)
    options = {"cam": layer if make in NAMED else "auto"}
    package = compiled(path, tmp_path, **options)
    x = samples(model)
    labels = np.arange(len(x)) % model.outputs[0].shape[1]

    with package.Model(device) as running:
        found = running.class_activation_map(x, labels)
        y = running.predict(x)

    assert np.allclose(y, model.predict(x, verbose=0), rtol=1e-4, atol=1e-6)
    wanted = expected(model, layer, x, labels)
    assert wanted.max() == 1
    assert np.allclose(found, wanted, atol=1e-4)


def test_without_a_class_it_is_the_likeliest(tmp_path: Path) -> None:
    model, _ = built(pooled)
    path = files.saved(tmp_path / "network.keras", model)
    package = compiled(path, tmp_path, cam="auto", targets=("cpu",))
    x = samples(model)

    with package.Model() as running:
        found = running.class_activation_map(x)
        wanted = running.class_activation_map(x, running.predict(x).argmax(1))

    assert found.shape == (3, 10, 10)
    assert np.array_equal(found, wanted)


def test_a_class_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    model, _ = built(cam)
    path = files.saved(tmp_path / "network.keras", model)
    package = compiled(path, tmp_path, cam="auto", targets=("cpu",))

    with (
        package.Model() as running,
        pytest.raises(IndexError, match="has the classes 0 to 4"),
    ):
        running.class_activation_map(samples(model), 5)


def test_weights_that_both_graphs_read_are_stored_once(tmp_path: Path) -> None:
    path = files.saved(tmp_path / "network.keras", built(cam)[0])
    plain, mapped = (
        compiled(path, tmp_path, targets=("cpu", "gl", "web"), **options)
        for options in ({}, {"cam": "auto"})
    )

    before, after = (
        (package.HERE / "weights.safetensors").stat().st_size
        for package in (plain, mapped)
    )
    # A header entry more, and numbers by which the gradient is divided.
    assert after - before < 600


@pytest.mark.parametrize(
    ("layer", "line"),
    [
        (
            "missing",
            (
                "network.keras: --cam names 'missing', which isn't a layer "
                "(keramos inspect lists the layers)"
            ),
        ),
        (
            "dense",
            (
                "network.keras: --cam 'dense' gives float32[5], not a feature map "
                "(name a convolution, or what follows it)"
            ),
        ),
    ],
)
def test_other_layers_are_refused_in_a_line(
    tmp_path: Path, layer: str, line: str
) -> None:
    keras.backend.clear_session()
    path = files.saved(tmp_path / "network.keras", built(cam)[0])

    with pytest.raises(CompileError) as error:
        compile_model(path, tmp_path / "out", cam=layer)

    assert str(error.value) == line


def test_models_without_scores_are_refused(tmp_path: Path) -> None:
    start = image()
    model = keras.Model(start, layers.Conv2D(2, 3)(start))
    path = files.saved(tmp_path / "network.keras", model)

    with pytest.raises(CompileError) as error:
        compile_model(path, tmp_path / "out", cam="auto")

    assert str(error.value) == (
        "network.keras: --cam needs one output, a score for each class, "
        "not float32[10, 10, 2]"
    )


def test_ways_without_a_gradient_are_refused(tmp_path: Path) -> None:
    start = image()
    x = layers.Conv2D(4, 3, name="early")(start)
    x = layers.GlobalAveragePooling2D()(layers.UpSampling2D(2)(x))
    model = keras.Model(start, layers.Dense(3)(x))
    path = files.saved(tmp_path / "network.keras", model)

    with pytest.raises(CompileError) as error:
        compile_model(path, tmp_path / "out", cam="early")

    assert str(error.value) == (
        "network.keras: --cam 'early' has no gradient: Resize is on the way "
        "(name a later layer)"
    )
