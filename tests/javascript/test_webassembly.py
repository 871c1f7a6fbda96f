"""Kernels in WebAssembly: which stages have one, and what they read like."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from javascript.node import run
from small_graphs import graph, value, weight
from strategies_graphs import graphs

from keramos.emit.javascript import WebAssembly, emit_webassembly
from keramos.emit.wasm.assembler import signed, unsigned
from keramos.emit.wasm.product import tile
from keramos.expr import call, operand
from keramos.graph import Graph, apply
from keramos.plan.names import constant_names
from keramos.primitives import Contract, Map, Softmax


def emitted(model: Graph) -> WebAssembly:
    """Return the kernels of *model*, which has some."""
    kernels = emit_webassembly(model, names=constant_names(model))
    assert kernels is not None
    return kernels


@given(drawn=graphs(free=False))
def test_the_same_graph_gives_the_same_kernels(drawn: Graph) -> None:
    names = constant_names(drawn)

    first, second = (emit_webassembly(drawn, names=names) for _ in range(2))

    assert first == second


def test_a_kernel_reads_like_its_formula() -> None:
    kernels = emitted(graph(*apply(Map(call("max", operand(0), 0)), value(4))))

    ((name, routine),) = kernels.routines.items()

    address = "(i32.add (local.get $y) (local.get $i))"
    rectified = f"(f32x4.pmax (v128.load 0 {address}) (v128.const))"
    assert routine.text(name).splitlines() == [
        "(func (export 'stage') (param $y i32)",
        "  (local $i i32)",
        "  (local.set $i (i32.const 0))",
        f"  (v128.store 0 {address} {rectified}))",
    ]


def test_a_model_without_a_kernel_has_no_module() -> None:
    model = graph(*apply(Softmax(0), value(5)))

    assert emit_webassembly(model, names=constant_names(model)) is None


def test_equal_stages_share_a_kernel() -> None:
    (y,) = apply(Contract((0,), (0,)), value(8), weight("a", 8, 8))
    (y,) = apply(Contract((0,), (0,)), y, weight("b", 8, 8))

    assert len(emitted(graph(y)).routines) == 1


@pytest.mark.parametrize("bound", [0.0, 6.0, np.nan])
@pytest.mark.parametrize("op", ["max", "min"])
def test_limits_keep_what_is_no_number(op: str, bound: float) -> None:
    numbers = np.array([[np.nan, -7, 0, 7, np.inf, -np.inf, 1e-30, 2]], np.float32)
    model = graph(*apply(Map(call(op, operand(0), bound)), value(8)))

    (y,) = run(model, [numbers], kernels=True).outputs

    np.testing.assert_array_equal(y, model.evaluate(numbers)[0])


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (0, "00"),
        (63, "3f"),
        (64, "c000"),
        (-64, "40"),
        (-65, "bf7f"),
        (2**20, "8080c000"),
    ],
)
def test_signed_numbers(number: int, code: str) -> None:
    assert signed(number).hex() == code


@pytest.mark.parametrize(("number", "code"), [(0, "00"), (127, "7f"), (128, "8001")])
def test_unsigned_numbers(number: int, code: str) -> None:
    assert unsigned(number).hex() == code


@pytest.mark.parametrize("rows", range(1, 60))
@pytest.mark.parametrize("columns", [1, 4, 10, 16, 64, 100])
def test_tiles_fit_rows_columns_and_registers(rows: int, columns: int) -> None:
    height, vectors = tile(rows, columns)

    assert height <= rows
    assert vectors == 1 or vectors * 4 <= columns
    assert height == 1 or height * vectors + vectors + 1 <= 16
