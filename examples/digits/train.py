"""Train the digits model: ``KERAS_BACKEND=jax python train.py FOLDER``.

Needs Keras 3. Writes FOLDER/digits.h5 and FOLDER/digits.keras, and prints the accuracy
on the digits that it hasn't seen.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent


def digits(name: str) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return the images of *name*.npz, (n, 28, 28, 1) from 0 to 1, and their labels."""
    with np.load(HERE / f"{name}.npz") as arrays:
        images = arrays["images"][..., None] / np.float32(255)
        return images, arrays["labels"]


def untrained() -> Any:  # noqa: ANN401  Keras has no types
    """Return the model with fresh weights."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ],
        name="mnist_cnn",
    )


def main(folder: Path, *, epochs: int = 6) -> float:
    """Train, save into *folder*, and return the accuracy on the test digits."""
    keras.utils.set_random_seed(1)
    model = untrained()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*digits("train"), batch_size=64, epochs=epochs, verbose=2)
    _, accuracy = model.evaluate(*digits("test"), verbose=0)
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in ("h5", "keras"):
        model.save(folder / f"digits.{suffix}")
    return float(accuracy)


if __name__ == "__main__":
    print(f"accuracy {main(Path(sys.argv[1])):.3f}")
