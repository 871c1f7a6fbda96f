"""Models that keep states go on from call to call in the browser as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray
from playwright.sync_api import Page
from web.browser import ask

from keramos import Interpreter, compile_model

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def remembering(root: Path) -> Interpreter:
    """Compile ``remembering/``; return its interpreter."""
    x = keras.Input(batch_shape=(2, 3, 2), name="x")
    y = layers.LSTM(3, stateful=True, return_sequences=True)(x)
    model = keras.Model(x, layers.Bidirectional(layers.GRU(2, stateful=True))(y))
    path = root / "remembering.keras"
    model.save(path)
    compile_model(path, root, name="remembering")
    return Interpreter(path)


@pytest.mark.parametrize("device", ["webgl2", "cpu"])
def test_calls_go_on_until_the_states_are_reset(
    device: str, page: Page, remembering: Interpreter
) -> None:
    rng = np.random.default_rng(0)
    calls = [rng.normal(size=(2, 3, 2)).astype(np.float32) for _ in range(4)]

    found = ask(
        page,
        """async ([calls, device]) => {
            const model = await harness.load("remembering", {device});
            const {error} = await model.verify();
            const answers = [];
            // Nothing waits for the answer to the call before.
            for (const [k, call] of calls.entries()) {
                if (k === 2) {
                    model.resetStates();
                }
                answers.push(model.predict(call));
            }
            const arrays = await Promise.all(answers);
            const refused = await model.predict([[[1, 2], [3, 4], [5, 6]]])
                .catch(({message}) => message);
            model.dispose();
            return [arrays.map((y) => Array.from(y)), error, refused];
        }""",
        [[x.tolist() for x in calls], device],
    )

    expected: list[NDArray[Any]] = []
    remembering.reset_states()
    for k, x in enumerate(calls):
        if k == 2:
            remembering.reset_states()
        expected.append(np.asarray(remembering.predict(x)).ravel())
    arrays, error, refused = found
    assert np.abs(np.array(arrays) - np.array(expected)).max() < TOLERANCE
    assert error < TOLERANCE
    assert refused == (
        "the model keeps the states of 2 samples, so that each call takes as many, "
        "not 1"
    )
