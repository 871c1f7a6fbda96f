"""Make the models: ``KERAS_BACKEND=jax python make_models.py FOLDER``.

Needs Keras 3. Writes FOLDER/NAME.keras, with random weights, and FOLDER/NAME.npz with
inputs and with what Keras makes of them, for each of the three models.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

SAMPLES = 4
STEPS = 6
WORDS = 12


@keras.saving.register_keras_serializable("examples")
class AttentionPooling(keras.layers.Layer):  # type: ignore[misc]  # untyped
    """The sum of a sequence's steps, weighted by a score that each gets."""

    def __init__(
        self,
        units: int,
        temperature: float = 1.0,
        **options: Any,  # noqa: ANN401  Keras' own
    ) -> None:
        """Keep the options."""
        super().__init__(**options)
        self.units, self.temperature = units, temperature
        self.supports_masking = True

    def build(self, shape: tuple[int, ...]) -> None:
        """Make the weights; files have them in this order."""
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.bias = self.add_weight(shape=(self.units,), name="bias")
        self.query = self.add_weight(shape=(self.units,), name="query")

    def call(
        self, x: Any, mask: Any = None  # noqa: ANN401  tensors of any backend
    ) -> Any:  # noqa: ANN401
        """Return (n, features) of (n, steps, features)."""
        hidden = ops.tanh(ops.matmul(x, self.kernel) + self.bias)
        scores = ops.matmul(hidden, self.query) / self.temperature
        if mask is not None:
            scores = ops.where(mask, scores, -1e9)
        return ops.einsum("nt,ntc->nc", ops.softmax(scores), x)

    def compute_mask(
        self, x: Any, mask: Any = None  # noqa: ANN401, ARG002  Keras' signature
    ) -> None:
        """Return no mask: the steps are gone."""
        return

    def get_config(self) -> dict[str, Any]:
        """Return the options that the file states."""
        own = {"units": self.units, "temperature": self.temperature}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("examples")
class MinimalGatedCell(keras.layers.Layer):  # type: ignore[misc]  # untyped
    """A recurrent cell with one gate, which both forgets and resets."""

    def __init__(self, units: int, **options: Any) -> None:  # noqa: ANN401  Keras' own
        """Keep the size of the state, which is the output too."""
        super().__init__(**options)
        self.units = self.state_size = self.output_size = units

    def build(self, shape: tuple[int, ...]) -> None:
        """Make the weights, those of the gate beside those of the candidate."""
        both = 2 * self.units
        self.kernel = self.add_weight(shape=(shape[-1], both), name="kernel")
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, both), name="recurrent_kernel"
        )
        self.bias = self.add_weight(shape=(both,), name="bias")

    def call(self, x: Any, states: Any) -> Any:  # noqa: ANN401  tensors of any backend
        """Return the output of one step, and the next states."""
        (state,) = states
        of_gate, of_candidate = ops.split(
            ops.matmul(x, self.kernel) + self.bias, 2, axis=-1
        )
        gate_kernel, candidate_kernel = ops.split(self.recurrent_kernel, 2, axis=-1)
        gate = ops.sigmoid(of_gate + ops.matmul(state, gate_kernel))
        candidate = ops.tanh(of_candidate + ops.matmul(gate * state, candidate_kernel))
        state = (1.0 - gate) * state + gate * candidate
        return state, [state]

    def get_config(self) -> dict[str, Any]:
        """Return the options that the file states."""
        return {**super().get_config(), "units": self.units}


def with_lambda() -> Any:  # noqa: ANN401  Keras has no types
    """Return a model with a Lambda layer that has an argument."""
    return keras.Sequential(
        [
            keras.Input((8,), name="features"),
            keras.layers.Dense(6),
            keras.layers.Lambda(
                lambda x, limit: ops.tanh(x / limit) * limit,
                arguments={"limit": 1.5},
                name="soft_limit",
            ),
            keras.layers.Dense(3, activation="softmax"),
        ],
        name="lambda",
    )


def with_attention() -> Any:  # noqa: ANN401  Keras has no types
    """Return a model of words, of which 0 is none and masked."""
    return keras.Sequential(
        [
            keras.Input((STEPS,), dtype="int32", name="words"),
            keras.layers.Embedding(WORDS, 8, mask_zero=True),
            AttentionPooling(5, temperature=0.5, name="pooling"),
            keras.layers.Dense(3, activation="softmax"),
        ],
        name="attention",
    )


def with_cell() -> Any:  # noqa: ANN401  Keras has no types
    """Return a model of sequences that runs a cell over them."""
    return keras.Sequential(
        [
            keras.Input((STEPS, 3), name="steps"),
            keras.layers.RNN(MinimalGatedCell(5), name="recurrent"),
            keras.layers.Dense(2),
        ],
        name="cell",
    )


def words(random: np.random.Generator) -> NDArray[np.int32]:
    """Return sentences of several lengths, filled up with 0."""
    sentences = random.integers(1, WORDS, (SAMPLES, STEPS), dtype=np.int32)
    lengths = np.arange(STEPS - SAMPLES + 1, STEPS + 1)
    return np.where(np.arange(STEPS) < lengths[:, None], sentences, 0).astype(np.int32)


def randomise(model: Any, random: np.random.Generator) -> None:  # noqa: ANN401
    """Give *model* weights that all matter, biases too."""
    model.set_weights(
        [random.normal(0, 0.8, v.shape).astype(np.float32) for v in model.weights]
    )


def main(folder: Path) -> None:
    """Write the models and what Keras computes with them."""
    random = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    sequences = random.normal(size=(SAMPLES, STEPS, 3)).astype(np.float32)
    features = random.normal(size=(SAMPLES, 8)).astype(np.float32)
    for model, inputs in (
        (with_lambda(), features),
        (with_attention(), words(random)),
        (with_cell(), sequences),
    ):
        randomise(model, random)
        model.save(folder / f"{model.name}.keras")
        outputs = model.predict(inputs, verbose=0)
        np.savez(folder / f"{model.name}.npz", inputs=inputs, outputs=outputs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
