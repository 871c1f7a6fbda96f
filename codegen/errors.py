"""What the compiler refuses, and how it says so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the user's model, as one line.

    *where* names the place in the user's vocabulary (``digits.h5: layer 'conv1'
    (Conv2D)``), *problem* says what is wrong there, *hint* what would work.
    """

    where: str
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        """Return the line."""
        return f"{self.where}: {self.problem}" + (
            f" ({self.hint})" if self.hint else ""
        )


class CompileError(Exception):
    """The model can't be compiled; ``problems`` lists every reason."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Join the problems' lines."""
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def at(cls, where: str, problem: str, hint: str = "") -> Self:
        """Return the error for a single problem."""
        return cls([Problem(where, problem, hint)])


def quoted(name: object) -> str:
    """Return *name*, which a file supplied, as one short printable literal."""
    text = ascii(name)
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}...'"
