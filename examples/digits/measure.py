"""Accuracy and speed: ``PYTHONPATH=generated python examples/digits/measure.py``."""

from __future__ import annotations

import time
from pathlib import Path

import digits
import numpy as np

BATCH = 100


def main() -> None:
    """Read a thousand digits on the CPU, and on the GPU where there is one."""
    with np.load(Path(__file__).parent / "test.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
    x = images[..., None] / np.float32(255)
    for model in (digits.Model("cpu"), digits.Model("auto")):
        with model:
            print(model.verify())
            start = time.perf_counter()
            parts = [model.predict(part) for part in np.split(x, len(x) // BATCH)]
            milliseconds = 1000 * (time.perf_counter() - start) / len(x)
        accuracy = (np.concatenate(parts).argmax(axis=1) == labels).mean()
        print(f"{model.device}: accuracy {accuracy:.3f}, {milliseconds:.2f} ms each")


if __name__ == "__main__":
    main()
