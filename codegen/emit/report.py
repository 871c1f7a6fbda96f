"""What the planner chose for each stage of the gl target, and the time it estimates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keramos.emit.describe import shape_text
from keramos.emit.programs import program
from keramos.plan.stages import Cell, GlPlan, Loop, Stage
from keramos.primitives import Map, Shape


@dataclass(frozen=True, slots=True)
class StageReport:
    """A stage: its kernel, the pixels and blocks of a fragment, and its draws.

    *texels* are the width, height and layers that it writes. In a loop, *draws* and
    *microseconds* are those of all steps.
    """

    name: str
    result: Shape
    kernel: str
    fragment: tuple[int, int]
    texels: tuple[int, int, int]
    draws: int
    microseconds: float

    def __str__(self) -> str:
        """Return the stage as a line."""
        pixels, blocks = self.fragment
        width, height, layers = self.texels
        draws = f"{self.draws} draw{'' if self.draws == 1 else 's'}"
        return (
            f"{self.name}: {shape_text(self.result)}, {self.kernel} {pixels}x{blocks}, "
            f"{width}x{height}x{layers} texels, {draws}, {self.microseconds:.0f} us"
        )


@dataclass(frozen=True, slots=True)
class PlanReport:
    """A plan: its limit, what it takes, and its stages."""

    texture_size: int
    texture_bytes: int
    programs: int
    stages: tuple[StageReport, ...]

    @property
    def draws(self) -> int:
        """Return the draws of one run."""
        return sum(stage.draws for stage in self.stages)

    @property
    def microseconds(self) -> float:
        """Return the estimated time of one run."""
        return sum(stage.microseconds for stage in self.stages)

    def __str__(self) -> str:
        """Return the totals as a line."""
        return (
            f"textures of {self.texture_size}: {len(self.stages)} stages, "
            f"{self.draws} draws, {self.programs} programs, "
            f"{self.texture_bytes / 1e6:.1f} MB of textures, "
            f"estimated {self.microseconds / 1e3:.2f} ms"
        )

    def document(self) -> Mapping[str, object]:
        """Return what stands in the manifest."""
        return {
            "texture_size": self.texture_size,
            "texture_bytes": self.texture_bytes,
            "programs": self.programs,
            "draws": self.draws,
            "estimated_microseconds": round(self.microseconds),
            "stages": [str(stage) for stage in self.stages],
        }


def plan_report(gl: GlPlan) -> PlanReport:
    """Return the report of a plan."""
    return PlanReport(
        texture_size=gl.limits.texture_size,
        texture_bytes=gl.texture_bytes,
        programs=len({program(stage, gl.limits.profile).text for stage in gl.stages}),
        stages=tuple(_stages(gl)),
    )


def _stages(gl: GlPlan) -> Iterator[StageReport]:
    for step in gl.steps:
        if isinstance(step, Loop):
            for stage in step.body:
                yield _stage(stage, steps=step.steps)
        else:
            yield _stage(step, steps=1)


def _stage(stage: Stage | Cell, *, steps: int) -> StageReport:
    first = stage.outputs[0]
    strips = len(stage.strips()) if isinstance(stage, Stage) else 1
    return StageReport(
        name=stage.name,
        result=first.shape,
        kernel=_kernel(stage),
        fragment=(stage.pixels, stage.group),
        texels=(first.layout.width, first.layout.height, first.layout.layers),
        draws=len(stage.draws()) * strips * steps,
        microseconds=stage.cost * steps,
    )


def _kernel(stage: Stage | Cell) -> str:
    """Return the kernel family; of stages that only move texels, also why they do."""
    if isinstance(stage, Cell):
        return f"{stage.family} of {len(stage.buffers)}"
    primitive = stage.node.primitive
    if stage.family == "move":
        return f"move ({type(primitive).__name__})"
    if isinstance(primitive, Map) and primitive.expr.op == "input":
        return "copy"
    return stage.family
