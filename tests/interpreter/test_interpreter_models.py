"""Models as wholes: graphs, inputs and outputs, errors, the interface."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from interpreter.live_models import (
    Array,
    assert_agrees,
    fill_weights,
    hand_built_file,
    live_file,
    noise,
)
from keras import layers

from keramos import source
from keramos.errors import CompileError
from keramos.runtime_min.interpreter import (
    Interpreter,
    Layer,
    magnitude,
)


def two_sided_model() -> keras.Model:
    """Return a model with two inputs, two outputs and a layer that both sides share."""
    left = keras.Input((4,), name="left")
    right = keras.Input((4,), name="right")
    shared = layers.Dense(3, activation="relu", name="shared")
    joined = layers.Concatenate(name="joined")([shared(left), shared(right)])
    total = layers.Dense(2, name="total")(joined)
    return keras.Model([right, left], [total, joined])


def test_shared_layers_and_several_outputs_agree_with_keras() -> None:
    assert_agrees(two_sided_model(), noise((3, 4), 1), noise((3, 4), 2))


def test_several_outputs_come_by_the_names_of_their_layers() -> None:
    interpreter = Interpreter(live_file(two_sided_model()))

    outputs = interpreter.predict(noise((3, 4), 1), noise((3, 4), 2))

    assert list(outputs) == ["total", "joined"]


def test_inputs_are_taken_in_order_or_by_name() -> None:
    interpreter = Interpreter(live_file(two_sided_model()))
    right, left = noise((3, 4), 1), noise((3, 4), 2)

    by_order = interpreter.predict(right, left)
    by_name = interpreter.predict({"left": left, "right": right})

    assert np.array_equal(by_order["total"], by_name["total"])


def test_layer_outputs_name_every_call() -> None:
    interpreter = Interpreter(live_file(two_sided_model()))

    outputs = interpreter.layer_outputs(noise((3, 4)), noise((3, 4)))

    assert set(outputs) == {"left", "right", "shared", "shared_1", "joined", "total"}


def test_the_same_output_twice_gets_a_number() -> None:
    inputs = keras.Input((4,))
    shared = layers.Dense(2, name="shared")
    first = shared(inputs)
    model = keras.Model(inputs, [first, shared(layers.Dense(4)(first))])

    assert list(Interpreter(live_file(model)).predict(noise((1, 4)))) == [
        "shared",
        "shared_1",
    ]


def test_ports_say_shapes_and_which_axes_are_free() -> None:
    inputs = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="features")(inputs)
    pooled = layers.GlobalAveragePooling2D(name="pooled")(x)
    interpreter = Interpreter(live_file(keras.Model(inputs, [x, pooled])))

    assert (interpreter.inputs, interpreter.outputs) == (
        (("image", (None, None, 3), "float32"),),
        (
            ("features", (None, None, 4), "float32"),
            ("pooled", (4,), "float32"),
        ),
    )


def test_nested_and_shared_models_agree_with_keras() -> None:
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, activation="tanh"), layers.Dense(4)]
    )
    a, b = keras.Input((4,)), keras.Input((4,))
    middle = keras.Model([a, b], [layers.Add()([inner(a), b]), inner(b)])
    x, y = keras.Input((4,)), keras.Input((4,))
    first, second = middle([x, y])
    model = keras.Model([x, y], layers.Multiply()([first, inner(second)]))

    assert_agrees(model, noise((3, 4), 1), noise((3, 4), 2))


def test_dicts_of_inputs_and_outputs_agree_with_keras() -> None:
    inputs = {"b": keras.Input((4,), name="b"), "a": keras.Input((4,), name="a")}
    difference = layers.Subtract(name="difference")([inputs["b"], inputs["a"]])
    model = keras.Model(inputs, {"y": difference, "x": layers.ReLU()(difference)})
    fill_weights(model, 0)
    given = {"a": noise((3, 4), 1), "b": noise((3, 4), 2)}

    actual = Interpreter(live_file(model)).predict(given)

    assert np.array_equal(actual["difference"], np.asarray(model(given)["y"]))


def test_deep_models_do_not_exhaust_the_stack() -> None:
    file = hand_built_file("Identity", {}, (2,))
    given, first = file.model.layers
    chain = [
        source.LayerConfig(
            "Identity",
            f"step{i}",
            {},
            (source.Call((source.Ref(f"step{i - 1}" if i else "tested", 0, 0),), {}),),
        )
        for i in range(3000)
    ]
    model = replace(
        file.model,
        layers=(given, first, *chain),
        outputs=source.Ref(chain[-1].name, 0, 0),
    )

    actual = Interpreter(replace(file, model=model)).predict(np.ones((1, 2)))

    assert actual.tolist() == [[1, 1]]


def test_saved_file_gives_what_keras_gives(tmp_path: Path) -> None:
    model = two_sided_model()
    fill_weights(model, 0)
    model.save(tmp_path / "model.keras")
    right, left = noise((3, 4), 1), noise((3, 4), 2)

    actual = Interpreter(tmp_path / "model.keras").predict(right, left)["total"]

    assert np.allclose(actual, np.asarray(model([right, left])[0]), atol=1e-6)


def test_double_precision_is_double_throughout() -> None:
    interpreter = Interpreter(live_file(two_sided_model()), dtype="float64")

    outputs = interpreter.predict(np.full((1, 4), 1e-9), np.ones((1, 4)))

    assert outputs["total"].dtype == np.float64


def test_magnitude_is_what_positive_weights_and_inputs_give() -> None:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(1)(inputs))
    model.set_weights([np.array([[2.0], [-3.0]]), np.array([-1.0])])

    assert magnitude(live_file(model), np.array([[-4.0, 5.0]]))[0].tolist() == [[24.0]]


class Doubled(Layer):
    """A layer of the user's own."""

    def call(self, inputs: Array) -> Array:
        """Return twice the inputs."""
        return 2 * inputs


