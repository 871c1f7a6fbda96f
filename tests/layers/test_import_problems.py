"""What the importer refuses, word for word."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keramos.errors import CompileError
from keramos.importer import import_model
from keramos.source import KerasFile, Tensor, parse_model


def file_of(
    *layers: tuple[str, Mapping[str, Any]],
    shape: Sequence[int | None] = (8, 8, 3),
    weights: Mapping[str, Sequence[tuple[int, ...]]] | None = None,
    version: str = "3.15.0",
) -> KerasFile:
    """Return a Sequential of (class, options), whose layers are named l0, l1..."""
    entries: list[dict[str, Any]] = [
        {
            "class_name": "InputLayer",
            "config": {"name": "x", "batch_shape": [None, *shape], "dtype": "float32"},
        }
    ]
    for i, (class_name, config) in enumerate(layers):
        entries.append(
            {"class_name": class_name, "config": {"name": f"l{i}", **config}}
        )
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": entries}}
    stored = {name: tuple(map(tensor, each)) for name, each in (weights or {}).items()}
    return KerasFile(
        path=Path("digits.h5"),
        format="hdf5",
        keras_version=version,
        sha256="",
        model=parse_model(config),
        layer_weights=lambda path: stored.get("/".join(path), ()),
    )


def tensor(shape: tuple[int, ...]) -> Tensor:
    return Tensor("w", shape, "float32", lambda: np.zeros(shape, np.float32))


CONV = {"filters": 2, "kernel_size": [3, 3]}
KERNEL = {"l0": [(3, 3, 3, 2), (2,)]}

# What follows the name of the file.
CASES: dict[str, tuple[Callable[[], KerasFile], list[str]]] = {
    "an option's value that the class doesn't have": (
        lambda: file_of(("Conv2D", {**CONV, "padding": "causal"}), weights=KERNEL),
        [
            (
                "'l0' (Conv2D): padding is 'causal', which Conv2D doesn't "
                "have (use 'valid' or 'same')"
            ),
        ],
    ),
    "an option of the wrong type": (
        lambda: file_of(("Conv2D", {**CONV, "strides": "two"}), weights=KERNEL),
        [
            ("'l0' (Conv2D): strides is 'two', not 2 whole numbers from 1"),
        ],
    ),
    "an option that isn't known": (
        lambda: file_of(("Conv2D", {**CONV, "twist": 3}), weights=KERNEL),
        [
            (
                "'l0' (Conv2D): has the option 'twist', which isn't known "
                "here (its value could change the result)"
            ),
        ],
    ),
    "a Lambda": (
        lambda: file_of(("Lambda", {})),
        [
            (
                "'l0' (Lambda): holds Python bytecode, which is never "
                "executed (pass --custom FILE.py that defines it)"
            ),
        ],
    ),
    "a class of the user's own": (
        lambda: file_of(("Swirl", {})),
        [
            (
                "'l0' (Swirl): the class 'Swirl' isn't one that Keramos "
                "knows (pass --custom FILE.py that defines it)"
            ),
        ],
    ),
    "a missing weight": (
        lambda: file_of(("Conv2D", CONV), weights={"l0": [(3, 3, 3, 2)]}),
        [
            (
                "'l0' (Conv2D): the file has no weight for its bias "
                "(save the whole model, or give --weights-file)"
            ),
        ],
    ),
    "a weight of another shape": (
        lambda: file_of(("Conv2D", CONV), weights={"l0": [(3, 3, 1, 2), (2,)]}),
        [
            (
                "'l0' (Conv2D): its kernel has the shape (3, 3, 1, 2) in "
                "the file, but its options ask for (3, 3, 3, 2) (the weights belong to "
                "another configuration)"
            ),
        ],
    ),
    "a weight too many": (
        lambda: file_of(
            ("Conv2D", {**CONV, "use_bias": False}),
            weights={"l0": [(3, 3, 3, 2), (2,)]},
        ),
        [
            (
                "'l0' (Conv2D): the file has 1 weight more than it uses "
                "(the weights belong to another configuration)"
            ),
        ],
    ),
    "an unknown activation": (
        lambda: file_of(("Activation", {"activation": "swoosh"})),
        [
            (
                "'l0' (Activation): activation is 'swoosh', which Keras "
                "doesn't have (use a built-in activation, or a layer of your own)"
            ),
        ],
    ),
    "an activation that is a Python function": (
        lambda: file_of(("Activation", {"activation": "<lambda>"})),
        [
            (
                "'l0' (Activation): activation is '<lambda>', which Keras "
                "doesn't have (pass --custom FILE.py that defines the layer)"
            ),
        ],
    ),
    "the wrong number of axes": (
        lambda: file_of(("Conv2D", CONV), shape=(8,), weights=KERNEL),
        [
            ("'l0' (Conv2D): takes 4 axes, not an input of shape (None, 8)"),
        ],
    ),
    "a shape that doesn't reshape": (
        lambda: file_of(("Reshape", {"target_shape": [5]})),
        [
            (
                "'l0' (Reshape): can't be applied to inputs of "
                "(None, 8, 8, 3): float32[8, 8, 3] doesn't reshape to (5,)"
            ),
        ],
    ),
    "a free dimension where one must be known": (
        lambda: file_of(("Dense", {"units": 2}), shape=(None,)),
        [
            (
                "'l0' (Dense): its input of shape (None, None) needs a "
                "last axis of known length (give it with --input-shape)"
            ),
        ],
    ),
    "an axis of the batch": (
        lambda: file_of(("Softmax", {"axis": 0})),
        [
            (
                "'l0' (Softmax): works across the samples of a batch, "
                "which Keramos keeps apart"
            ),
        ],
    ),
    "a layer that works on strings": (
        lambda: file_of(("StringLookup", {})),
        [
            (
                "'l0' (StringLookup): works on strings or hashes, which "
                "programs for arrays don't have (turn text into numbers before the "
                "model)"
            ),
        ],
    ),
    "all problems of a model at once": (
        lambda: file_of(
            ("Conv2D", {**CONV, "padding": "full", "strides": [0, 1]}),
            ("Swirl", {}),
            ("Dense", {"units": "many"}),
        ),
        [
            ("'l0' (Conv2D): strides is [0, 1], not 2 whole numbers from 1"),
            (
                "'l0' (Conv2D): padding is 'full', which Conv2D doesn't "
                "have (use 'valid' or 'same')"
            ),
            (
                "'l1' (Swirl): the class 'Swirl' isn't one that Keramos "
                "knows (pass --custom FILE.py that defines it)"
            ),
            "'l2' (Dense): units is 'many', not a whole number",
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_problem_is_one_clear_line(case: str) -> None:
    make, lines = CASES[case]

    with pytest.raises(CompileError) as caught:
        import_model(make())

    assert str(caught.value).splitlines() == [
        f"digits.h5: layer {line}" for line in lines
    ]


def test_a_shape_for_an_input_that_isnt_there_is_a_problem() -> None:
    with pytest.raises(CompileError) as caught:
        import_model(file_of(("Flatten", {})), input_shapes={"y": (8, 8, 3)})

    assert str(caught.value) == (
        "digits.h5: --input-shape names 'y', which isn't an input (the inputs are 'x')"
    )


def test_a_shape_that_contradicts_the_model_is_a_problem() -> None:
    with pytest.raises(CompileError) as caught:
        import_model(file_of(("Flatten", {})), input_shapes={"x": (8, 9, 3)})

    assert str(caught.value) == (
        "digits.h5: layer 'x' (InputLayer): its shape is (None, 8, 8, 3), which "
        "--input-shape can't make (None, 8, 9, 3)"
    )


@pytest.mark.parametrize(
    ("option", "line"),
    [
        (
            {"dtype": "string"},
            "takes strings (turn text into numbers before the model)",
        ),
        (
            {"ragged": True},
            (
                "takes ragged tensors, whose samples differ in length (pad the "
                "samples, and mask what was added)"
            ),
        ),
    ],
)
def test_inputs_that_arent_arrays_are_a_problem(
    option: Mapping[str, Any], line: str
) -> None:
    file = file_of(("Flatten", {}))
    first, *rest = file.model.layers
    changed = replace(first, config={**first.config, **option})
    model = replace(file.model, layers=(changed, *rest))

    with pytest.raises(CompileError) as caught:
        import_model(replace(file, model=model))

    assert str(caught.value) == f"digits.h5: layer 'x' (InputLayer): {line}"


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2.3.0", [0.3, 0.5, 0.7]), ("3.0.0", [1 / 3, 0.5, 2 / 3])],
)
def test_hard_sigmoid_is_that_of_the_files_generation(
    version: str, expected: list[float]
) -> None:
    graph = import_model(
        file_of(
            ("Activation", {"activation": "hard_sigmoid"}), shape=(3,), version=version
        )
    )

    (y,) = graph.evaluate(np.array([[-1.0, 0.0, 1.0]]))

    assert np.abs(y[0] - expected).max() < 1e-12


@pytest.mark.parametrize(("version", "biases"), [("2.2.4", (9,)), ("3.0.0", (2, 9))])
def test_a_gru_that_says_nothing_has_the_bias_of_its_generation(
    version: str, biases: tuple[int, ...]
) -> None:
    file = file_of(
        ("GRU", {"units": 3}),
        shape=(4, 2),
        version=version,
        weights={"l0": [(2, 9), (3, 9), biases]},
    )

    assert import_model(file).output_specs[0].shape == (3,)


@pytest.mark.parametrize("key", ["alpha", "negative_slope"])
def test_the_slope_of_a_leaky_relu_has_two_names(key: str) -> None:
    graph = import_model(file_of(("LeakyReLU", {key: 0.25}), shape=(2,)))

    (y,) = graph.evaluate(np.array([[-4.0, 4.0]]))

    assert y.tolist() == [[-1.0, 4.0]]
