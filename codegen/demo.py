"""A bundled model, real digits, and what each target makes of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import as_file
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keramos import examples
from keramos.compiler import Options, Package, Progress, Sources, compile_file
from keramos.runtime_min.interpreter import Interpreter
from keramos.verification import imported

Array = NDArray[Any]

INTERPRETER = "interpreter"
# As many digits as an application may have at hand at once.
BATCH = 50
# From empty to full, for terminals that know ASCII only.
RAMP = " .:-=+*#%@"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one way of running the model made of all digits."""

    name: str
    device: str
    probabilities: Array
    seconds: float

    @property
    def predictions(self) -> Array:
        """Return the likeliest digit of each image."""
        return np.asarray(self.probabilities.argmax(axis=1))


@dataclass(frozen=True, slots=True)
class Demonstration:
    """The package, the digits, and the readings: the interpreter's first."""

    package: Package
    images: Array
    labels: Array
    readings: tuple[Reading, ...]

    def accuracy(self, reading: Reading) -> float:
        """Return the share of digits that were read as what they are."""
        return float((reading.predictions == self.labels).mean())

    def milliseconds(self, reading: Reading) -> float:
        """Return the time per image."""
        return 1000 * reading.seconds / len(self.labels)

    def differences(self) -> Mapping[tuple[str, str], float]:
        """Return the largest difference between the outputs of each pair."""
        return {
            (a.name, b.name): float(np.abs(a.probabilities - b.probabilities).max())
            for number, a in enumerate(self.readings)
            for b in self.readings[number + 1 :]
        }


def demonstrate(directory: Path, *, report: Progress) -> Demonstration:
    """Compile the digits model into *directory*, and read the digits with it."""
    with as_file(examples.digits("digits.keras")) as model:
        package = compile_file(
            Sources(model), directory, options=Options(), report=report
        )
        report("interpreting")
        interpreter = Interpreter(model)
    with examples.digits("test.npz").open("rb") as file, np.load(file) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    inputs = images[..., None] / np.float32(255)
    readings = [_timed(INTERPRETER, "NumPy", interpreter.predict, inputs)]
    module = imported(package.path)
    for target in ("cpu", "gl"):
        report(f"reading digits on {target}")
        with module.Model(device=target) as digits:
            digits.predict(inputs[:BATCH])  # what is made once isn't timed
            readings.append(_timed(target, digits.device, digits.predict, inputs))
    return Demonstration(package, images, labels, tuple(readings))


def _timed(
    name: str, device: str, predict: Callable[[Array], Array], inputs: Array
) -> Reading:
    """Return what *predict* gives, and how long it took."""
    batches = [inputs[first : first + BATCH] for first in range(0, len(inputs), BATCH)]
    start = time.perf_counter()
    probabilities = [predict(batch) for batch in batches]
    seconds = time.perf_counter() - start
    return Reading(name, device, np.concatenate(probabilities), seconds)


def picture(image: Array) -> list[str]:
    """Return a digit's lines: one character for two pixels, one above the other."""
    box = image[4:24, 4:24]  # MNIST leaves a margin of four pixels
    rows = box.reshape(10, 2, 20).mean(axis=1) * (len(RAMP) - 1) / 255
    return ["".join(RAMP[round(float(level))] for level in row) for row in rows]
