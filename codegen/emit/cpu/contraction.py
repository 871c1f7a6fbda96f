"""Contractions as matrix products."""

from __future__ import annotations

from collections.abc import Sequence

from keramos.emit.cpu.function import Dim, Function, Operand, listing, times
from keramos.primitives import Contract


def contract(function: Function, primitive: Contract, a: Operand, b: Operand) -> str:
    """Write a contraction and return the variable of the result."""
    a, b = function.floating(a), function.floating(b)
    rest_a = _rest(a, primitive.a_contract + primitive.a_batch)
    rest_b = _rest(b, primitive.b_contract + primitive.b_batch)
    batch = [a.dim(axis) for axis in primitive.a_batch]
    flat = a.batched and not b.batched and not batch
    left = _matrix(
        function,
        a,
        (primitive.a_batch, rest_a, primitive.a_contract),
        flat=flat,
    )
    right = _matrix(
        function, b, (primitive.b_batch, primitive.b_contract, rest_b), flat=False
    )
    result = [
        *batch,
        *(a.dim(axis) for axis in rest_a),
        *(b.dim(axis) for axis in rest_b),
    ]
    product = f"np.matmul({left}, {right})"
    is_shaped = len(rest_b) == 1 and len(rest_a) == (0 if flat else 1)
    if not is_shaped:
        product += f".reshape{listing([function.batch, *result])}"
    return function.let("y", product, "float32")


def _rest(operand: Operand, taken: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis for axis in range(operand.rank) if axis not in taken)


def _matrix(
    function: Function,
    operand: Operand,
    groups: tuple[Sequence[int], Sequence[int], Sequence[int]],
    *,
    flat: bool,
) -> str:
    """Return *operand* as ``(batch..., rows, columns)``.

    *groups* are the axes that become the batch, the rows and the columns. With *flat*
    the batch of the model goes to the rows.
    """
    batch, rows, columns = groups
    layout = ""
    order = (*batch, *rows, *columns)
    if list(order) != sorted(order):
        axes = [axis + operand.batched for axis in order]
        axes = [0, *axes] if operand.batched else axes
        layout = f".transpose({listing(axes)})"
    if not flat and len(rows) == len(columns) == 1:
        return _read(function, operand, layout, order)
    lead: list[Dim] = [function.batch] if operand.batched else []
    lead += [operand.dim(axis) for axis in batch]
    height = times([operand.dim(axis) for axis in rows])
    width = times([operand.dim(axis) for axis in columns])
    if flat and len(rows) == 0 and len(columns) == 1:
        return _read(function, operand, layout, order)
    if flat:
        height = -1 if isinstance(width, int) and width else times([*lead, height])
        lead = []
    layout += f".reshape{listing([*lead, height, width])}"
    return _read(function, operand, layout, (*lead, height, width))


def _read(
    function: Function, operand: Operand, layout: str, shape: Sequence[Dim]
) -> str:
    if not layout:
        return function.read(operand)
    if operand.stored is None:
        return f"{operand.text}{layout}"
    sizes = tuple(d for d in shape if isinstance(d, int))
    return function.laid_out(operand, layout, sizes)
