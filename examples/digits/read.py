"""Read a handwritten digit: ``PYTHONPATH=generated python examples/digits/read.py 7``.

The number chooses one of the thousand digits in test.npz; ``--device gl`` draws on the
GPU, ``--device auto`` where there is one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import digits
import numpy as np

GREY = 127


def main() -> None:
    """Print the digit, and how sure the model is of each reading."""
    parser = argparse.ArgumentParser()
    parser.add_argument("number", type=int)
    parser.add_argument("--device", choices=("cpu", "gl", "auto"), default="cpu")
    arguments = parser.parse_args()
    with np.load(Path(__file__).parent / "test.npz") as arrays:
        image = arrays["images"][arguments.number]
    for row in image[4:24:2, 4:24] > GREY:
        print("".join("#" if is_ink else " " for is_ink in row).rstrip())
    with digits.Model(device=arguments.device) as model:
        probabilities = model.predict(image[None, ..., None] / np.float32(255))[0]
    for digit in probabilities.argsort()[::-1][:3]:
        print(f"{digit}: {probabilities[digit]:.1%}")


if __name__ == "__main__":
    main()
