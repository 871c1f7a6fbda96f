"""Scalar expressions as JavaScript, equal parts computed once.

Truth values are stored as 0 and 1, and are true and false only within an expression.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from keramos.expr import BOOLEAN, JAVASCRIPT, Expr
from keramos.primitives import DType

_LOGIC = frozenset({"and", "or", "not"})
_SUPPORT = {"erf": "erf", "mod": "mod", "round": "roundEven", "sigmoid": "sigmoid"}
# Operators whose result is whole where the operands are.
_WHOLE = frozenset(
    {"abs", "add", "ceil", "floor", "max", "min", "mul", "neg", "round", "sign"}
    | {"sub", "trunc", "where"}
)

# Whole numbers below it are written out.
_LARGE = 1e15


@dataclass(frozen=True, slots=True)
class Term:
    """An operator on terms that stand before it."""

    op: str
    args: tuple[int, ...]
    value: float
    index: int


@dataclass(frozen=True, slots=True)
class Program:
    """An expression as terms in order, each once, and the text of each.

    *dtypes* are those of the operands, *result* is the type in which it is stored.
    *finite* says that the text may count on finite numbers.
    """

    terms: tuple[Term, ...]
    dtypes: tuple[DType, ...]
    result: DType
    finite: bool = False

    @property
    def support(self) -> frozenset[str]:
        """Return the names of the functions that the text calls."""
        return frozenset(
            _SUPPORT[term.op] for term in self.terms if term.op in _SUPPORT
        )

    @property
    def operands(self) -> frozenset[int]:
        """Return the indexes of the operands that are read."""
        return frozenset(term.index for term in self.terms if term.op == "input")

    def text(self, operands: Sequence[str]) -> tuple[list[str], str]:
        """Return declarations, and the text of what is to be stored.

        *operands* are texts of numbers.
        """
        uses = Counter(arg for term in self.terms for arg in term.args)
        lines: list[str] = []
        texts: list[str] = []

        def named(text: str) -> str:
            lines.append(f"const t{len(lines)} = {bare(text)};")
            return f"t{len(lines) - 1}"

        for number, term in enumerate(self.terms):
            if self.finite and self._is_rectifier(term):
                part = texts[term.args[0]]
                part = part if part.isalnum() else named(part)
                # Half of the signs go either way: a branch on them is slow.
                text = f"(({part} + Math.abs({part})) * 0.5)"
            else:
                text = self._term(term, texts, operands)
            if uses[number] > 1 and (term.args or "[" in text):
                text = named(text)
            texts.append(text)
        return lines, bare(self._stored(texts[-1]))

    def _term(self, term: Term, texts: Sequence[str], operands: Sequence[str]) -> str:
        if term.op == "const":
            return number_text(term.value)
        if term.op == "input":
            return operands[term.index]
        args = []
        for place, arg in enumerate(term.args):
            given = self.is_truth(arg)
            if self.takes_truth(term, place):
                args.append(texts[arg] if given else f"({texts[arg]} !== 0)")
            else:
                args.append(f"({texts[arg]} ? 1 : 0)" if given else texts[arg])
        return JAVASCRIPT[term.op].format(*args)

    def _is_rectifier(self, term: Term) -> bool:
        """Return whether *term* is ``max(x, 0)``."""
        if term.op != "max" or self.is_truth(term.args[0]):
            return False
        other = self.terms[term.args[1]]
        return other.op == "const" and other.value == 0

    def takes_truth(self, term: Term, place: int) -> bool:
        """Return whether operand *place* of *term* is a truth value."""
        if term.op in _LOGIC:
            return True
        if term.op == "where":
            return place == 0 or self._both_truth(term)
        return False

    def _both_truth(self, term: Term) -> bool:
        return self.is_truth(term.args[1]) and self.is_truth(term.args[2])

    def is_truth(self, number: int) -> bool:
        """Return whether the text of a term gives true and false."""
        term = self.terms[number]
        if term.op == "where":
            return self._both_truth(term)
        return term.op in BOOLEAN

    def _is_whole(self, number: int) -> bool:
        term = self.terms[number]
        if term.op == "const":
            return term.value.is_integer()
        if term.op == "input":
            return self.dtypes[term.index] != "float32"
        if term.op in BOOLEAN or term.op in ("ceil", "floor", "round", "trunc"):
            return True
        counted = term.args[1:] if term.op == "where" else term.args
        return term.op in _WHOLE and all(map(self._is_whole, counted))

    def _stored(self, text: str) -> str:
        last = len(self.terms) - 1
        if self.is_truth(last):
            return f"{text} ? 1 : 0"
        if self.result == "bool" and not self._is_stored_truth(last):
            return f"{text} !== 0 ? 1 : 0"
        if self.result == "int32" and not self._is_whole(last):
            return f"Math.trunc({text})"
        return text

    def _is_stored_truth(self, number: int) -> bool:
        term = self.terms[number]
        return term.op == "input" and self.dtypes[term.index] == "bool"


def program(
    expr: Expr, dtypes: Sequence[DType], result: DType, *, finite: bool = False
) -> Program:
    """Return *expr* of operands of *dtypes*, stored as *result*."""
    terms: dict[Term, int] = {}
    known: dict[int, int] = {}

    def number(part: Expr) -> int:
        if id(part) not in known:
            args = tuple(map(number, part.args))
            term = Term(part.op, args, part.value, part.index)
            known[id(part)] = terms.setdefault(term, len(terms))
        return known[id(part)]

    last = number(expr)
    listed = tuple(terms)[: last + 1]
    return Program(listed, tuple(dtypes), result, finite)


def bare(text: str) -> str:
    """Return *text* without brackets around the whole."""
    depth = 0
    for place, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0 and place < len(text) - 1:
            return text
    return text[1:-1] if text.startswith("(") else text


def number_text(value: float) -> str:
    """Return *value* as a JavaScript number; negative ones stand in brackets."""
    if math.isnan(value):
        return "NaN"
    text = "Infinity" if math.isinf(value) else _digits(abs(value))
    return f"(-{text})" if math.copysign(1, value) < 0 else text


def _digits(value: float) -> str:
    return str(int(value)) if value.is_integer() and value < _LARGE else repr(value)
