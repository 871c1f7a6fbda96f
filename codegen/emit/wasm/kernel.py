"""The functions of a WebAssembly module while they are being written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from keramos.emit.javascript.function import Function, Operand
from keramos.emit.wasm.assembler import (
    ZERO,
    Instruction,
    Kind,
    Routine,
    apply,
    constant,
    get,
    i32,
    least,
    load,
    plus,
    put,
    store,
)
from keramos.plan.javascript import Source

# The bytes of a number, and the numbers of a vector.
BYTES = 4
LANES = 4
# Longer runs are copied by an instruction for that.
_LONG = 64


class UnsupportedError(Exception):
    """The stage is left to JavaScript."""


@dataclass(slots=True)
class Kernel:
    """A function that is being written for the stage of *f*.

    It takes addresses in bytes: those of the variables that *f* is called with. The
    JavaScript functions *before* and *further* run before and behind it.
    """

    f: Function
    locals: dict[str, Kind] = field(default_factory=dict)
    before: list[Function] = field(default_factory=list)
    further: list[Function] = field(default_factory=list)
    _prelude: list[Instruction] = field(default_factory=list)
    _constants: dict[float, Instruction] = field(default_factory=dict)
    _bodies: list[list[Instruction]] = field(default_factory=lambda: [[]])

    def add(self, *instructions: Instruction) -> None:
        """Append *instructions*."""
        self._bodies[-1] += instructions

    def set(self, name: str, value: Instruction, kind: Kind = "i32") -> Instruction:
        """Set a local, and return what reads it."""
        if self.locals.setdefault(name, kind) != kind:
            raise ValueError(f"{name} is no {kind}")
        self.add(put(name, value))
        return get(name)

    def read(self, operand: Operand, wanted: str = "x") -> str:
        """Return the parameter with the address of *operand*.

        Constants are copied to where WebAssembly can read them.
        """
        if operand.stored is None:
            return self.f.read(operand, wanted)
        return self.placed(self.f.module.tensor(operand.stored), operand.size, wanted)

    def placed(self, text: str, size: int, wanted: str) -> str:
        """Return the address of the *size* numbers that *text* computes at creation."""
        module = self.f.module
        module.support.add("place")
        whole = f"place({text})"
        module.placed[whole] = size
        return self.f.table(whole, wanted)

    def write(self, source: Source) -> str:
        """Return the parameter with the address of a result."""
        return self.f.write(source)

    def scratch(self, size: int, wanted: str) -> str:
        """Return the parameter with the address of *size* numbers."""
        return self.f.scratch(size, wanted)

    @contextmanager
    def repeat(self, name: str, count: int, steps: dict[str, int]) -> Iterator[None]:
        """Repeat what is inside; afterwards the locals *steps* grow by so much.

        They must not change otherwise. *name* counts down.
        """
        if count == 1:
            yield
            return
        counter = f"{name}_left"
        self.set(counter, i32(count))
        self._bodies.append([])
        yield
        for local, step in steps.items():
            if step:
                self.add(put(local, plus(get(local), step)))
        fewer = apply("i32.sub", get(counter), i32(1))
        again = Instruction("local.tee", (fewer,), (counter,))
        self.add(Instruction("br_if", (again,), (0,)))
        body = self._bodies.pop()
        self.add(Instruction("loop", tuple(body)))

    @contextmanager
    def tiles(self, name: str, total: int, size: int) -> Iterator[Instruction]:
        """Repeat what is inside for tiles of *size*; yields the number of the first.

        A last tile that isn't full begins earlier.
        """
        if total == size:
            yield i32(0)
            return
        first = f"{name}_first"
        self.set(first, i32(0))
        with self.repeat(name, -(-total // size), {first: size}):
            yield get(first) if total % size == 0 else least(first, total - size)

    def routine(self) -> Routine:
        """Return the whole function."""
        (body,) = self._bodies
        parameters = tuple(self.f.arguments)
        return Routine(parameters, tuple(self.locals.items()), (*self._prelude, *body))

    def copy(
        self, count: int, run: int, x: tuple[str, int], y: tuple[str, int]
    ) -> None:
        """Copy *count* runs; *x* and *y* are locals, and how far apart the runs are."""
        with self.repeat(f"{y[0]}_runs", count, dict([x, y])):
            if run >= _LONG:
                length = i32(run * BYTES)
                self.add(apply("memory.copy", get(y[0]), get(x[0]), length))
                return
            for start in range(0, run, LANES):
                value = load(get(x[0]), start * BYTES)
                lanes = min(run - start, LANES)
                if lanes < LANES:
                    value = self.set("part", value, "v128")
                self.add(*store(get(y[0]), value, start * BYTES, lanes))

    def fill(self, y: str, size: int, value: float) -> None:
        """Fill *size* numbers from the parameter *y* on, and what fills a vector."""
        count = -(-size // LANES)
        if value == 0:
            length = i32(count * LANES * BYTES)
            self.add(apply("memory.fill", get(y), i32(0), length))
            return
        number = self.constant(value)
        self.set("filled", get(y))
        with self.repeat("filled", count, {"filled": LANES * BYTES}):
            self.add(*store(get("filled"), number))

    def constant(self, number: float) -> Instruction:
        """Return four times a number, which a local holds if that is shorter."""
        if number == 0 and math.copysign(1, number) > 0:
            return ZERO
        if number not in self._constants:
            name = f"c{len(self._constants)}"
            self.locals[name] = "v128"
            self._constants[number] = get(name)
            self._prelude.append(put(name, constant(number)))
        return self._constants[number]


def scaled(number: Instruction, factor: int) -> Instruction:
    """Return an address: *number* times *factor*."""
    if factor == 0 or number == i32(0):
        return i32(0)
    return apply("i32.mul", number, i32(factor))


def best(total: int, sizes: Sequence[int]) -> int:
    """Return which size of tiles wastes least, the largest of those that are equal."""
    return min(sizes, key=lambda size: (-(-total // size) * size, -size))
