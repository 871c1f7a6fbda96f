// cos, as k_sin computes sin: x less the nearest half multiple of pi.
vec4 k_cos(vec4 x) {
    vec4 n = floor(x * 0.31830988);
    vec4 m = n + 0.5;
    vec4 r = ((x - m * 3.140625) - m * 9.6702576e-04) - m * 6.2771141e-07;
    vec4 s = r * r;
    vec4 near = r * (1.0 + s * (-0.16666667 + s * (0.0083333333 + s * (-1.9841270e-04
        + s * (2.7557319e-06 + s * -2.5052108e-08)))));
    vec4 odd = n - 2.0 * floor(n * 0.5);
    return mix(near * (2.0 * odd - 1.0), cos(x), vec4(greaterThan(abs(x), vec4(1e4))));
}
