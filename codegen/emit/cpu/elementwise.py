"""Scalar expressions as NumPy calls that write into buffers that are free.

An expression becomes a sequence of operations in which equal parts stand once. Each
writes over an operand that nobody reads afterwards, where that is the function's own
and has the result's shape and type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from keramos import expr as scalar
from keramos.emit.cpu.function import (
    NUMPY_TYPES,
    Dim,
    Function,
    Operand,
    listing,
)
from keramos.expr import Expr
from keramos.primitives import DType, Spec
from keramos.text import literal

UFUNCS: Mapping[str, str] = {
    "abs": "np.abs",
    "add": "np.add",
    "and": "np.logical_and",
    "atan": "np.arctan",
    "ceil": "np.ceil",
    "cos": "np.cos",
    "div": "np.divide",
    "eq": "np.equal",
    "exp": "np.exp",
    "expm1": "np.expm1",
    "floor": "np.floor",
    "ge": "np.greater_equal",
    "gt": "np.greater",
    "le": "np.less_equal",
    "log": "np.log",
    "log1p": "np.log1p",
    "lt": "np.less",
    "max": "np.maximum",
    "min": "np.minimum",
    "mod": "np.mod",
    "mul": "np.multiply",
    "ne": "np.not_equal",
    "neg": "np.negative",
    "not": "np.logical_not",
    "or": "np.logical_or",
    "pow": "np.power",
    "reciprocal": "np.reciprocal",
    "round": "np.rint",
    "sign": "np.sign",
    "sin": "np.sin",
    "sqrt": "np.sqrt",
    "square": "np.square",
    "sub": "np.subtract",
    "tanh": "np.tanh",
    "trunc": "np.trunc",
}

# What the vendored scalar.py has.
SCALAR = ("erf", "sigmoid", "swish")

# A length, or a name for one that is free.
Length = int | str
Lengths = tuple[Length, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """An operation on earlier terms, an operand, or a number."""

    op: str
    args: tuple[int, ...] = ()
    value: float = 0.0
    index: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """Where a term's value is: *owned* if this function may write over it."""

    text: str
    lengths: Lengths
    dtype: np.dtype[Any] | None
    batched: bool
    owned: bool


def terms(expr: Expr) -> list[Term]:
    """Return *expr* as operations in order, equal ones once."""
    numbers: dict[Term, int] = {}
    known: dict[int, int] = {}

    def add(term: Term) -> int:
        return numbers.setdefault(term, len(numbers))

    def visit(part: Expr) -> int:
        if id(part) not in known:
            known[id(part)] = place(part)
        return known[id(part)]

    def place(part: Expr) -> int:
        if part.op == "input":
            return add(Term("input", index=part.index))
        if not scalar.operands_of(part):
            return add(Term("const", value=float(scalar.evaluate(part, []))))
        args = tuple(map(visit, part.args))
        if part.op == "rsqrt":
            return add(Term("reciprocal", (add(Term("sqrt", args)),)))
        return add(_simplified(part.op, args, list(numbers)))

    visit(expr)
    return _reachable(list(numbers))


def _simplified(op: str, args: tuple[int, ...], given: Sequence[Term]) -> Term:
    """Return the operation, or a faster one that is the same."""
    operands = [given[number] for number in args]
    if op == "pow" and operands[1] == Term("const", value=2.0):
        return Term("square", args[:1])
    if op == "mul":
        for one, other in (args, args[::-1]):
            if given[other] == Term("sigmoid", (one,)):
                return Term("swish", (one,))
    if op in ("max", "min"):
        return _bounded(op, args, operands)
    return Term(op, args)


def _bounded(op: str, args: tuple[int, ...], operands: Sequence[Term]) -> Term:
    """Return a maximum or minimum with a number as "clip", several times faster."""
    numbers = [term.op == "const" for term in operands]
    if sum(numbers) != 1 or np.isnan(operands[numbers.index(True)].value):
        return Term(op, args)
    bound, other = numbers.index(True), numbers.index(False)
    return Term(f"clip_{op}", (args[other], args[bound]))


