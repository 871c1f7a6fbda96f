"""The model as a graph of primitives, with a verifier, a printer and its meaning.

A value knows the node that gives it, a node its input values; the graph is what can be
reached from its outputs. Passes build new graphs with :meth:`Graph.rewrite`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keramos import expr as scalar
from keramos.expr import Expr
from keramos.primitives import (
    DType,
    Map,
    Primitive,
    Reshape,
    Scan,
    Spec,
    align,
    broadcast,
    floating,
)

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """Numbers known ahead of time, made when asked for and not kept."""

    spec: Spec
    load: Callable[[], Array] = field(repr=False)

    def array(self) -> Array:
        """Return the numbers; raise ValueError where they aren't what was promised."""
        array = np.asarray(self.load(), dtype=self.spec.dtype)
        if array.shape != self.spec.shape:
            raise ValueError(f"expected {self.spec}, loaded {array.shape}")
        return array


@dataclass(frozen=True, slots=True)
class Origin:
    """The Keras layer that a node or a constant comes from."""

    layer: str
    class_name: str


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """An input, a constant, or result *index* of a node.

    Inputs and constants have a *name*; every value but constants has the batch axis,
    which its spec leaves out.
    """

    spec: Spec
    name: str = ""
    constant: Constant | None = None
    node: Node | None = None
    index: int = 0

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Return the shape without the batch axis."""
        return self.spec.shape

    @property
    def dtype(self) -> DType:
        """Return the element type."""
        return self.spec.dtype


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A primitive applied to values.

    With an *epilogue* the result r of the primitive, applied to the first *arity*
    inputs, becomes ``epilogue(r, rest of the inputs...)``: operand 0 is r. Only
    primitives with one result have one. *origins* are the Keras layers that went into
    the node, the leading one first.
    """

    primitive: Primitive
    inputs: tuple[Value, ...]
    specs: tuple[Spec, ...]
    origins: tuple[Origin, ...] = ()
    epilogue: Expr | None = None
    arity: int = 0

    @property
    def operands(self) -> tuple[Value, ...]:
        """Return the inputs of the primitive itself."""
        return self.inputs if self.epilogue is None else self.inputs[: self.arity]

    @property
    def extras(self) -> tuple[Value, ...]:
        """Return the inputs that only the epilogue reads."""
        return () if self.epilogue is None else self.inputs[self.arity :]

    def results(self) -> tuple[Value, ...]:
        """Return fresh values for the results."""
        return tuple(
            Value(spec, node=self, index=i) for i, spec in enumerate(self.specs)
        )

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """Return the results; arrays have the batch axis in front (1 for constants)."""
        primitive = self.primitive
        if isinstance(primitive, Reshape):
            return primitive.evaluate(inputs[0], free=self.inputs[0].shape)
        if self.epilogue is None:
            return primitive.evaluate(*inputs)
        (result,) = primitive.evaluate(*inputs[: self.arity])
        extras = inputs[self.arity :]
        rank = max(x.ndim for x in (result, *extras)) - 1
        aligned = [align(x, rank) for x in (result, *extras)]
        y = scalar.evaluate(self.epilogue, aligned)
        dtype = (
            floating(aligned)
            if self.specs[0].dtype == "float32"
            else self.specs[0].dtype
        )
        return (np.asarray(y).astype(dtype),)


def apply(
    primitive: Primitive, *inputs: Value, origins: tuple[Origin, ...] = ()
) -> tuple[Value, ...]:
    """Return the results of *primitive*; constants give constants, made when loaded.

    Raises ValueError where the shapes don't fit.
    """
    specs = primitive.infer(*(x.spec for x in inputs))
    node = Node(primitive, inputs, specs, origins)
    if any(x.constant is None for x in inputs) or isinstance(primitive, Scan):
        return node.results()
    return tuple(_fold(node, index) for index in range(len(specs)))


