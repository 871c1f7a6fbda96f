// exp(x) - 1; near 0 by its series, where the difference would cancel.
vec4 k_expm1(vec4 x) {
    vec4 s = clamp(x, -0.5, 0.5);
    vec4 near = s * (1.0 + s * (0.5 + s * (0.16666667 + s * (0.041666668
        + s * (0.0083333338 + s * (0.0013888889 + s * 0.0001984127))))));
    return mix(exp(x) - 1.0, near, vec4(lessThan(abs(x), vec4(0.5))));
}
