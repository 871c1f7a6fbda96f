// Reduction over whole axes, which stay as length 1.
//
//   y = finish(COMBINE over the reduced indexes of x)
//
// MEAN divides by their number. COUNT_D, COUNT_H, COUNT_W are the lengths of the reduced
// axes, 1 for the others. With OVER_CHANNELS the result is in lane 0. READ reads x through
// at0, or computes it: ONCE, OWN and SHARED fetch what that needs.

vec4 inside(vec4 x, int b) {
    ivec4 c = 4 * b + ivec4(0, 1, 2, 3);
    return vec4(c.x < IN_C ? x.x : START, c.y < IN_C ? x.y : START,
                c.z < IN_C ? x.z : START, c.w < IN_C ? x.w : START);
}

vec4 value(int n, int d, int h, int w, int b) {
    vec4 total = vec4(START);
    ONCE(0, n, d, h, w)
#if !OVER_CHANNELS
    SHARED(n, b)
#endif
    for (int t = 0; t < COUNT_D; ++t)
        for (int u = 0; u < COUNT_H; ++u)
            for (int v = 0; v < COUNT_W; ++v) {
                OWN(0, n, d + t, h + u, w + v)
#if OVER_CHANNELS
                for (int i = 0; i < IN_BLOCKS; ++i) {
                    SHARED(n, i)
                    vec4 x = inside(READ(0, n, d + t, h + u, w + v, i), i);
                    total = COMBINE(total, x);
                }
#else
                vec4 x = READ(0, n, d + t, h + u, w + v, b);
                total = COMBINE(total, x);
#endif
            }
#if OVER_CHANNELS
    float left = COMBINE(total.x, total.y);
    float right = COMBINE(total.z, total.w);
    total = vec4(COMBINE(left, right), 0.0, 0.0, 0.0);
    float count = float(COUNT_D * COUNT_H * COUNT_W * IN_C);
#else
    float count = float(COUNT_D * COUNT_H * COUNT_W);
#endif
    return MEAN ? total / count : total;
}
