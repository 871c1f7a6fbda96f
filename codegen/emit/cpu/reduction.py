"""Reductions and softmax."""

from __future__ import annotations

import math
from collections.abc import Mapping

from keramos.emit.cpu.function import (
    NUMPY_TYPES,
    Function,
    Operand,
    listing,
)
from keramos.primitives import Reduce, Softmax

UFUNCS: Mapping[str, str] = {
    "sum": "np.add",
    "mean": "np.add",
    "max": "np.maximum",
    "min": "np.minimum",
    "prod": "np.multiply",
}


def reduce(function: Function, primitive: Reduce, x: Operand) -> str:
    """Write a reduction and return the variable of the result."""
    x = function.plain(x)
    axes = listing([axis + 1 for axis in primitive.axes])
    if len(primitive.axes) == 1:
        axes = axes.strip("(,)")
    keep = ", keepdims=True" if primitive.keepdims else ""
    if x.dtype != "float32":
        call = f"np.{primitive.kind}({x.text}, axis={axes}{keep})"
        return function.let("y", f"{call}.astype({NUMPY_TYPES[x.dtype]})", x.dtype)
    call = f"{UFUNCS[primitive.kind]}.reduce({x.text}, axis={axes}{keep})"
    y = function.let("y", call, "float32")
    if primitive.kind == "mean":
        function.line(f"np.divide({y}, {_count(x, primitive.axes)}, out={y})")
    return y


def _count(x: Operand, axes: tuple[int, ...]) -> str:
    """Return the number of elements that go into each result."""
    known = [d for axis in axes if isinstance(d := x.dim(axis), int)]
    texts = [d for axis in axes if isinstance(d := x.dim(axis), str)]
    if not texts:
        return str(float(math.prod(known)))
    return " * ".join([*([str(math.prod(known))] if known else []), *texts])


def softmax(function: Function, primitive: Softmax, x: Operand) -> str:
    """Write a softmax and return the variable of the result."""
    x = function.floating(function.plain(x))
    axis = f"axis={primitive.axis + 1}, keepdims=True"
    y = function.let(
        "y", f"np.subtract({x.text}, np.maximum.reduce({x.text}, {axis}))", "float32"
    )
    if primitive.log:
        function.line(
            f"np.subtract({y}, np.log(np.add.reduce(np.exp({y}), {axis})), out={y})"
        )
        return y
    function.line(f"np.exp({y}, out={y})")
    function.line(f"np.divide({y}, np.add.reduce({y}, {axis}), out={y})")
    return y
