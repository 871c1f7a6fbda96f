// tanh may be computed through exp and overflow; beyond 15 it is 1 in float32. Near 0
// the series keeps the digits that exp would cancel.
vec4 k_tanh(vec4 x) {
    vec4 a = clamp(x, -15.0, 15.0);
    vec4 e = exp(-2.0 * abs(a));
    vec4 far = sign(a) * (1.0 - e) / (1.0 + e);
    vec4 s = a * a;
    vec4 near = a * (1.0 + s * (-0.33333333 + s * (0.13333334 + s * -0.05396825)));
    return mix(far, near, vec4(lessThan(abs(a), vec4(0.125))));
}
