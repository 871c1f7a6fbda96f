// dense_1_2: dense_1 (Dense), (3) -> (3)
precision highp float;
precision highp int;
precision highp sampler2DArray;

uniform int sizes[1];
#define IN_C sizes[0]

const int IN_D = 1;
const int IN_H = 1;
const int IN_W = 1;
const int IN_BLOCKS = 1;
const int COUNT_D = 1;
const int COUNT_H = 1;
const int COUNT_W = 1;
const float START = 0.0;
const bool MEAN = false;
#define OVER_CHANNELS 1
#define COMBINE(a, b) (a + b)
const bool LOGARITHM = false;

uniform sampler2DArray t0;
const int first = 0;
layout(location = 0) out vec4 o0;
#define EACH_BLOCK(F) F(0, r0, o0)

vec4 at0(int n, int d, int h, int w, int b) {
    return texelFetch(t0, ivec3(0, 0, 0), 0);
}

void locate(out int n, out int d, out int h, out int w, out int b) {
    ivec2 p = ivec2(gl_FragCoord.xy);
    n = 0;
    d = 0;
    h = 0;
    w = 0;
    b = 0;
}

vec4 finish(vec4 r, int n, int d, int h, int w, int b) {
    return vec4(r.x, r.y, r.z, 0.0);
}


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

// The main function of kernels that compute one block at a time with value().

#define STORE(q, r, o) o = finish(value(n, d, h, w, b + q), n, d, h, w, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    EACH_BLOCK(STORE)
}
