"""Scalar expressions on vectors of four; comparisons give masks.

``pmax`` and ``pmin`` are single instructions of most processors, where ``max`` and
``min`` are many. If the second operand is a number, they keep what isn't one all the
same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from keramos.emit.javascript.expression import Program, Term
from keramos.emit.wasm.assembler import Instruction, apply
from keramos.emit.wasm.kernel import Kernel, UnsupportedError

_LARGEST = 3.4028234663852886e38
_OPS: Mapping[str, str] = {
    "abs": "f32x4.abs",
    "add": "f32x4.add",
    "and": "v128.and",
    "ceil": "f32x4.ceil",
    "div": "f32x4.div",
    "eq": "f32x4.eq",
    "floor": "f32x4.floor",
    "ge": "f32x4.ge",
    "gt": "f32x4.gt",
    "le": "f32x4.le",
    "lt": "f32x4.lt",
    "max": "f32x4.max",
    "min": "f32x4.min",
    "mul": "f32x4.mul",
    "ne": "f32x4.ne",
    "neg": "f32x4.neg",
    "not": "v128.not",
    "or": "v128.or",
    "round": "f32x4.nearest",
    "sqrt": "f32x4.sqrt",
    "sub": "f32x4.sub",
    "trunc": "f32x4.trunc",
}


def supported(program: Program) -> bool:
    """Return whether vectors can compute *program*, of float32 throughout."""
    return (
        program.result == "float32"
        and not program.is_truth(len(program.terms) - 1)
        and all(program.dtypes[k] == "float32" for k in program.operands)
        and all(
            term.op in _OPS or term.op in ("const", "input", "where", "rsqrt")
            for term in program.terms
        )
        and all(map(_is_storable, program.terms))
    )


def vector(
    kernel: Kernel, program: Program, operands: Sequence[Instruction]
) -> Instruction:
    """Return *program* of four elements of each operand; equal parts stand once."""
    if not supported(program):
        raise UnsupportedError
    uses = Counter(arg for term in program.terms for arg in term.args)
    values: list[Instruction] = []
    for number, term in enumerate(program.terms):
        value = _term(kernel, program, term, values, operands)
        if uses[number] > 1 and value.op not in ("local.get", "v128.const"):
            value = kernel.set(f"t{number}", value, "v128")
        values.append(value)
    return values[-1]


def _term(
    kernel: Kernel,
    program: Program,
    term: Term,
    values: Sequence[Instruction],
    operands: Sequence[Instruction],
) -> Instruction:
    if term.op == "const":
        return kernel.constant(term.value)
    if term.op == "input":
        return operands[term.index]
    args = []
    for place, arg in enumerate(term.args):
        given = program.is_truth(arg)
        value = values[arg]
        if program.takes_truth(term, place) and not given:
            value = apply("f32x4.ne", value, kernel.constant(0))
        elif given and not program.takes_truth(term, place):
            value = apply("v128.and", value, kernel.constant(1))
        args.append(value)
    if term.op == "where":
        condition, true, false = args
        return apply("v128.bitselect", true, false, condition)
    if term.op == "rsqrt":
        return apply("f32x4.div", kernel.constant(1), apply("f32x4.sqrt", *args))
    if term.op in ("max", "min"):
        numbers = [_is_number(program.terms[arg]) for arg in term.args]
        if any(numbers):
            first, second = args if numbers[1] else reversed(args)
            return apply(f"f32x4.p{term.op}", first, second)
    return apply(_OPS[term.op], *args)


def _is_number(term: Term) -> bool:
    return term.op == "const" and not math.isnan(term.value)


def _is_storable(term: Term) -> bool:
    """Return whether a number of *term* is a float32 where it is finite."""
    return not math.isfinite(term.value) or abs(term.value) <= _LARGEST
