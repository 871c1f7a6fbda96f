"""Whole numbers divided as floats, which shaders do, against integers."""

from __future__ import annotations

import numpy as np
from gl.device import context
from hypothesis import given
from hypothesis import strategies as st

from keramos import shaders
from keramos.emit.glsl import EXACT

SIDE = 1024
# What GLSL ES 3.00 lets divisions be wrong by, in units of the last place.
UNITS = 3
DIVISORS = (2, 3, 7, 24, 96, 1000, 3072, 4095, EXACT - 1, EXACT)
VERTEX = """#version 330
void main() {
    vec2 corner = vec2(float((gl_VertexID << 1) & 2), float(gl_VertexID & 2));
    gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);
}
"""
MAIN = """
uniform int divisor;
out vec2 result;

void main() {
    ivec2 p = ivec2(gl_FragCoord.xy);
    int a = p.y * 1024 + p.x;
    result = vec2(float(quotient(a, divisor)), float(remainder(a, divisor)));
}
"""


@given(divisor=st.integers(1, EXACT), unit=st.integers(-UNITS, UNITS))
def test_an_inexact_division_of_floats_gives_the_whole_quotient(
    divisor: int, unit: int
) -> None:
    multiples = np.arange(0, EXACT + divisor, divisor)
    a = np.concatenate([multiples, multiples[1:] - 1])
    a = a[a < EXACT]
    exact = (a.astype(np.float32) + np.float32(0.5)) / np.float32(divisor)

    wrong = exact + unit * np.spacing(exact)

    np.testing.assert_array_equal(wrong.astype(np.int32), a // divisor)


def test_shaders_divide_all_numbers_that_they_may() -> None:
    library = [shaders.source(f"lib/{name}") for name in ("quotient", "remainder")]
    a = np.arange(EXACT)
    found = []
    with context() as gl:
        text = "#version 330\n" + "".join(library) + MAIN
        program = gl.program(vertex_shader=VERTEX, fragment_shader=text)
        target = gl.texture((SIDE, SIDE), 2, dtype="f4")
        framebuffer = gl.framebuffer([target])
        framebuffer.use()
        array = gl.vertex_array(program, [])
        for divisor in DIVISORS:
            program["divisor"] = divisor
            array.render(vertices=3)
            texels = np.frombuffer(target.read(), np.float32).reshape(-1, 2)
            found.append(texels.astype(np.int64))

    wanted = [np.stack([a // d, a % d], axis=1) for d in DIVISORS]
    np.testing.assert_array_equal(found, wanted)
