"""Names that a model file makes up can't break out of the emitted module."""

from __future__ import annotations

import numpy as np
import pytest
from javascript.node import run
from small_graphs import value, weight

from keramos.emit.javascript import emit_javascript
from keramos.expr import operand
from keramos.graph import Graph, Origin, apply
from keramos.plan.names import constant_names
from keramos.primitives import Map

NAMES = (
    "new",
    "function",
    "eval",
    "arguments",
    "__proto__",
    "constructor",
    "arena",
    "copy",
    "forward",
    "n",
    "tap",
    "tensors",
    "*/ globalThis.broken = 1 /*",
    "\n globalThis.broken = 1 //",
    "\u2028 globalThis.broken = 1",
    '"; globalThis.broken = 1; "',
    "`${globalThis.broken = 1}`",
    "</script><script>",
    "",
    "1",
    "\N{SNOWMAN}",
    "x" * 300,
)


def named(name: str) -> Graph:
    """Return a graph in which all that has a name has this one."""
    origins = (Origin(name, name),)
    x = value(2, name=name)
    (y,) = apply(Map(operand(0) + operand(1)), x, weight(name, 2), origins=origins)
    (z,) = apply(Map(operand(0) * operand(1)), y, weight(name, 2), origins=origins)
    return Graph((x,), (y, z), (name, name), name)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_gives_a_module_that_runs(name: str) -> None:
    hostile = named(name)
    numbers = np.ones((1, 2), np.float32)
    expected = hostile.evaluate(numbers)

    actual = run(hostile, [numbers]).outputs

    assert np.allclose(actual, expected, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_leaves_the_code_free_of_its_text(name: str) -> None:
    hostile = named(name)

    text = emit_javascript(hostile, names=constant_names(hostile))

    assert text.isascii()
    code = [line.partition("//")[0] for line in text.splitlines()]
    assert not any("broken =" in line or "<" + "script" in line for line in code)
