"""README's table of layers: what it says of each family is so, on every target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from interpreter.live_models import hand_built_file
from layer_cases import ELSEWHERE, LIMITS, MODELS, WORDS, Limit
from numpy.typing import NDArray
from packages import compiled, outputs
from strategies_models import randomise
from test_readme import families
from tolerance import assert_close, reference, tolerances

from keramos.importer import describe
from keramos.layers.registry import LAYERS

# exp, log and tanh of GPUs are good for a few units, not for half of one.
FACTOR = 64
# Keras 3 makes it only where TensorFlow is installed; tests/test_keras2.py runs it.
NEEDS_TENSORFLOW = {"IntegerLookup"}


@pytest.mark.slow
@pytest.mark.usefixtures("egl")
@pytest.mark.parametrize("family", MODELS)
def test_each_family_runs_on_the_cpu_and_on_the_gpu(
    family: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    model = MODELS[family]()
    randomise(model, rng)
    path = tmp_path / "model.keras"
    model.save(path)
    inputs = [_numbers(x, rng) for x in model.inputs]
    module = compiled(path, tmp_path, targets=("cpu", "gl"))

    for device in ("cpu", "gl"):
        found = outputs(module, inputs, device=device)

        bounds = tolerances(path, inputs, factor=FACTOR)
        assert_close(found, reference(path, inputs), bounds)


def _numbers(
    x: Any, rng: np.random.Generator  # noqa: ANN401 - Keras is untyped
) -> NDArray[Any]:
    """Return a batch for an input of a model."""
    shape = (2, *x.shape[1:])
    if x.dtype == "int32":
        return rng.integers(0, WORDS - 2, shape).astype(np.int32)
    return rng.normal(size=shape).astype(np.float32)


def test_every_family_has_a_model() -> None:
    named = {name.split(",")[0] for name in MODELS} | set(ELSEWHERE)

    assert named == {name.replace("_", " ") for name in families()}


def test_every_class_of_keras_is_in_the_model_of_its_family_or_like_one() -> None:
    seen = {
        LAYERS[type(each).__name__]
        for make in MODELS.values()
        for each in all_of(make())
    }
    kinds = {
        LAYERS[name]
        for family, names in families().items()
        if family.replace("_", " ") not in ELSEWHERE
        for name in names
        if hasattr(keras.layers, name)
    }

    assert {each.__name__ for each in kinds - seen} == NEEDS_TENSORFLOW


def all_of(model: keras.Model) -> list[keras.Layer]:
    """Return a model's layers, those inside of others and their cells too."""
    return [
        each
        for each in model._flatten_layers()  # noqa: SLF001 - there is no public way
        if type(each).__name__ in LAYERS
    ]


@pytest.mark.parametrize(
    ("family", "limit"),
    [(family, limit) for family, limits in LIMITS.items() for limit in limits],
    ids=lambda item: item.words if isinstance(item, Limit) else None,
)
def test_what_the_readme_calls_refused_is_refused(family: str, limit: Limit) -> None:
    file = hand_built_file(
        limit.class_name, dict(limit.config), limit.shape, keras_version=limit.version
    )

    problems = [str(each) for each in describe(file).problems]

    assert limit.class_name in families()[family.replace(" ", "_")]
    assert any(limit.problem in each for each in problems), problems
