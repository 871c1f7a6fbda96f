"""Elementwise functions that NumPy lacks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

# Even polynomials in x of a rational minimax approximation on [-4, 4], highest power
# first; erf is 1 beyond, to float32 (Eigen's generic_fast_erf_float).
NUMERATOR = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
DENOMINATOR = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)


# Elements that stay in the cache while a function makes several passes over them.
BLOCK = 1 << 15


def erf(x: F32, *, out: F32 | None = None) -> F32:
    """Return the error function of *x*, written to *out* where given."""
    y = np.empty_like(x) if out is None else out
    for source, target in _blocks(x, y):
        bounded = np.clip(source, -4.0, 4.0)
        square = np.square(bounded)
        np.multiply(bounded, _polynomial(NUMERATOR, square), out=target)
        np.divide(target, _polynomial(DENOMINATOR, square), out=target)
    return y


def swish(x: F32, *, out: F32 | None = None) -> F32:
    """Return ``x / (1 + exp(-x))``, written to *out* where given."""
    y = np.empty_like(x) if out is None else out
    for source, target in _blocks(x, y):
        divisor: F32 = np.negative(source)
        np.exp(divisor, out=divisor)
        np.add(divisor, 1.0, out=divisor)
        np.divide(source, divisor, out=target)
    return y


def _blocks(x: F32, y: F32) -> Iterator[tuple[F32, F32]]:
    """Yield *x* and *y* in blocks, where their elements lie in a row."""
    if x.size <= BLOCK or not (x.flags.c_contiguous and y.flags.c_contiguous):
        yield x, y
        return
    source, target = x.reshape(-1), y.reshape(-1)
    for at in range(0, x.size, BLOCK):
        yield source[at : at + BLOCK], target[at : at + BLOCK]


def _polynomial(coefficients: tuple[float, ...], x: F32) -> F32:
    y: F32 = np.multiply(x, coefficients[0])
    for coefficient in coefficients[1:-1]:
        np.add(y, coefficient, out=y)
        np.multiply(y, x, out=y)
    np.add(y, coefficients[-1], out=y)
    return y


def sigmoid(x: F32, *, out: F32 | None = None) -> F32:
    """Return ``1 / (1 + exp(-x))``, written to *out* where given."""
    y: F32 = np.negative(x, out=out)
    np.exp(y, out=y)
    np.add(y, 1.0, out=y)
    np.reciprocal(y, out=y)
    return y
