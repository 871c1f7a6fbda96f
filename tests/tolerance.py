"""How far two correct float32 programs may be apart, derived from the model at hand.

Two sources of difference: sums of products in another order are off by a multiple of
the rounding unit times the sum of magnitudes, which the interpreter gives when it runs
on |x| and |w|; and what comes behind amplifies this, which shows in the distance of the
interpreter in float32 from itself in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keramos import Interpreter
from keramos.runtime_min.interpreter import magnitude
from keramos.source import KerasFile

Array = NDArray[Any]

ROUNDING_UNIT = float(np.finfo(np.float32).eps)


def arrays(outputs: Any) -> list[Array]:  # noqa: ANN401  an array or a dict of arrays
    """Return a model's outputs as a list."""
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


def reference(path: Path | KerasFile, inputs: Sequence[Array]) -> list[Array]:
    """Return the interpreter's outputs."""
    return arrays(Interpreter(path).predict(*inputs))


def tolerances(
    path: Path | KerasFile, inputs: Sequence[Array], *, factor: float
) -> list[float]:
    """Return the bound on |a - b| of each output; *factor* rounding units of each."""
    single = reference(path, inputs)
    double = arrays(Interpreter(path, dtype="float64").predict(*inputs))
    sums = magnitude(path, *inputs)
    return [
        factor * (ROUNDING_UNIT * _largest(total) + _largest(a - b))
        for a, b, total in zip(single, double, sums, strict=True)
    ]


def _largest(array: Array) -> float:
    """Return the largest magnitude, 0 for an empty array."""
    return float(np.abs(array).max(initial=0))


def assert_close(
    actual: Sequence[Array], expected: Sequence[Array], bounds: Sequence[float]
) -> None:
    """Raise AssertionError where outputs differ in shape, type or by more than that."""
    assert [y.shape for y in actual] == [y.shape for y in expected]
    assert [y.dtype for y in actual] == [y.dtype for y in expected]
    errors = [_largest(a - b) for a, b in zip(actual, expected, strict=True)]
    excess = {
        number: (error, bound)
        for number, (error, bound) in enumerate(zip(errors, bounds, strict=True))
        if not error <= bound
    }
    assert not excess, f"outputs (error, bound): {excess}"
