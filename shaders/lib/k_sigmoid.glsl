// 1 / (1 + exp(-x)) from exp of a negative number, which never overflows.
vec4 k_sigmoid(vec4 x) {
    vec4 e = exp(-abs(x));
    return mix(e, vec4(1.0), vec4(greaterThanEqual(x, vec4(0.0)))) / (1.0 + e);
}
