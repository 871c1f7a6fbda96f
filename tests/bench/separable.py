"""Time a depthwise and a pointwise convolution in one draw, beside a plan's draws.

    python tests/bench/separable.py compile FOLDER     needs keramos
    python tests/bench/separable.py run FOLDER         needs moderngl only

Plans never join the two. One draw would save a texture and the start of a draw, but
fetches the window's columns and taps again for every group of output blocks, and its
fragments are few and long. This is the measurement behind that, at the shapes of
MobileNetV2: several shapes of the joined kernel, written by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from executor import device, drawing, load, medians, opened, parser, write


@dataclass(frozen=True)
class Case:
    """Rows and columns, input channels and filters; windows are 3x3, strides 1."""

    size: int
    channels: int
    filters: int

    @property
    def name(self) -> str:
        """Return a file name."""
        return f"{self.size}_{self.channels}_{self.filters}"


CASES = [
    Case(112, 32, 16),
    Case(56, 144, 24),
    Case(28, 192, 32),
    Case(14, 384, 64),
    Case(7, 960, 160),
]
# Neighbours along w and output blocks of a fragment: one draw buffer for each pair.
SHAPES = ((1, 4), (2, 4), (1, 8), (4, 2), (1, 6), (2, 2), (1, 2))


def compile_cases(folder: Path) -> None:
    """Write the gl files of each case: the two layers, behind another one."""
    from keramos.emit.gl import emit_gl
    from keramos.expr import call, operand
    from keramos.graph import Graph, Value, apply, literal
    from keramos.passes import optimise
    from keramos.plan.names import constant_names
    from keramos.plan.profile import limits
    from keramos.primitives import Conv, Map, Spec

    for case in CASES:
        n, c, o = case.size, case.channels, case.filters
        x = Value(Spec((n, n, c)), name="x")
        depthwise = literal(np.zeros((3, 3, 1, c), np.float32), name="depthwise")
        pointwise = literal(np.zeros((1, 1, c, o), np.float32), name="pointwise")
        # The other layer's result lies in the layout that it chose.
        (given,) = apply(Map(operand(0) * 0.5), x)
        same = ((1, 1), (1, 1))
        (y,) = apply(Conv((1, 1), same, (1, 1), (1, 1), c), given, depthwise)
        (y,) = apply(Map(call("min", call("max", operand(0), 0.0), 6.0)), y)
        valid = ((0, 0), (0, 0))
        (y,) = apply(Conv((1, 1), valid, (1, 1), (1, 1), 1), y, pointwise)
        graph = optimise(Graph((x,), (y, given), ("y", "given")))
        gl = emit_gl(
            graph,
            names=constant_names(graph),
            limits=limits(16384),
            batch=1,
            where=case.name,
        )
        write(gl.files, folder / case.name)


def joined(case: Case, pixels: int, blocks: int) -> str:
    """Return the fragment shader of both layers, for *pixels* and *blocks*."""
    n = case.size
    cells = [(p, q) for p in range(pixels) for q in range(blocks)]
    outputs = "\n".join(
        f"layout(location = {p * blocks + q}) out vec4 o{p}_{q};" for p, q in cells
    )
    rows = "".join(_row(n, u, pixels) for u in range(3))
    columns = "".join(_column(q, pixels, blocks) for q in range(blocks))
    near = range(pixels)
    return f"""#version 330