def _reachable(all_terms: list[Term]) -> list[Term]:
    """Return the terms that the last one needs, renumbered."""
    needed = {len(all_terms) - 1}
    for number in range(len(all_terms) - 1, -1, -1):
        if number in needed:
            needed.update(all_terms[number].args)
    order = sorted(needed)
    place = {number: position for position, number in enumerate(order)}
    return [
        Term(term.op, tuple(place[arg] for arg in term.args), term.value, term.index)
        for term in (all_terms[number] for number in order)
    ]


@dataclass(slots=True)
class _Writer:
    function: Function
    operands: Sequence[Operand]
    owned: frozenset[int]
    rank: int
    uses: Counter[int]
    held: dict[int, Held] = field(default_factory=dict)
    fresh: int = 0

    def operand(self, index: int) -> Held:
        """Return an operand, aligned so that it broadcasts."""
        operand = self.operands[index]
        text = self.function.read(operand)
        lengths: list[Length] = [
            f"{text}.{axis}" if d is None else d for axis, d in enumerate(operand.shape)
        ]
        if not operand.batched:
            dtype = np.dtype(operand.dtype)
            return Held(text, tuple(lengths), dtype, batched=False, owned=False)
        missing = self.rank - operand.rank
        if missing:
            text += f"[:{', np.newaxis' * missing}]"
        return Held(
            text,
            ("n", *(1,) * missing, *lengths),
            np.dtype(operand.dtype),
            batched=True,
            owned=index in self.owned and not missing,
        )

    def lengths(self, parts: Sequence[Held]) -> Lengths:
        """Return the broadcast of the lengths of *parts*."""
        rank = max((len(part.lengths) for part in parts), default=0)
        columns = zip(
            *((1,) * (rank - len(p.lengths)) + p.lengths for p in parts), strict=True
        )
        return tuple(map(self._length, columns))

    def _length(self, lengths: tuple[Length, ...]) -> Length:
        distinct = [*dict.fromkeys(d for d in lengths if d != 1)]
        known = [d for d in distinct if isinstance(d, int)]
        if known:
            return known[0]
        if len(distinct) == 1:
            return distinct[0]
        if not distinct:
            return 1
        self.fresh += 1
        return f"?{self.fresh}"

    def room(self, args: Sequence[int], lengths: Lengths, dtype: object) -> int | None:
        """Return the argument that the result may be written over."""
        for number in args:
            part = self.held[number]
            if (
                part.owned
                and part.batched
                and self.uses[number] == args.count(number)
                and part.lengths == lengths
                and part.dtype == dtype
            ):
                return number
        return None

    def write(self, number: int, term: Term) -> None:
        """Write the operation *term* and remember where its value is."""
        if term.op == "const":
            value = float(str(np.float32(term.value)))
            text = literal(value)
            self.held[number] = Held(text, (), None, batched=False, owned=False)
            return
        if term.op == "input":
            self.held[number] = self.operand(term.index)
            return
        self._operation(number, term)
        for arg in term.args:
            self.uses[arg] -= 1

    def _operation(self, number: int, term: Term) -> None:
        args = list(term.args)
        parts = [self.held[arg] for arg in args]
        if _needs_floats(term.op, parts[0].dtype):
            text = self.function.let("part", f"{parts[0].text}.astype(np.float32)")
            parts[0] = replace(parts[0], text=text, dtype=np.dtype(np.float32))
        lengths = self.lengths(parts)
        dtype = _result_type(term.op, [part.dtype for part in parts])
        batched = any(part.batched for part in parts)
        texts = [part.text for part in parts]
        if term.op == "where":
            room = self.room(args[2:], lengths, dtype)
            if room is not None:
                text = self.held[room].text
                self.function.line(f"np.copyto({text}, {texts[1]}, where={texts[0]})")
            else:
                if parts[1].dtype is None and parts[2].dtype is None:
                    texts[1] = f"np.float32({texts[1]})"
                text = self._let(f"np.where({', '.join(texts)})", dtype)
        else:
            call, inner = self._call(term.op, texts)
            room = self.room(args, lengths, dtype)
            if room is not None:
                text = self.held[room].text
                self.function.line(f"{call}({inner}, out={text})")
            else:
                text = self._let(f"{call}({inner})", dtype)
        self.held[number] = Held(text, lengths, dtype, batched, owned=True)

    def _call(self, op: str, texts: Sequence[str]) -> tuple[str, str]:
        inner = ", ".join(texts)
        if op in SCALAR:
            return self.function.use("_scalar", op), inner
        if op == "clip_max":
            return "np.clip", f"{inner}, np.inf"
        if op == "clip_min":
            return "np.clip", f"{texts[0]}, -np.inf, {texts[1]}"
        if op == "clip":
            return "np.clip", inner
        return UFUNCS[op], inner

    def _let(self, text: str, dtype: np.dtype[Any]) -> str:
        kinds: Mapping[str, DType] = {
            "float32": "float32",
            "int32": "int32",
            "bool": "bool",
        }
        return self.function.let("y", text, kinds.get(dtype.name))


