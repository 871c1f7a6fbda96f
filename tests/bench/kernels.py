"""Time single layers beside the shaders that TensorFlow.js would run for them.

    python tests/bench/kernels.py compile FOLDER     needs keramos
    python tests/bench/kernels.py run FOLDER         needs moderngl only

The baseline is written from the published structure of its packed kernels: texels of
2x2 values, a flat index divided into texture coordinates for each fetch, 8
multiply-adds for two fetches in matrix products, two taps of two channels a fetch in
3x3 and depthwise convolutions. Convolutions of 3x3 take its direct form, which is
faster than its default of two passes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from executor import device, drawing, load, medians, opened, parser, write


@dataclass(frozen=True)
class Case:
    """A layer: its kind, and rows, columns, input and output channels."""

    kind: str
    size: int
    channels: int
    filters: int

    @property
    def name(self) -> str:
        """Return a file name."""
        return f"{self.kind}_{self.size}_{self.channels}_{self.filters}"

    @property
    def products(self) -> int:
        """Return the multiply-adds."""
        taps = {"conv1": self.channels, "conv3": 9 * self.channels, "depth": 9}
        if self.kind == "dense":
            return self.channels * self.filters
        return self.size**2 * self.filters * taps[self.kind]


CASES = [
    Case("conv1", 56, 64, 256),
    Case("conv1", 28, 512, 128),
    Case("conv1", 14, 1024, 256),
    Case("conv1", 7, 512, 2048),
    Case("conv1", 112, 32, 96),
    Case("conv3", 56, 64, 64),
    Case("conv3", 28, 128, 128),
    Case("conv3", 14, 256, 256),
    Case("conv3", 7, 512, 512),
    Case("depth", 112, 32, 32),
    Case("depth", 56, 144, 144),
    Case("depth", 28, 192, 192),
    Case("depth", 14, 576, 576),
    Case("dense", 1, 2048, 1000),
]


def graph_of(case: Case) -> Any:
    """Return the graph of the layer, which reads what another layer wrote."""
    from keramos.expr import operand
    from keramos.graph import Graph, Value, apply, literal
    from keramos.primitives import Contract, Conv, Map, Spec

    n, c, o = case.size, case.channels, case.filters
    x = Value(Spec((c,) if case.kind == "dense" else (n, n, c)), name="x")
    window = 1 if case.kind == "conv1" else 3
    depth = 1 if case.kind == "depth" else c
    pad = (window // 2, window // 2)
    shape = (c, o) if case.kind == "dense" else (window, window, depth, o)
    kernel = literal(np.zeros(shape, np.float32), name="kernel")
    primitive: Any = Conv(
        (1, 1), (pad, pad), (1, 1), (1, 1), c if case.kind == "depth" else 1
    )
    if case.kind == "dense":
        primitive = Contract((0,), (0,))
    # The other layer's result lies in the layout that it chose.
    (given,) = apply(Map(operand(0) * 0.5), x)
    # As an output it has a stage of its own.
    outputs = (*apply(primitive, given, kernel), given)
    return Graph((x,), outputs, ("y", "given"))


def compile_cases(folder: Path) -> None:
    """Write the gl files of each case."""
    from keramos.emit.gl import emit_gl
    from keramos.plan.names import constant_names
    from keramos.plan.profile import limits

    for case in CASES:
        graph = graph_of(case)
        gl = emit_gl(
            graph,
            names=constant_names(graph),
            limits=limits(16384),
            batch=1,
            where=case.name,
        )
        write(gl.files, folder / case.name)


HEADER = """#version 330
precision highp float; precision highp int; precision highp sampler2D;
out vec4 result;
"""


def flat(sampler: str, index: str, width: int, height: int) -> str:
    """Return a fetch by flat texel index, with the coordinates divided out."""
    return (
        f"texture({sampler}, (vec2(({index}) - (({index}) / {width}) * {width}, "
        f"({index}) / {width}) + 0.5) / vec2({width}, {height}))"
    )


def baseline(
    case: Case,
) -> tuple[str, tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return the baseline's shader, and the sizes of its result, x and weights."""
    n, c, o = case.size, case.channels, case.filters
    if case.kind in ("conv1", "dense"):
        rows = 1 if case.kind == "dense" else max(n * n // 2, 1)
        a = flat("A", f"p.y * {c // 2} + i", c // 2, rows)
        b = flat("B", f"i * {o // 2} + p.x", o // 2, c // 2)
        body = f"""
uniform sampler2D A, B;
void main() {{
    ivec2 p = ivec2(gl_FragCoord.xy);
    vec4 s = vec4(0.0);
    for (int i = 0; i < {c // 2}; ++i) {{
        vec4 a = {a}, b = {b};
        s += a.xxzz * b.xyxy;
        s += a.yyww * b.zwzw;
    }}
    result = s;
}}"""
        return HEADER + body, (o // 2, rows), (c // 2, rows), (o // 2, c // 2)
    half = -(-n // 2)
    channels = c // 2
    if case.kind == "conv3":
        # A texel is two columns of two channels; three of each row feed six taps.
        x = [
            flat(
                "A",
                f"((y * {half}) + p.x % {half} + {k}) * {channels} + i",
                half * channels,
                n,
            )
            for k in (-1, 0, 1)
        ]
        w = [
            flat(
                "B",
                f"((u * 3 + {v}) * {channels} + i) * {o // 2} + p.x / {half}",
                channels * (o // 2),
                9,
            )
            for v in range(3)
        ]
        body = f"""
uniform sampler2D A, B;
void main() {{
    ivec2 p = ivec2(gl_FragCoord.xy);
    vec4 s = vec4(0.0);
    for (int u = 0; u < 3; ++u) {{
        int y = p.y + u - 1;
        if (y < 0 || y >= {n}) continue;
        for (int i = 0; i < {channels}; ++i) {{
            vec4 l = {x[0]}, m = {x[1]}, r = {x[2]};
            vec4 a = {w[0]}, b = {w[1]}, c = {w[2]};
            s += vec4(l.zz, m.xx) * a.xyxy; s += vec4(l.ww, m.yy) * a.zwzw;
            s += m.xxzz * b.xyxy; s += m.yyww * b.zwzw;
            s += vec4(m.zz, r.xx) * c.xyxy; s += vec4(m.ww, r.yy) * c.zwzw;
        }}
    }}
    result = s;
}}"""
        sizes = ((half * (o // 2), n), (half * channels, n), (channels * (o // 2), 9))
        return HEADER + body, *sizes
    x = [
        flat(
            "A",
            f"((y * {half}) + p.x % {half} + {k}) * {channels} + p.x / {half}",
            half * channels,
            n,
        )
        for k in (-1, 0, 1)
    ]
    w = [
        flat("B", f"(u * 3 + {v}) * {channels} + p.x / {half}", channels, 9)
        for v in range(3)
    ]
    body = f"""
uniform sampler2D A, B;
void main() {{
    ivec2 p = ivec2(gl_FragCoord.xy);
    vec4 s = vec4(0.0);
    for (int u = 0; u < 3; ++u) {{
        int y = p.y + u - 1;
        if (y < 0 || y >= {n}) continue;
        vec4 l = {x[0]}, m = {x[1]}, r = {x[2]};
        vec4 a = {w[0]}, b = {w[1]}, c = {w[2]};
        s += vec4(l.zw, m.xy) * a.xyxy;
        s += m * b.xyxy;
        s += vec4(m.zw, r.xy) * c.xyxy;
    }}
    result = s;
}}"""
    return HEADER + body, (half * channels, n), (half * channels, n), (channels, 9)


def run_cases(folder: Path, repeat: int) -> None:
    """Print a line per case: milliseconds and GMAC/s of both, and the ratio."""
    import moderngl

    context = device()
    for case in CASES:
        executor = opened(folder / case.name, context)
        source, size, *given = baseline(case)
        program = context.program(vertex_shader=load().VERTEX, fragment_shader=source)
        textures = [context.texture(s, 4, dtype="f4") for s in given]
        for unit, name in enumerate("AB"):
            textures[unit].filter = (moderngl.NEAREST, moderngl.NEAREST)
            program[name] = unit
        target = context.framebuffer([context.texture(size, 4, dtype="f4")])
        array = context.vertex_array(program, [])

        def theirs() -> None:
            target.use()  # noqa: B023 - called before the next case
            for unit, texture in enumerate(textures):  # noqa: B023
                texture.use(unit)
            array.render(vertices=3)  # noqa: B023

        functions = {"baseline": theirs, "keramos": drawing(executor)}
        times = medians(context, functions, repeat)
        slow, fast = (us / 1e3 for us in times.values())
        rates = [case.products / ms / 1e6 for ms in (slow, fast)]
        sys.stdout.write(
            f"{case.name:22s} baseline {slow:8.4f} ms {rates[0]:6.1f} GMAC/s   "
            f"keramos {fast:8.4f} ms {rates[1]:6.1f} GMAC/s   {slow / fast:5.2f}x  "
            f"{sum(len(s.draws) for s in executor._stages[1:])} draws\n"
        )
        sys.stdout.flush()
        executor.release()


def main() -> None:
    """Compile or run."""
    arguments = parser(__doc__, repeat=11).parse_args()
    if arguments.command == "compile":
        compile_cases(arguments.folder)
    else:
        run_cases(arguments.folder, arguments.repeat)


if __name__ == "__main__":
    main()
