// x to the power y also for negative x and whole y, which pow leaves undefined.
vec4 k_pow(vec4 x, vec4 y) {
    vec4 size = pow(abs(x), y);
    vec4 odd = abs(y - 2.0 * floor(y * 0.5));
    vec4 minus = vec4(lessThan(x, vec4(0.0))) * vec4(equal(odd, vec4(1.0)));
    vec4 one = vec4(equal(y, vec4(0.0)));
    return mix(mix(size, -size, minus), vec4(1.0), one);
}
