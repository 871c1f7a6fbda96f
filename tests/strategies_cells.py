"""Hypothesis strategies for recurrent cells: gates of products, maps on them, masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from keramos.expr import Expr, call, operand, where
from keramos.graph import Graph, Value, apply, literal
from keramos.primitives import Contract, Map, Scan, Slice, Spec

MOST_STATES = 3

_UNARY: tuple[Callable[[Expr], Expr], ...] = (
    lambda x: call("tanh", x),
    lambda x: call("sigmoid", x),
    lambda x: call("max", x, 0.0 * x),
)


@dataclass
class _Cell:
    """A body under construction: *values* have the width of the states."""

    draw: st.DrawFn
    rng: np.random.Generator
    width: int
    formal: list[Value]
    invariants: list[tuple[Value, Value]] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)

    def invariant(self, *shape: int) -> Value:
        """Return a constant's stand-in: bodies have no constants of their own."""
        numbers = self.rng.uniform(-1, 1, shape).astype(np.float32)
        x = Value(Spec(shape), name=f"w{len(self.invariants)}")
        self.invariants.append((x, literal(numbers / max(shape[0], 1))))
        return x

    def gates(self, count: int, source: Value) -> list[Value]:
        """Return *count* pieces of a product of *source*, with a bias or without."""
        kernel = self.invariant(source.shape[0] or 1, count * self.width)
        (whole,) = apply(Contract((0,), (0,)), source, kernel)
        if self.draw(st.booleans(), label="bias"):
            bias = self.invariant(count * self.width)
            (whole,) = apply(Map(operand(0) + operand(1)), whole, bias)
        if self.draw(st.booleans(), label="activated gates"):
            (whole,) = apply(Map(call("sigmoid", operand(0))), whole)
        return [self.piece(whole, k) for k in range(count)]

    def piece(self, whole: Value, k: int) -> Value:
        """Return channels of the width of the states, from *k* widths on."""
        start = k * self.width
        return apply(Slice(((start, start + self.width, 1),)), whole)[0]

    def choose(self) -> Value:
        """Return one of the values so far."""
        return self.draw(st.sampled_from(self.values))

    def grow(self) -> None:
        """Add a gate, or something elementwise."""
        match self.draw(st.sampled_from(["gates", "unary", "sum", "product", "mask"])):
            case "gates":
                self.values += self.gates(
                    self.draw(st.integers(1, 4), label="gates"), self.choose()
                )
            case "unary":
                function = self.draw(st.sampled_from(_UNARY))
                self.values += apply(Map(function(operand(0))), self.choose())
            case "sum":
                added = Map(operand(0) - operand(1))
                self.values += apply(added, self.choose(), self.choose())
            case "product":
                factor = Map(call("tanh", operand(0) * operand(1)))
                self.values += apply(factor, self.choose(), self.choose())
            case _:
                single = self.draw(st.booleans(), label="mask of one channel")
                mask = self.formal[1] if single else self.choose()
                chosen = Map(where(operand(0) > 0.0, operand(1), operand(2)))
                self.values += apply(chosen, mask, self.choose(), self.choose())


WIDTHS = st.sampled_from([4, 8, 8, 12, 20, 3, 6, 1])
STEPS = st.integers(1, 4)


@st.composite
def cells(draw: st.DrawFn) -> Graph:
    """Draw loops whose states, outputs and order are drawn too."""
    return draw(_loops(draw(WIDTHS, label="width"), draw(STEPS, label="steps")))


@st.composite
def pairs_of_cells(draw: st.DrawFn) -> Graph:
    """Draw two loops of one width and length that don't need each other."""
    width, steps = draw(WIDTHS, label="width"), draw(STEPS, label="steps")
    a, b = (draw(_loops(width, steps, name)) for name in "ab")
    names = (*a.output_names, *b.output_names)
    return Graph((*a.inputs, *b.inputs), (*a.outputs, *b.outputs), names)


@st.composite
def _loops(draw: st.DrawFn, width: int, steps: int, name: str = "") -> Graph:
    """Draw loops; *name* tells their inputs and outputs from those of others."""
    rng = np.random.default_rng(draw(st.integers(0, 99), label="constants"))
    given = draw(st.integers(1, 4), label="gates of the input")
    states = draw(st.integers(1, MOST_STATES), label="states")
    x = Value(Spec((given * width,)), name="x")
    mask = Value(Spec((1,)), name="mask")
    held = [Value(Spec((width,)), name=f"state{k}") for k in range(states)]
    cell = _Cell(draw, rng, width, [x, mask, *held])
    cell.values += [cell.piece(x, k) for k in range(given)]
    cell.values += held
    cell.values += cell.gates(draw(st.integers(1, 4), label="gates"), held[0])
    for _ in range(draw(st.integers(1, 7), label="nodes")):
        cell.grow()
    recent = cell.values[-4:]
    outputs = [
        draw(st.sampled_from([*recent, *held]), label="state") for _ in range(states)
    ]
    outputs += draw(st.lists(st.sampled_from(recent), max_size=2), label="sequences")
    names = tuple(f"out{k}" for k in range(len(outputs)))
    formal = (*cell.formal, *(value for value, _ in cell.invariants))
    scan = Scan(
        Graph(formal, tuple(outputs), names),
        2,
        states,
        draw(st.booleans(), label="reverse"),
    )
    sequence = Value(Spec((steps, given * width)), name=f"{name}sequence")
    masks = Value(Spec((steps, 1)), name=f"{name}masks")
    initial = [Value(Spec((width,)), name=f"{name}initial{k}") for k in range(states)]
    actual = [sequence, masks, *initial, *(number for _, number in cell.invariants)]
    results = apply(scan, *actual)
    wanted = draw(
        st.lists(st.sampled_from(range(len(results))), min_size=1, unique=True),
        label="wanted",
    )
    labels = tuple(f"{name}y{k}" for k in range(len(wanted)))
    inputs = (sequence, masks, *initial)
    return Graph(inputs, tuple(results[k] for k in wanted), labels)
