// log(1 + x) without losing small x: W. Kahan's correction of the rounded sum.
vec4 k_log1p(vec4 x) {
    vec4 u = 1.0 + x;
    vec4 d = u - 1.0;
    vec4 safe = mix(d, vec4(1.0), vec4(equal(d, vec4(0.0))));
    return mix(log(u) * x / safe, x, vec4(equal(d, vec4(0.0))));
}
