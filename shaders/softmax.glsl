// Softmax along one axis: the maximum is subtracted first.
//
//   y = finish(exp(x - m) / sum of exp(x - m)),  or with LOGARITHM  x - m - log(sum)
//
// COUNT_D, COUNT_H, COUNT_W: the length of the axis, 1 for the others. With OVER_CHANNELS
// it is the channels.

#if OVER_CHANNELS
vec4 inside(vec4 x, int b) {
    ivec4 c = 4 * b + ivec4(0, 1, 2, 3);
    return vec4(c.x < IN_C ? x.x : -3.4e38, c.y < IN_C ? x.y : -3.4e38,
                c.z < IN_C ? x.z : -3.4e38, c.w < IN_C ? x.w : -3.4e38);
}
#endif

vec4 value(int n, int d, int h, int w, int b) {
    vec4 own = at0(n, d, h, w, b);
    int z = COUNT_D > 1 ? 0 : d;
    int y = COUNT_H > 1 ? 0 : h;
    int s = COUNT_W > 1 ? 0 : w;
    vec4 top = vec4(-3.4e38);
    vec4 total = vec4(0.0);
#if OVER_CHANNELS
    for (int i = 0; i < IN_BLOCKS; ++i) top = max(top, inside(at0(n, z, y, s, i), i));
    top = vec4(max(max(top.x, top.y), max(top.z, top.w)));
    for (int i = 0; i < IN_BLOCKS; ++i) total += exp(inside(at0(n, z, y, s, i), i) - top);
    total = vec4(total.x + total.y + total.z + total.w);
#else
    for (int t = 0; t < COUNT_D; ++t)
        for (int u = 0; u < COUNT_H; ++u)
            for (int v = 0; v < COUNT_W; ++v) top = max(top, at0(n, z + t, y + u, s + v, b));
    for (int t = 0; t < COUNT_D; ++t)
        for (int u = 0; u < COUNT_H; ++u)
            for (int v = 0; v < COUNT_W; ++v) total += exp(at0(n, z + t, y + u, s + v, b) - top);
#endif
    return LOGARITHM ? own - top - log(total) : exp(own - top) / total;
}