def _needs_floats(op: str, dtype: np.dtype[Any] | None) -> bool:
    """Return whether *op* isn't defined for *dtype*."""
    if op.startswith("clip"):
        return dtype == np.bool_
    return op in SCALAR and dtype != np.float32


def _result_type(op: str, types: Sequence[np.dtype[Any] | None]) -> np.dtype[Any]:
    """Return the type that NumPy gives; None is a Python number."""
    args: list[Any] = [1.0 if t is None else np.ones(1, t) for t in types]
    if op in SCALAR:
        return np.dtype(np.float32)
    if op == "where":
        args[1] = np.float32(1) if args[1:] == [1.0, 1.0] else args[1]
        return np.asarray(np.where(*args)).dtype
    if op.startswith("clip"):
        return np.asarray(np.clip(args[0], 0.0, 1.0)).dtype
    function = getattr(np, UFUNCS[op].removeprefix("np."))
    return np.asarray(function(*args)).dtype


def _clips(listed: list[Term]) -> list[Term]:
    """Join a lower and an upper bound, one upon the other, into a single clip."""
    uses = Counter(arg for term in listed for arg in term.args)
    joined = list(listed)
    for number, term in enumerate(joined):
        if term.op not in ("clip_max", "clip_min"):
            continue
        inner = joined[term.args[0]]
        if (
            not inner.op.startswith("clip_")
            or inner.op == term.op
            or uses[term.args[0]] > 1
        ):
            continue
        bounds = {term.op: term.args[1], inner.op: inner.args[1]}
        low, high = bounds["clip_max"], bounds["clip_min"]
        if joined[low].value <= joined[high].value:
            joined[number] = Term("clip", (inner.args[0], low, high))
    return _reachable(joined)


def compute(
    function: Function,
    expr: Expr,
    operands: Sequence[Operand],
    spec: Spec,
    *,
    owned: frozenset[int],
) -> str:
    """Write the lines that compute *expr* and return the variable of the result.

    *owned* are the operands that may be written over; the result is the function's
    own and as *spec* says, which the operands broadcast to.
    """
    shape, dtype = spec.shape, spec.dtype
    listed = _clips(terms(expr))
    uses = Counter(arg for term in listed for arg in term.args)
    writer = _Writer(function, operands, owned, len(shape), uses)
    for number, term in enumerate(listed):
        writer.write(number, term)
    result = writer.held[len(listed) - 1]
    whole = writer.lengths(
        [result, *(writer.operand(index) for index in range(len(operands)))]
    )
    if result.lengths != whole or not result.batched:
        target = listing(_whole(function, operands, len(shape), whole))
        maker = f"np.empty({target}, {NUMPY_TYPES[dtype]})"
        text = function.let("y", maker, dtype)
        function.line(f"{text}[...] = {result.text}")
        return text
    if result.dtype != np.dtype(dtype):
        return function.let("y", f"{result.text}.astype({NUMPY_TYPES[dtype]})", dtype)
    if not result.owned:
        return function.let("y", f"{result.text}.copy()", dtype)
    return result.text


def _whole(
    function: Function, operands: Sequence[Operand], rank: int, whole: Lengths
) -> list[Dim]:
    """Return the lengths of the result as the emitted code knows them."""
    dims: list[Dim] = [function.batch]
    for axis in range(rank):
        length = whole[axis + 1]
        if isinstance(length, int):
            dims.append(length)
            continue
        sizes = [
            f"{function.read(x)}.shape[{axis - rank + x.rank + x.batched}]"
            for x in operands
            if x.rank >= rank - axis and x.shape[axis - rank + x.rank] is None
        ]
        dims.append(sizes[0] if len(sizes) == 1 else f"max({', '.join(sizes)})")
    return dims