def test_custom_layers_run_by_their_class_name() -> None:
    file = hand_built_file("TheirLayer", {}, (3,))

    actual = Interpreter(file, custom={"TheirLayer": Doubled}).predict(np.ones((1, 3)))

    assert actual.tolist() == [[2, 2, 2]]


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (
            [noise((2, 4))],
            TypeError,
            "the model takes 2 inputs ('right', 'left'), got 1",
        ),
        (
            [{"right": noise((2, 4))}],
            ValueError,
            "missing input 'left': the inputs are 'right', 'left'",
        ),
        (
            [{"right": noise((2, 4)), "left": noise((2, 4)), "up": 1}],
            ValueError,
            "unknown input 'up': the inputs are 'right', 'left'",
        ),
        (
            [noise((2, 4)), noise((2, 5))],
            ValueError,
            "input 'left' takes the shape (batch, 4), got (2, 5)",
        ),
        (
            [noise((2, 4)), noise((4,))],
            ValueError,
            "input 'left' takes the shape (batch, 4), got (4,)",
        ),
        (
            [noise((2, 4)), noise((3, 4))],
            ValueError,
            "the inputs' batch sizes differ: 2, 3",
        ),
        (
            [noise((2, 4)), np.full((2, 4), "a")],
            TypeError,
            "input 'left' takes numbers, got the type <U1",
        ),
    ],
)
def test_wrong_inputs_get_one_clear_sentence(
    inputs: list[Any], error: type[Exception], message: str
) -> None:
    interpreter = Interpreter(live_file(two_sided_model()))

    with pytest.raises(error) as caught:
        interpreter.predict(*inputs)

    assert str(caught.value) == message


def test_tokens_have_to_be_whole_numbers_inside_of_the_vocabulary() -> None:
    inputs = keras.Input((2,), dtype="int32", name="tokens")
    model = keras.Model(inputs, layers.Embedding(9, 2, name="words")(inputs))
    interpreter = Interpreter(live_file(model))

    with pytest.raises(TypeError) as not_whole:
        interpreter.predict(np.ones((1, 2)))
    with pytest.raises(
        ValueError, match="tokens go from 0 to 8, got 3 to 9"
    ) as outside:
        interpreter.predict(np.array([[3, 9]]))

    assert [str(not_whole.value), *outside.value.__notes__] == [
        "input 'tokens' takes whole numbers (int32), got float64",
        "in live.keras: layer 'words' (Embedding), called with the shapes (1, 2)",
    ]


def test_everything_that_cannot_be_run_is_listed_at_once() -> None:
    inputs = keras.Input((4,))
    x = layers.Lambda(lambda t: t * 2, name="doubled", output_shape=(4,))(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="last")(x))
    file = live_file(model)
    config = {**file.model.layers[2].config, "activation": "mine", "units": "many"}
    object.__setattr__(file.model.layers[2], "config", config)

    with pytest.raises(CompileError) as caught:
        Interpreter(file)

    assert str(caught.value).splitlines() == [
        (
            "live.keras: layer 'doubled' (Lambda): holds Python bytecode, which is "
            "never executed (the interpreter doesn't know custom layers; compile the "
            "model with --custom, and `keramos verify PACKAGE` compares the package "
            "with its recorded sample)"
        ),
        "live.keras: layer 'last' (Dense): units is 'many', not a whole number above 0",
    ]


@pytest.mark.parametrize(
    ("class_name", "config", "weights", "problem"),
    [
        (
            "Dense",
            {"units": 3},
            [],
            "the file has no weight for its kernel",
        ),
        (
            "Dense",
            {"units": 3},
            [np.ones((4, 2)), np.ones(3)],
            (
                "its kernel has the shape (4, 2) in the file, but the configuration "
                "asks for (any, 3) (the weights belong to another configuration)"
            ),
        ),
        (
            "Dense",
            {"units": 3, "use_bias": False},
            [np.ones((4, 3)), np.ones(3)],
            "the file has 1 more weights than it uses",
        ),
        ("Dense", {}, [], "the configuration has no 'units'"),
        (
            "Conv2D",
            {"filters": 1, "kernel_size": 3, "padding": "causal"},
            [],
            "padding is 'causal', which Conv2D doesn't have (use 'valid' or 'same')",
        ),
        (
            "TCN",
            {},
            [],
            (
                "this layer is unknown (the interpreter doesn't know custom layers; "
                "compile the model with --custom, and `keramos verify PACKAGE` "
                "compares the package with its recorded sample)"
            ),
        ),
    ],
)
def test_layer_that_cannot_be_run_says_why(
    class_name: str, config: dict[str, object], weights: list[Array], problem: str
) -> None:
    file = hand_built_file(class_name, config, (4,), weights=weights)

    with pytest.raises(CompileError) as caught:
        Interpreter(file)

    assert str(caught.value) == f"made.h5: layer 'tested' ({class_name}): {problem}"
