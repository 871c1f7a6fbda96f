"""What storing numbers in fewer bits costs: measured on a package's sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Precision:
    """How far an output is from what it is with everything in float32.

    *option* is what was stored otherwise ("weights as uint8"). *largest* is the largest
    difference; *relative* is that in terms of the largest value.
    """

    option: str
    output: str
    largest: float
    relative: float

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"{self.option}: {self.output!r} differs by {self.largest:.1e}, "
            f"{self.relative:.1e} of its largest value"
        )


def compared(
    option: str, names: Sequence[str], exact: Sequence[Array], found: Sequence[Array]
) -> tuple[Precision, ...]:
    """Return the difference of each output of *names*; arrays may follow theirs."""
    return tuple(
        _difference(option, name, y, z)
        for name, y, z in zip(names, exact, found, strict=False)
    )


def _difference(option: str, name: str, exact: Array, found: Array) -> Precision:
    with np.errstate(invalid="ignore"):
        error = np.abs(exact.astype(np.float64) - found)
    # Infinities and NaNs in the same places are no difference.
    error[(exact == found) | (np.isnan(exact) & np.isnan(found))] = 0
    error[np.isnan(error)] = np.inf
    largest = float(error.max(initial=0))
    scale = float(np.abs(exact[np.isfinite(exact)]).max(initial=0))
    return Precision(option, name, largest, largest / scale if scale else largest)
