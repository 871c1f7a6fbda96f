"""What draws -> its fragment program."""

from __future__ import annotations

from keramos.emit import cell, glsl
from keramos.emit.glsl import Program
from keramos.plan.layout import Profile
from keramos.plan.stages import Cell, Stage


def program(step: Stage | Cell, profile: Profile) -> Program:
    """Return the fragment program of *step* for devices of *profile*."""
    if isinstance(step, Cell):
        return cell.program(step, profile)
    return glsl.program(step, profile)


def title(step: Stage | Cell) -> str:
    """Return what *step* is, for the comment in front of its program."""
    return cell.title(step) if isinstance(step, Cell) else glsl.title(step)


def results(step: Stage | Cell) -> int:
    """Return how many draw buffers the program writes."""
    if isinstance(step, Cell):
        return len(step.buffers)
    return step.group * step.pixels
