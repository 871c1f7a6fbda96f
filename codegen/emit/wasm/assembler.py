"""WebAssembly modules: instructions as trees, written as bytes or as text.

An instruction stands with the operands that it takes, so that trees read like the
folded text format, ``(f32x4.add (local.get $a) (local.get $b))``. Locals have names;
each function knows the types of those that aren't parameters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["i32", "v128"]

_KINDS: Mapping[Kind, int] = {"i32": 0x7F, "v128": 0x7B}
_FUNCTION, _NO_RESULT, _END = 0x60, 0x40, 0x0B
_MAGIC = b"\0asm\1\0\0\0"
_SIMD = 0xFD
_BYTES_PER_PAGE = 65536
# LEB128 has digits of seven bits; the eighth tells whether more follow.
_DIGIT, _MASK, _MORE = 7, 0x7F, 0x80

# What follows the opcode of each instruction.
_OPCODES: Mapping[str, tuple[bytes, str]] = {
    "loop": (b"\x03", "body"),
    "memory.copy": (b"\xfc\x0a\0\0", ""),
    "memory.fill": (b"\xfc\x0b\0", ""),
    "br_if": (b"\x0d", "number"),
    "select": (b"\x1b", ""),
    "local.get": (b"\x20", "local"),
    "local.set": (b"\x21", "local"),
    "local.tee": (b"\x22", "local"),
    "i32.const": (b"\x41", "i32"),
    "f32.const": (b"\x43", "f32"),
    "i32.lt_u": (b"\x49", ""),
    "i32.add": (b"\x6a", ""),
    "i32.sub": (b"\x6b", ""),
    "i32.mul": (b"\x6c", ""),
} | {
    name: (bytes([_SIMD, *code]), what)
    for name, code, what in (
        ("v128.load", [0x00], "memory 2"),
        ("v128.load32_splat", [0x09], "memory 2"),
        ("v128.store", [0x0B], "memory 2"),
        ("v128.const", [0x0C], "zeros"),
        ("f32x4.splat", [0x13], ""),
        ("f32x4.eq", [0x41], ""),
        ("f32x4.ne", [0x42], ""),
        ("f32x4.lt", [0x43], ""),
        ("f32x4.gt", [0x44], ""),
        ("f32x4.le", [0x45], ""),
        ("f32x4.ge", [0x46], ""),
        ("v128.not", [0x4D], ""),
        ("v128.and", [0x4E], ""),
        ("v128.or", [0x50], ""),
        ("v128.bitselect", [0x52], ""),
        ("v128.store32_lane", [0x5A], "lane 2"),
        ("v128.store64_lane", [0x5B], "lane 2"),
        ("f32x4.ceil", [0x67], ""),
        ("f32x4.floor", [0x68], ""),
        ("f32x4.trunc", [0x69], ""),
        ("f32x4.nearest", [0x6A], ""),
        ("f32x4.abs", [0xE0, 0x01], ""),
        ("f32x4.neg", [0xE1, 0x01], ""),
        ("f32x4.sqrt", [0xE3, 0x01], ""),
        ("f32x4.add", [0xE4, 0x01], ""),
        ("f32x4.sub", [0xE5, 0x01], ""),
        ("f32x4.mul", [0xE6, 0x01], ""),
        ("f32x4.div", [0xE7, 0x01], ""),
        ("f32x4.min", [0xE8, 0x01], ""),
        ("f32x4.max", [0xE9, 0x01], ""),
        ("f32x4.pmin", [0xEA, 0x01], ""),
        ("f32x4.pmax", [0xEB, 0x01], ""),
    )
}


@dataclass(frozen=True, slots=True)
class Instruction:
    """An operation with what it takes from the stack, and what stands in its code.

    *arguments* are numbers, or the name of a local or of a function.
    """

    op: str
    operands: tuple[Instruction, ...] = ()
    arguments: tuple[int | float | str, ...] = ()

    def text(self, indent: int = 0) -> str:
        """Return the folded text."""
        listed = " ".join([self.op, *(_argument(x) for x in self.arguments)])
        if self.op == "loop":
            lines = [f"\n{x.text(indent + 2)}" for x in self.operands]
        else:
            lines = [f" {x.text()}" for x in self.operands]
        return f"{' ' * indent}({listed}{''.join(lines)})"


def _argument(argument: float | str) -> str:
    return f"${argument}" if isinstance(argument, str) else str(argument)


@dataclass(frozen=True, slots=True)
class Routine:
    """A function of addresses without a result: *parameters* are of type i32."""

    parameters: tuple[str, ...]
    locals: tuple[tuple[str, Kind], ...]
    body: tuple[Instruction, ...]

    def text(self, name: str) -> str:
        """Return the function in the text format."""
        parameters = "".join(f" (param ${x} i32)" for x in self.parameters)
        lines = [f"(func (export {name!r}){parameters}"]
        lines += [f"  (local ${x} {kind})" for x, kind in self.locals]
        lines += [x.text(2) for x in self.body]
        return "\n".join(lines) + ")"


def unsigned(number: int) -> bytes:
    """Return *number* in LEB128."""
    result = bytearray()
    while number >> _DIGIT:
        result.append(number & _MASK | _MORE)
        number >>= _DIGIT
    result.append(number)
    return bytes(result)


def signed(number: int) -> bytes:
    """Return *number* in LEB128 with a sign."""
    result = bytearray()
    while number >> (_DIGIT - 1) not in (0, -1):
        result.append(number & _MASK | _MORE)
        number >>= _DIGIT
    result.append(number & _MASK)
    return bytes(result)


def _vector(parts: Sequence[bytes]) -> bytes:
    return unsigned(len(parts)) + b"".join(parts)


def _string(text: str) -> bytes:
    data = text.encode()
    return unsigned(len(data)) + data


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + unsigned(len(content)) + content


def assemble(routines: Mapping[str, Routine], *, size: int) -> bytes:
    """Return the module that exports *routines* and a memory of *size* bytes."""
    kinds = list(dict.fromkeys(len(x.parameters) for x in routines.values()))
    types = [
        bytes([_FUNCTION]) + _vector([bytes([_KINDS["i32"]])] * count) + _vector([])
        for count in kinds
    ]
    used = [unsigned(kinds.index(len(x.parameters))) for x in routines.values()]
    pages = unsigned(-(-size // _BYTES_PER_PAGE))
    exports = [_string("memory") + b"\x02\x00"]
    exports += [
        _string(name) + b"\x00" + unsigned(index) for index, name in enumerate(routines)
    ]
    codes = [_code(routine) for routine in routines.values()]
    return _MAGIC + b"".join(
        [
            _section(1, _vector(types)),
            _section(3, _vector(used)),
            _section(5, _vector([b"\x01" + pages + pages])),
            _section(7, _vector(exports)),
            _section(10, _vector([unsigned(len(code)) + code for code in codes])),
        ]
    )


def _code(routine: Routine) -> bytes:
    """Return a function's locals and instructions."""
    named = [kind for _, kind in routine.locals]
    declared = [unsigned(1) + bytes([_KINDS[kind]]) for kind in named]
    listed = [*routine.parameters, *(name for name, _ in routine.locals)]
    index = {name: place for place, name in enumerate(listed)}
    body = b"".join(_encoded(x, index) for x in routine.body)
    return _vector(declared) + body + bytes([_END])


