"""Compare what each stage gives on this machine with what it should give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

SAMPLES = 16
# What drivers may cost: their exponentials and divisions are a few units off.
TOLERANCE = 1e-3
NOTHING = 1e-30
# One half and the next: what devices make of the same number may be that far apart.
HALF_STEP = 2.0**-10


class VerificationError(RuntimeError):
    """The model doesn't compute on this machine what it was compiled to compute."""


@dataclass(frozen=True, slots=True)
class Report:
    """A verification that went well.

    *error* is the largest difference, relative to the largest value of its stage;
    *allowed* is more than usual where results are stored as halves.
    """

    device: str
    stages: int
    error: float
    allowed: float = TOLERANCE

    def __str__(self) -> str:
        """Return one sentence."""
        return (
            f"{self.stages} stages agree on {self.device}, "
            f"the largest difference is {self.error:.1e} of a stage's largest value"
            f"{self._halves()}"
        )

    def _halves(self) -> str:
        more = self.allowed - TOLERANCE
        return f" (halves may cost {more:.1e})" if more > 0 else ""


def digest(x: NDArray[Any]) -> F32:
    """Return the minimum, maximum, mean, L2 norm and 16 samples of *x*."""
    values = np.asarray(x, np.float64).reshape(-1)
    if values.size == 0:
        return np.zeros(4 + SAMPLES, np.float32)
    places = np.arange(SAMPLES) * (values.size - 1) // (SAMPLES - 1)
    with np.errstate(all="ignore"):
        norm = np.sqrt(np.square(values).sum())
        whole = [values.min(), values.max(), values.mean(), norm]
        return np.concatenate([whole, values[places]]).astype(np.float32)


def difference(expected: F32, found: F32) -> float:
    """Return how far *found* is from *expected*, relative to its largest value.

    Where that is next to nothing, which some devices flush to zero, relative to one.
    Infinite where one has a NaN or an infinity and the other doesn't.
    """
    same = (expected == found) | (np.isnan(expected) & np.isnan(found))
    if same.all():
        return 0.0
    if not (np.isfinite(expected) | same).all() or not np.isfinite(found[~same]).all():
        return float("inf")
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(finite.max()) if finite.size else 0.0
    error = float(np.abs(expected - found)[~same].max())
    return error / (scale if scale > NOTHING else 1.0)


def check(
    device: str,
    expected: Mapping[str, F32],
    stages: Iterable[tuple[str, NDArray[Any]]],
    halves: Mapping[str, F32] | None = None,
) -> Report:
    """Compare each of *stages* with its expected digest.

    Where results are stored as *halves*, these are the digests expected then, and
    devices, which round differently, may differ by as much as rounding costs. Raises
    VerificationError at the first stage that differs.
    """
    worst, count, allowed = 0.0, 0, TOLERANCE
    with np.errstate(all="ignore"):
        for name, value in stages:
            if name not in expected:
                continue
            count += 1
            wanted = expected[name]
            if halves is not None:
                cost = HALF_STEP + _compare(wanted, halves[name])
                allowed = max(allowed, TOLERANCE + cost)
                wanted = halves[name]
            error = _compare(wanted, digest(value))
            worst = max(worst, error)
            if error > allowed:
                raise VerificationError(
                    f"stage {name!r} ({count} of {len(expected)}) is the first that "
                    f"differs on {device}: by {error:.1e} of its largest value, "
                    f"where {allowed:.0e} is allowed"
                )
    return Report(device, count, worst, allowed)


def check_output(
    device: str,
    name: str,
    expected: NDArray[Any],
    found: NDArray[Any],
    half: NDArray[Any] | None = None,
) -> None:
    """Raise VerificationError where an output isn't as expected.

    *half* is what is expected where results are stored as halves.
    """
    wanted, allowed = expected, TOLERANCE
    if half is not None:
        cost = HALF_STEP + difference(_flat(expected), _flat(half))
        wanted, allowed = half, TOLERANCE + cost
    error = difference(_flat(wanted), _flat(found))
    if error > allowed:
        raise VerificationError(
            f"output {name!r} differs on {device} by {error:.1e} of its largest "
            f"value, where {allowed:.0e} is allowed"
        )


def _flat(x: NDArray[Any]) -> F32:
    return np.asarray(x, np.float32).reshape(-1)


def _compare(expected: F32, found: F32) -> float:
    """Return the difference of two digests; the norm counts on its own."""
    norm = [3]
    rest = [0, 1, 2, *range(4, 4 + SAMPLES)]
    return max(
        difference(expected[norm], found[norm]),
        difference(expected[rest], found[rest]),
    )
