"""Contract: products of matrices, one per element of the paired axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keramos.emit.javascript.convolution import Packing, offsets, pack
from keramos.emit.javascript.elementwise import store
from keramos.emit.javascript.function import (
    Function,
    Operand,
    Walk,
    collapse,
    known,
    nest,
    strides,
)
from keramos.emit.javascript.product import Offsets, Product, width, write_product
from keramos.plan.javascript import Source
from keramos.primitives import Contract

# So many rows are too few to pack what they are multiplied by.
_FEW = 2


def emit_contract(f: Function, contract: Contract, target: Source) -> None:
    """Write a contraction."""
    a, b = f.operands[:2]
    raw = known(contract.infer(a.spec, b.spec)[0].shape)
    pairs = sorted(zip(contract.a_contract, contract.b_contract, strict=True))
    rest_a = _rest(a, (*contract.a_contract, *contract.a_batch))
    rest_b = _rest(b, (*contract.b_contract, *contract.b_batch))
    rows_axes = [*contract.a_batch, *rest_a]
    count = _size(a, contract.a_batch)
    rows, columns = _size(a, rest_a), _size(b, rest_b)
    depth = _size(a, contract.a_contract)
    if b.stored is None and rows <= _FEW:
        _dots(f, contract, raw, target)
        return
    x, at, loops, run = _rows(f, a, rows_axes, [i for i, _ in pairs])
    packing = Packing(
        rows=_offsets(f, b, [j for _, j in pairs]),
        columns=_offsets(f, b, [*contract.b_batch, *rest_b]),
        width=width(rows, columns) or 1,
        count=count,
        size=(depth, columns),
    )
    matrix = pack(f, b, packing, "matrix")
    results = store(f, target, raw, channels=columns)
    product = Product(
        x=x,
        at=at,
        to=Offsets(columns),
        rows=rows,
        columns=columns,
        loops=loops,
        run=run,
        count=count,
        next_row=rows,
    )
    write_product(f, product, matrix, results, x_size=a.size)
    results.finish()


def _dots(
    f: Function, contract: Contract, raw: tuple[int, ...], target: Source
) -> None:
    """Write one sum after the other: packing columns for few rows doesn't pay."""
    a, b = f.operands[:2]
    x, z = f.read(a), f.read(b)
    results = store(f, target, raw)
    rest_a = _rest(a, (*contract.a_contract, *contract.a_batch))
    rest_b = _rest(b, (*contract.b_contract, *contract.b_batch))
    steps_a, steps_b = strides(a.shape), strides(b.shape)
    outer = {
        "y": Walk(0, strides(raw)),
        "a": Walk(
            0,
            (
                *(steps_a[k] for k in (*contract.a_batch, *rest_a)),
                *(0 for _ in rest_b),
            ),
        ),
        "b": Walk(
            0,
            (
                *(steps_b[k] for k in contract.b_batch),
                *(0 for _ in rest_a),
                *(steps_b[k] for k in rest_b),
            ),
        ),
    }
    inner = {
        "a": Walk(0, tuple(steps_a[k] for k in contract.a_contract)),
        "b": Walk(0, tuple(steps_b[k] for k in contract.b_contract)),
    }
    with nest(f, raw, outer) as index:
        f.line("let s = 0;")
        sizes = [a.shape[k] for k in contract.a_contract]
        with nest(f, sizes, inner, "k", index) as at:
            f.line(f"s += {x}[{at['a']}] * {z}[{at['b']}];")
        f.line(f"{results.y}[{index['y']}] = s;")
    results.finish()


def _rest(x: Operand, axes: Sequence[int]) -> list[int]:
    return [axis for axis in range(len(x.shape)) if axis not in axes]


def _size(x: Operand, axes: Sequence[int]) -> int:
    return math.prod(x.shape[axis] for axis in axes)


def _offsets(f: Function, x: Operand, axes: Sequence[int]) -> str:
    steps = strides(x.shape)
    return f.module.offsets([x.shape[k] for k in axes], [steps[k] for k in axes])


def _rows(
    f: Function, a: Operand, rows: Sequence[int], summed: Sequence[int]
) -> tuple[str, Offsets, tuple[tuple[int, int], ...], int]:
    """Return the array that holds the rows, where they begin, and how k walks there.

    They are copied first where what is summed doesn't lie in runs.
    """
    steps = strides(a.shape)
    row_sizes = [a.shape[k] for k in rows]
    sum_sizes = [a.shape[k] for k in summed]
    walk = Walk(0, tuple(steps[k] for k in summed))
    lengths, (runs,) = collapse(sum_sizes, [walk])
    x = f.read(a)
    if not lengths or runs.strides[-1] == 1:
        at = offsets(f, "at", row_sizes, [steps[k] for k in rows], 0)
        pairs = list(zip(lengths, runs.strides, strict=True))
        return x, at, tuple(pairs[:-1]), lengths[-1] if lengths else 1
    depth = math.prod(sum_sizes)
    copied = f.scratch(a.size, "rows")
    sizes = (*row_sizes, *sum_sizes)
    walks = {
        copied: Walk(0, strides(sizes)),
        x: Walk(0, tuple(steps[k] for k in (*rows, *summed))),
    }
    with nest(f, sizes, walks) as index:
        f.line(f"{copied}[{index[copied]}] = {x}[{index[x]}];")
    return copied, Offsets(depth), (), depth