def _encoded(instruction: Instruction, index: Mapping[str, int]) -> bytes:
    """Return an instruction's bytes behind those of its operands."""
    opcode, what = _OPCODES[instruction.op]
    operands = b"".join(_encoded(x, index) for x in instruction.operands)
    arguments = instruction.arguments
    match what.split():
        case []:
            return operands + opcode
        case ["body"]:
            return opcode + bytes([_NO_RESULT]) + operands + bytes([_END])
        case ["local"]:
            return operands + opcode + unsigned(index[str(arguments[0])])
        case ["number"]:
            return operands + opcode + unsigned(int(arguments[0]))
        case ["i32"]:
            return operands + opcode + signed(int(arguments[0]))
        case ["f32"]:
            return operands + opcode + struct.pack("<f", arguments[0])
        case ["zeros"]:
            return operands + opcode + bytes(16)
        case ["memory", alignment]:
            place = bytes([int(alignment)]) + unsigned(int(arguments[0]))
            return operands + opcode + place
        case ["lane", alignment]:
            place = bytes([int(alignment)]) + unsigned(int(arguments[0]))
            return operands + opcode + place + bytes([int(arguments[1])])
    raise ValueError(f"{instruction.op} has the unknown form {what}")


def i32(number: int) -> Instruction:
    """Return a whole number."""
    return Instruction("i32.const", (), (number,))


def get(name: str) -> Instruction:
    """Return a local."""
    return Instruction("local.get", (), (name,))


def put(name: str, value: Instruction) -> Instruction:
    """Set a local."""
    return Instruction("local.set", (value,), (name,))


def apply(op: str, *operands: Instruction) -> Instruction:
    """Return *op* of *operands*."""
    return Instruction(op, operands)


def plus(first: Instruction, *terms: Instruction | int) -> Instruction:
    """Return the sum of addresses."""
    total = first
    for term in terms:
        if term != 0:
            other = i32(term) if isinstance(term, int) else term
            total = apply("i32.add", total, other)
    return total


def least(name: str, most: int) -> Instruction:
    """Return a local, at most *most*."""
    small = apply("i32.lt_u", get(name), i32(most))
    return apply("select", get(name), i32(most), small)


def load(address: Instruction, offset: int = 0) -> Instruction:
    """Return four neighbours."""
    return Instruction("v128.load", (address,), (offset,))


def spread(address: Instruction, offset: int = 0) -> Instruction:
    """Return four times the number at an address."""
    return Instruction("v128.load32_splat", (address,), (offset,))


def store(
    address: Instruction, value: Instruction, offset: int = 0, lanes: int = 4
) -> Iterable[Instruction]:
    """Store the first *lanes* of a vector, which stand in a local if not all do."""
    if lanes == 4:  # noqa: PLR2004 - all of them
        return [Instruction("v128.store", (address, value), (offset,))]
    parts = []
    if lanes > 1:
        op = "v128.store64_lane"
        parts.append(Instruction(op, (address, value), (offset, 0)))
    if lanes % 2:
        last = lanes - 1
        place = (offset + 4 * last, last)
        parts.append(Instruction("v128.store32_lane", (address, value), place))
    return parts


ZERO = Instruction("v128.const")


def constant(number: float) -> Instruction:
    """Return four times a number."""
    return apply("f32x4.splat", Instruction("f32.const", (), (number,)))
