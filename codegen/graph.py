"""The model as a graph of primitives, with a verifier, a printer and its meaning.

A value knows the node that gives it, a node its input values; the graph is what can be
reached from its outputs. Passes build new graphs with :meth:`Graph.rewrite`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import EllipsisType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from keramos import expr as scalar
from keramos.expr import Expr
from keramos.primitives import (
    Concat,
    DType,
    Gather,
    Map,
    Primitive,
    Reshape,
    Scan,
    Slice,
    Spec,
    Transpose,
    align,
    broadcast,
    floating,
    product,
)

Array = NDArray[Any]
Storage = Literal["float32", "float16", "uint8"]


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """Numbers known ahead of time, made when asked for and not kept.

    *reshaped* is the constant that holds the same numbers in the same order under
    another shape, if there is one: stored once, it serves both. Constants of the same
    *recipe*, which says how they are made and of what, hold the same numbers too; one
    without is like no other.

    *storage* is how float32 numbers are stored; they are rounded to it already. With
    *factors* the codes are stored in 8 bits, and the scale beside them. What is stored
    in 8 bits without factors are codes: whole numbers from -127 to 127.

    Each row of one that is *joined* has so many numbers of one constant, then of the
    next: what is stored for them serves it too.
    """

    spec: Spec
    load: Callable[[], Array] = field(repr=False)
    reshaped: Constant | None = field(default=None, repr=False)
    recipe: tuple[Hashable, ...] = field(default=(), repr=False)
    storage: Storage = "float32"
    factors: Factors | None = field(default=None, repr=False)
    joined: tuple[tuple[Constant, int], ...] = field(default=(), repr=False)

    @property
    def identity(self) -> Hashable:
        """Return what is equal for constants that are known to be equal."""
        return (self.spec, self.recipe) if self.recipe else self

    @property
    def stored(self) -> Constant:
        """Return the constant whose numbers are stored for this one."""
        return self if self.reshaped is None else self.reshaped.stored

    def array(self) -> Array:
        """Return the numbers; raise ValueError where they aren't what was promised."""
        array = np.asarray(self.load(), dtype=self.spec.dtype)
        if array.shape != self.spec.shape:
            raise ValueError(f"expected {self.spec}, loaded {array.shape}")
        return array


@dataclass(frozen=True, slots=True)
class Factors:
    """What a constant is the product of: codes, and a scale for their last axes."""

    codes: Constant
    scale: Constant


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

    @property
    def key(self) -> ValueKey:
        """Return what identifies the value: results exist as several objects."""
        return self if self.node is None else (self.node, self.index)

    def __add__(self, other: Operand) -> Value:
        """Return the sum."""
        return elementwise("add", self, other)

    def __radd__(self, other: Operand) -> Value:
        """Return the sum."""
        return elementwise("add", other, self)

    def __sub__(self, other: Operand) -> Value:
        """Return the difference."""
        return elementwise("sub", self, other)

    def __rsub__(self, other: Operand) -> Value:
        """Return the difference."""
        return elementwise("sub", other, self)

    def __mul__(self, other: Operand) -> Value:
        """Return the product."""
        return elementwise("mul", self, other)

    def __rmul__(self, other: Operand) -> Value:
        """Return the product."""
        return elementwise("mul", other, self)

    def __truediv__(self, other: Operand) -> Value:
        """Return the quotient."""
        return elementwise("div", self, other)

    def __rtruediv__(self, other: Operand) -> Value:
        """Return the quotient."""
        return elementwise("div", other, self)

    def __pow__(self, other: Operand) -> Value:
        """Return the power."""
        return elementwise("pow", self, other)

    def __neg__(self) -> Value:
        """Return the negation."""
        return elementwise("neg", self)

    def __lt__(self, other: Value | float) -> Value:
        """Return where self is smaller."""
        return elementwise("lt", self, other)

    def __le__(self, other: Value | float) -> Value:
        """Return where self is smaller or equal."""
        return elementwise("le", self, other)

    def __gt__(self, other: Value | float) -> Value:
        """Return where self is larger."""
        return elementwise("gt", self, other)

    def __ge__(self, other: Value | float) -> Value:
        """Return where self is larger or equal."""
        return elementwise("ge", self, other)

    def __and__(self, other: Value) -> Value:
        """Return where both hold."""
        return elementwise("and", self, other)

    def __or__(self, other: Value) -> Value:
        """Return where one of them holds."""
        return elementwise("or", self, other)

    def __invert__(self) -> Value:
        """Return where self doesn't hold."""
        return elementwise("not", self)

    def __getitem__(self, key: Key | tuple[Key, ...]) -> Value:
        """Return elements as NumPy does; *key* leaves the batch axis out."""
        return _item(self, key if isinstance(key, tuple) else (key,))