def _fold(node: Node, index: int) -> Value:
    """Return result *index* of a node whose inputs are constants."""

    def load() -> Array:
        arrays = [
            x.constant.array()[None] for x in node.inputs if x.constant is not None
        ]
        return node.evaluate(*arrays)[index][0]

    name = next((x.name for x in node.inputs if x.name), "")
    return constant(Constant(node.specs[index], load), name=name)


def constant(value: Constant, *, name: str) -> Value:
    """Return *value* as a graph's value; *name* is ``layer/role``."""
    return Value(value.spec, name=name, constant=value)


def literal(array: Array, *, name: str = "") -> Value:
    """Return numbers that are at hand as a constant."""
    names: Mapping[str, DType] = {
        "f": "float32",
        "i": "int32",
        "u": "int32",
        "b": "bool",
    }
    spec = Spec(array.shape, names[array.dtype.kind])
    return constant(Constant(spec, lambda: array), name=name)


Visitor = Callable[[Node, tuple[Value, ...]], "tuple[Value, ...] | None"]


@dataclass(frozen=True, slots=True)
class Graph:
    """A model: named inputs, named outputs, and the nodes between, in order."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    output_names: tuple[str, ...]
    name: str = "model"
    nodes: tuple[Node, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Collect the nodes that the outputs need."""
        object.__setattr__(self, "nodes", _ordered(self.outputs))

    @property
    def input_specs(self) -> tuple[Spec, ...]:
        """Return what the graph takes."""
        return tuple(x.spec for x in self.inputs)

    @property
    def output_specs(self) -> tuple[Spec, ...]:
        """Return what the graph gives."""
        return tuple(y.spec for y in self.outputs)

    @property
    def has_constants(self) -> bool:
        """Return whether a node reads a constant."""
        return bool(self.constants())

    def constants(self) -> tuple[Value, ...]:
        """Return the constants in the order of first use."""
        used = [x for node in self.nodes for x in node.inputs] + [*self.outputs]
        return tuple(dict.fromkeys(x for x in used if x.constant is not None))

    def uses(self) -> Counter[Value]:
        """Return how often each value is read, as an output too."""
        return Counter(
            [x for node in self.nodes for x in node.inputs] + [*self.outputs]
        )

    def rewrite(self, visit: Visitor) -> Graph:
        """Return the graph with each node replaced by what *visit* gives.

        *visit* takes a node of this graph and its new inputs, and returns the new
        results, or None to keep the node as it is.
        """
        new: dict[Value, Value] = {x: x for x in self.inputs}
        results: dict[tuple[Node, int], Value] = {}

        def renewed(value: Value) -> Value:
            if value.node is None:
                return new.get(value, value)
            return results[value.node, value.index]

        for node in self.nodes:
            inputs = tuple(map(renewed, node.inputs))
            changed = visit(node, inputs)
            if changed is None:
                same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
                kept = node if same else replace(node, inputs=inputs)
                changed = kept.results()
            for index, value in enumerate(changed):
                results[node, index] = value
        outputs = tuple(map(renewed, self.outputs))
        return Graph(self.inputs, outputs, self.output_names, self.name)

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """Return the outputs for arrays with a batch axis: what the graph means."""
        known: dict[tuple[Node, int], Array] = {}
        given = dict(zip(self.inputs, inputs, strict=True))
        wide = any(x.dtype == np.float64 for x in inputs)

        def array(value: Value) -> Array:
            if value.constant is not None:
                numbers = value.constant.array()[None]
                if wide and numbers.dtype.kind == "f":
                    return numbers.astype(np.float64)
                return numbers
            return (
                given[value] if value.node is None else known[value.node, value.index]
            )

        for node in self.nodes:
            for index, y in enumerate(node.evaluate(*map(array, node.inputs))):
                known[node, index] = y
        n = inputs[0].shape[0] if inputs else 1
        outputs = map(array, self.outputs)
        return tuple(np.broadcast_to(y, (n, *y.shape[1:])) for y in outputs)

    def verify(self) -> None:
        """Raise ValueError where the graph isn't sound: then a pass is wrong."""
        seen: set[Value | tuple[Node, int]] = set(self.inputs)
        if len(self.outputs) != len(self.output_names):
            raise ValueError("outputs and their names differ in number")
        for node in self.nodes:
            for x in node.inputs:
                _check_source(x, seen)
            specs = node.primitive.infer(*(x.spec for x in node.operands))
            if node.epilogue is not None:
                specs = (_epilogue_spec(node, specs),)
            if not all(map(_compatible, specs, node.specs)) or len(specs) != len(
                node.specs
            ):
                raise ValueError(f"{node.primitive} gives {specs}, not {node.specs}")
            if isinstance(node.primitive, Scan) and node.primitive.body.has_constants:
                raise ValueError("a body's constants must be invariants of its Scan")
            seen.update((node, index) for index in range(len(specs)))
        for y in self.outputs:
            _check_source(y, seen)

    def __str__(self) -> str:
        """Return one line per node: the golden text of tests."""
        names: dict[Value | tuple[Node, int], str] = {}

        def name(x: Value) -> str:
            key = x if x.node is None else (x.node, x.index)
            return names.get(key) or f"{x.name or 'constant'}:{x.spec}"

        for x in self.inputs:
            names[x] = x.name
        lines = [f"{x.name}: {x.spec}" for x in self.inputs]
        for number, node in enumerate(self.nodes):
            for index in range(len(node.specs)):
                suffix = f".{index}" if len(node.specs) > 1 else ""
                names[node, index] = f"%{number}{suffix}"
            kind = _describe(node)
            given = ", ".join(map(name, node.inputs))
            specs = ", ".join(map(str, node.specs))
            lines.append(f"%{number}: {specs} = {kind}({given})")
        outputs = zip(self.output_names, self.outputs, strict=True)
        lines += [f"return {label} = {name(y)}" for label, y in outputs]
        return "\n".join(lines)


