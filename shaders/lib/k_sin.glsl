// sin, which GLSL allows to be wrong by 2^-11: x less the nearest multiple of pi, which is
// written as three numbers so that the products are exact, then the Maclaurin series.
vec4 k_sin(vec4 x) {
    vec4 n = floor(x * 0.31830988 + 0.5);
    vec4 r = ((x - n * 3.140625) - n * 9.6702576e-04) - n * 6.2771141e-07;
    vec4 s = r * r;
    vec4 near = r * (1.0 + s * (-0.16666667 + s * (0.0083333333 + s * (-1.9841270e-04
        + s * (2.7557319e-06 + s * -2.5052108e-08)))));
    vec4 odd = n - 2.0 * floor(n * 0.5);
    // Beyond, the products aren't exact.
    return mix(near * (1.0 - 2.0 * odd), sin(x), vec4(greaterThan(abs(x), vec4(1e4))));
}