precision highp float;
uniform sampler2DArray x;
uniform sampler2D depthwise, pointwise;
{outputs}
void main() {{
    ivec2 place = ivec2(gl_FragCoord.xy);
    int w = place.x * {pixels}, h = place.y % {n}, group = place.y / {n};
    {"".join(f"vec4 r{p}_{q} = vec4(0.0);" for p, q in cells)}
    for (int i = 0; i < {case.channels // 4}; ++i) {{
        {"".join(f"vec4 d{p} = vec4(0.0);" for p in near)}
        {rows}
        {"".join(f"d{p} = clamp(d{p}, 0.0, 6.0);" for p in near)}
        {columns}
    }}
    {"".join(f"o{p}_{q} = r{p}_{q};" for p, q in cells)}
}}
"""


def _row(n: int, u: int, pixels: int) -> str:
    """Return what a row of the windows adds to each pixel."""
    taps = "".join(
        f"vec4 k{v} = texelFetch(depthwise, ivec2({3 * u + v}, i), 0);"
        for v in range(3)
    )
    columns = []
    for j in range(pixels + 2):
        adds = "".join(
            f"d{p} += near * k{j - p};" for p in range(pixels) if 0 <= j - p < 3
        )
        columns.append(
            f"{{ int s = w + {j - 1};"
            f"vec4 near = texelFetch(x, ivec3(clamp(s, 0, {n - 1}), y, i), 0);"
            f"if (s < 0 || s >= {n}) near = vec4(0.0); {adds} }}"
        )
    inside = f"int y = h + {u - 1}; if (y >= 0 && y < {n})"
    return f"{{ {inside} {{ {taps} {''.join(columns)} }} }}"


def _column(q: int, pixels: int, blocks: int) -> str:
    """Return what a block of filters adds up from the pixels' four channels."""
    kernel = "".join(
        f"vec4 m{k} = texelFetch(pointwise, ivec2(column, 4 * i + {k}), 0);"
        for k in range(4)
    )
    adds = "".join(
        f"r{p}_{q} += d{p}.x * m0 + d{p}.y * m1 + d{p}.z * m2 + d{p}.w * m3;"
        for p in range(pixels)
    )
    return f"{{ int column = group * {blocks} + {q}; {kernel} {adds} }}"


def by_hand(context: Any, case: Case, pixels: int, blocks: int) -> Callable[[], None]:
    """Return a function that draws the joined kernel."""
    gl = load()
    groups = -(-case.filters // 4 // blocks)
    n, read = case.size, case.channels // 4
    program = context.program(
        vertex_shader=gl.VERTEX, fragment_shader=joined(case, pixels, blocks)
    )
    textures = [
        context.texture_array((n, n, read), 4, dtype="f4"),
        context.texture((9, read), 4, dtype="f4"),
        context.texture((groups * blocks, case.channels), 4, dtype="f4"),
    ]
    for unit, name in enumerate(("x", "depthwise", "pointwise")):
        program[name] = unit
    size = (n // pixels, n * groups)
    targets = [context.texture(size, 4, dtype="f4") for _ in range(pixels * blocks)]
    target = context.framebuffer(targets)
    array = context.vertex_array(program, [])

    def draw() -> None:
        target.use()
        for unit, texture in enumerate(textures):
            texture.use(unit)
        array.render(vertices=3)

    return draw


def run_cases(folder: Path, repeat: int) -> None:
    """Print a line per case: microseconds of the plan's draws, and of joined ones."""
    context = device()
    for case in CASES:
        executor = opened(folder / case.name, context)
        functions = {"plan": drawing(executor)}
        for pixels, blocks in SHAPES:
            if case.size % pixels == 0:
                name = f"{pixels}x{blocks}"
                functions[name] = by_hand(context, case, pixels, blocks)
        times = medians(context, functions, repeat)
        best = min((us, name) for name, us in times.items() if name != "plan")
        row = "  ".join(f"{name} {us:.1f}" for name, us in times.items())
        ratio = f"best {best[0] / times['plan']:.2f} of plan"
        sys.stdout.write(f"{case.name:12s} {row}  {ratio}\n")
        sys.stdout.flush()
        executor.release()


def main() -> None:
    """Compile or run."""
    arguments = parser(__doc__, repeat=41).parse_args()
    if arguments.command == "compile":
        compile_cases(arguments.folder)
    else:
        run_cases(arguments.folder, arguments.repeat)


if __name__ == "__main__":
    main()