def _ordered(outputs: Sequence[Value]) -> tuple[Node, ...]:
    """Return the nodes that *outputs* need, each behind what it reads."""
    done: dict[Node, None] = {}
    stack = [y.node for y in reversed(outputs) if y.node is not None]
    while stack:
        node = stack[-1]
        missing = [
            x.node for x in node.inputs if x.node is not None and x.node not in done
        ]
        if node in done:
            stack.pop()
        elif missing:
            stack.extend(reversed(missing))
        else:
            done[node] = None
            stack.pop()
    return tuple(done)


def _check_source(x: Value, seen: set[Value | tuple[Node, int]]) -> None:
    if x.constant is not None:
        return
    if (x if x.node is None else (x.node, x.index)) not in seen:
        raise ValueError(f"{x.name or x.spec} is read before it is given")
    if x.node is not None and x.spec != x.node.specs[x.index]:
        raise ValueError(
            f"{x.spec} is read as another spec than {x.node.specs[x.index]}"
        )


def _epilogue_spec(node: Node, specs: tuple[Spec, ...]) -> Spec:
    shapes = [specs[0].shape, *(x.shape for x in node.extras)]
    return Spec(broadcast(shapes), node.specs[0].dtype)


def _compatible(a: Spec, b: Spec) -> bool:
    """Return whether the specs agree where both are known."""
    return (
        a.dtype == b.dtype
        and len(a.shape) == len(b.shape)
        and all(None in (p, q) or p == q for p, q in zip(a.shape, b.shape, strict=True))
    )


def _describe(node: Node) -> str:
    primitive = node.primitive
    if isinstance(primitive, Map):
        text = f"Map[{formula(primitive.expr)}]"
    elif isinstance(primitive, Scan):
        direction = ", reverse" if primitive.reverse else ""
        text = f"Scan[{primitive.sequences}, {primitive.states}{direction}]"
    else:
        text = repr(primitive)
    if node.epilogue is not None:
        text += f" -> [{formula(node.epilogue)}]"
    return text


def formula(expr: Expr) -> str:
    """Return *expr* in functional notation; ``x0`` is operand 0."""
    if expr.op == "input":
        return f"x{expr.index}"
    if expr.op == "const":
        return f"{expr.value:.9g}"
    return f"{expr.op}({', '.join(map(formula, expr.args))})"
