"""Compile a model in a test, and import what comes out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tolerance import arrays

from keramos import compile_model
from keramos.verification import imported

_NUMBER = itertools.count()


def compiled(path: Path, folder: Path, **options: Any) -> ModuleType:  # noqa: ANN401
    """Return the imported package of *path*, under a name that nobody has had yet."""
    name = f"compiled_{next(_NUMBER)}"
    return imported(compile_model(path, folder, name=name, **options).path)


def outputs(
    module: ModuleType, inputs: Sequence[NDArray[Any]], *, device: str
) -> list[NDArray[np.float32]]:
    """Return what the package computes on *device*."""
    with module.Model(device=device) as model:
        return arrays(model.predict(*inputs))
