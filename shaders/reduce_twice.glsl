// Two reductions of the same rows, of which the second needs the first for each element:
// mean and variance, or the maximum and the sum of powers.
//
//   a = COMBINE_FIRST over the channels of x
//   y = finish(a, COMBINE over the channels of what a prologue makes of x and a)
//
// MEAN and MEAN_FIRST divide by their number. READ computes the prologue, for which OWN
// and SHARED fetch what it needs; it finds a in EARLIER.

vec4 inside(vec4 x, int b, float missing) {
    ivec4 c = 4 * b + ivec4(0, 1, 2, 3);
    return vec4(c.x < IN_C ? x.x : missing, c.y < IN_C ? x.y : missing,
                c.z < IN_C ? x.z : missing, c.w < IN_C ? x.w : missing);
}

vec4 value(int n, int d, int h, int w, int b) {
    float count = float(IN_C);
    vec4 total = vec4(START_FIRST);
    for (int i = 0; i < IN_BLOCKS; ++i) {
        vec4 x = inside(at0(n, d, h, w, i), i, START_FIRST);
        total = COMBINE_FIRST(total, x);
    }
    float left = COMBINE_FIRST(total.x, total.y);
    float right = COMBINE_FIRST(total.z, total.w);
    float whole = COMBINE_FIRST(left, right);
    EARLIER = MEAN_FIRST ? whole / count : whole;
    total = vec4(START);
    ONCE(0, n, d, h, w)
    OWN(0, n, d, h, w)
    for (int i = 0; i < IN_BLOCKS; ++i) {
        SHARED(n, i)
        vec4 x = inside(READ(0, n, d, h, w, i), i, START);
        total = COMBINE(total, x);
    }
    left = COMBINE(total.x, total.y);
    right = COMBINE(total.z, total.w);
    whole = COMBINE(left, right);
    return vec4(EARLIER, MEAN ? whole / count : whole, 0.0, 0.0);
}