# What stands beside a value in arithmetic: numbers are written into the expression.
Operand = Value | float | int | bool | NDArray[Any]
Key = int | slice | EllipsisType | None


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

    Without *origins* the node belongs to the layer of :func:`lowering`. Raises
    ValueError where the shapes don't fit.
    """
    specs = primitive.infer(*(x.spec for x in inputs))
    node = Node(primitive, inputs, specs, origins or _ORIGINS.get())
    if any(x.constant is None for x in inputs) or isinstance(primitive, Scan):
        return node.results()
    return tuple(_fold(node, index) for index in range(len(specs)))


def _fold(node: Node, index: int) -> Value:
    """Return result *index* of a node whose inputs are constants."""

    def load() -> Array:
        arrays = [
            x.constant.array()[None] for x in node.inputs if x.constant is not None
        ]
        result: Array = node.evaluate(*arrays)[index][0]
        return result

    name = next((x.name for x in node.inputs if x.name), "")
    same = node.inputs[0].constant if isinstance(node.primitive, Reshape) else None
    made_of = (x.constant.identity for x in node.inputs if x.constant is not None)
    recipe = (node.primitive, index, *made_of)
    storage, joined = _moved_storage(node), _joined(node)
    spec = node.specs[index]
    kept = Constant(spec, load, same, recipe, storage, joined=joined)
    return constant(kept, name=name)


def _moved_storage(node: Node) -> Storage:
    """Return how the result of a node on constants is stored.

    What only moves numbers leaves them as round as they are.
    """
    source = node.inputs[0].constant
    if source is None or source.factors is not None:
        return "float32"
    moves = isinstance(node.primitive, Reshape | Transpose) and node.epilogue is None
    return source.storage if moves or _joined(node) else "float32"


def _joined(node: Node) -> tuple[tuple[Constant, int], ...]:
    """Return the constants that a concatenation has side by side, and their runs.

    None of them where they are stored in different ways.
    """
    if not isinstance(node.primitive, Concat):
        return ()
    axis = node.primitive.axis
    constants = [x.constant for x in node.inputs if x.constant is not None]
    alike = len({x.storage for x in constants}) == 1
    if not alike or any(x.factors is not None for x in constants):
        return ()
    return tuple((x, product(x.spec.shape[axis:]) or 0) for x in constants)


_ORIGINS: ContextVar[tuple[Origin, ...]] = ContextVar("origins", default=())


@contextmanager
def lowering(origin: Origin) -> Iterator[None]:
    """Mark the nodes that are made inside as those of a layer."""
    token = _ORIGINS.set((origin,))
    try:
        yield
    finally:
        _ORIGINS.reset(token)


def elementwise(
    function: str | Callable[..., Expr], *operands: Operand, dtype: DType | None = None
) -> Value:
    """Return an expression's operator, or a function of expressions, of *operands*.

    Truth values make a bool; what else has no *dtype* is float32 where an operand is,
    and int32 otherwise.
    """
    values: list[Value] = []
    expressions: list[Expr] = []
    for x in operands:
        if isinstance(x, float | int):
            expressions.append(scalar.const(x))
            continue
        value = x if isinstance(x, Value) else literal(np.asarray(x))
        expressions.append(scalar.operand(len(values)))
        values.append(value)
    expr = (
        scalar.call(function, *expressions)
        if isinstance(function, str)
        else function(*expressions)
    )
    if dtype is None:
        dtype = "bool" if expr.is_boolean else _common_dtype(expr, values, operands)
    return apply(Map(expr, dtype), *values)[0]


# Functions whose result is no whole number for whole operands.
_FLOATING = frozenset(
    {"atan", "cos", "div", "erf", "exp", "expm1", "log", "log1p", "pow", "rsqrt"}
    | {"sigmoid", "sin", "sqrt", "tanh"}
)


def _common_dtype(
    expr: Expr, values: Sequence[Value], operands: Sequence[Operand]
) -> DType:
    """Return what NumPy would promote the operands to, in 32 bits."""
    # The condition of a choice takes no part in its type.
    counted = list(values)
    if expr.op == "where":
        counted = [values[i] for arg in expr.args[1:] for i in scalar.operands_of(arg)]
    fractions = any(isinstance(x, float) for x in operands)
    if fractions or expr.op in _FLOATING or any(x.dtype == "float32" for x in counted):
        return "float32"
    if counted and expr.op == "where" and all(x.dtype == "bool" for x in counted):
        return "bool"
    return "int32"


def _item(x: Value, key: tuple[Key, ...]) -> Value:
    """Return ``x[key]`` as slices, then dropped and inserted axes."""
    consumed = sum(1 for k in key if k is not None and k is not Ellipsis)
    if consumed > len(x.shape):
        raise IndexError(f"{consumed} indices for {x.spec}")
    rest = (slice(None),) * (len(x.shape) - consumed)
    at = next((i for i, k in enumerate(key) if k is Ellipsis), len(key))
    full = (*key[:at], *rest, *key[at + 1 :])
    slices: list[tuple[int | None, int | None, int]] = []
    plan: list[int | None] = []  # axes kept; None is a new one
    dropped: list[int] = []
    for k in full:
        if k is None:
            plan.append(None)
            continue
        axis = len(slices)
        if isinstance(k, slice):
            slices.append((k.start, k.stop, 1 if k.step is None else k.step))
            plan.append(axis)
        elif isinstance(k, int):
            size = x.shape[axis]
            if size is not None and not -size <= k < size:
                raise IndexError(f"index {k} is outside axis {axis} of {x.spec}")
            slices.append((k, k + 1 or None, 1))
            dropped.append(axis)
    if any(s != (None, None, 1) for s in slices):
        (x,) = apply(Slice(tuple(slices)), x)
    for axis in reversed(dropped):
        if x.shape[axis] is None:
            # A reshape can't tell a free axis of length 1 from the other free axes.
            (x,) = apply(Gather(axis), x, literal(np.zeros((), np.int32)))
            plan = [a - 1 if a is not None and a > axis else a for a in plan]
    shape = tuple(1 if axis is None else x.shape[axis] for axis in plan)
    return x if shape == x.shape else apply(Reshape(shape), x)[0]


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
    recipe = (array.tobytes(),) if array.size <= _SMALL else ()
    return constant(Constant(spec, lambda: array, recipe=recipe), name=name)


# Literals of no more elements are known by their numbers.
_SMALL = 64


# A value among others: an input or a constant itself, a result by node and index.
ValueKey = Value | tuple[Node, int]
Visitor = Callable[[Node, tuple[Value, ...]], "tuple[Value, ...] | None"]


@dataclass(frozen=True, slots=True)
class Graph:
    """A model: named inputs, named outputs, and the nodes between, in order.

    What a model keeps between calls are its last *states* inputs and outputs: it takes
    the states and gives the next ones, which whoever calls it keeps, zeros at first.
    Such a model computes *batch* samples, no more and no fewer.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    output_names: tuple[str, ...]
    name: str = "model"
    states: int = 0
    batch: int | None = None
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
    def public_inputs(self) -> tuple[Value, ...]:
        """Return the inputs that users give."""
        return self.inputs[: len(self.inputs) - self.states]

    @property
    def public_outputs(self) -> tuple[Value, ...]:
        """Return the outputs that users get."""
        return self.outputs[: len(self.outputs) - self.states]

    @property
    def state_inputs(self) -> tuple[Value, ...]:
        """Return the states before a call, in the order of those behind it."""
        return self.inputs[len(self.inputs) - self.states :]

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

    def with_outputs(self, values: Sequence[Value], names: Sequence[str]) -> Graph:
        """Return the graph with more outputs, behind its own and before the states."""
        own = len(self.public_outputs)
        outputs = (*self.outputs[:own], *values, *self.outputs[own:])
        labels = (*self.output_names[:own], *names, *self.output_names[own:])
        return replace(self, outputs=outputs, output_names=labels)

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
        return replace(self, outputs=outputs)

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
        seen: set[ValueKey] = set(self.inputs)
        if len(self.outputs) != len(self.output_names):
            raise ValueError("outputs and their names differ in number")
        self._verify_states()
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

    def _verify_states(self) -> None:
        """Raise ValueError where a state isn't after a call what it is before."""
        if not 0 <= self.states <= min(len(self.inputs), len(self.outputs)):
            raise ValueError(f"{self.states} states are more than inputs or outputs")
        after = self.outputs[len(self.outputs) - self.states :]
        for x, y in zip(self.state_inputs, after, strict=True):
            if x.spec != y.spec:
                raise ValueError(f"state {x.name} is {x.spec} before, {y.spec} after")
        if self.states and self.batch is None:
            raise ValueError("a graph with states has a fixed number of samples")

    def __str__(self) -> str:
        """Return one line per node: the golden text of tests."""
        names: dict[ValueKey, str] = {}

        def name(x: Value) -> str:
            return names.get(x.key) or f"{x.name or 'constant'}:{x.spec}"

        for x in self.inputs:
            names[x] = x.name
        kinds = [""] * len(self.public_inputs) + ["state "] * self.states
        pairs = zip(kinds, self.inputs, strict=True)
        lines = [f"{kind}{x.name}: {x.spec}" for kind, x in pairs]
        for number, node in enumerate(self.nodes):
            for index in range(len(node.specs)):
                suffix = f".{index}" if len(node.specs) > 1 else ""
                names[node, index] = f"%{number}{suffix}"
            kind = _describe(node)
            given = ", ".join(map(name, node.inputs))
            specs = ", ".join(map(str, node.specs))
            lines.append(f"%{number}: {specs} = {kind}({given})")
        kinds = ["return"] * len(self.public_outputs) + ["keep"] * self.states
        outputs = zip(kinds, self.output_names, self.outputs, strict=True)
        lines += [f"{kind} {label} = {name(y)}" for kind, label, y in outputs]
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


def _check_source(x: Value, seen: set[ValueKey]) -> None:
    if x.constant is not None:
        return
    if x.key not in seen:
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
