// dense: dense (Dense), (16, 64) -> (64)
precision highp float;
precision highp int;
precision highp sampler2DArray;

uniform int sizes[4];
#define AT0_W_X_WEIGHT sizes[0]
#define COUNT_W sizes[1]
#define IN_C sizes[2]
#define IN_BLOCKS sizes[3]

const int IN_D = 1;
const int IN_H = 1;
const int COUNT_D = 1;
const int COUNT_H = 1;
const float START = 0.0;
const bool MEAN = false;
#define OVER_CHANNELS 0
#define COMBINE(a, b) (a + b)

uniform sampler2DArray t0;
uniform sampler2DArray t1;
const int first = 0;
layout(location = 0) out vec4 o0;
#define EACH_BLOCK(F) F(0, r0, o0)

vec4 at0(int n, int d, int h, int w, int b) {
    return texelFetch(t0, ivec3(w * AT0_W_X_WEIGHT + b, 0, 0), 0);
}

vec4 at1(int n, int d, int h, int w, int b) {
    return texelFetch(t1, ivec3(0, 0, b), 0);
}

#define SHARED(n, b)
#define ONCE(p, n, d, h, w)
#define OWN(p, n, d, h, w)
#define READ(p, n, d, h, w, b) at0(n, d, h, w, b)

void locate(out int n, out int d, out int h, out int w, out int b) {
    ivec2 p = ivec2(gl_FragCoord.xy);
    n = 0;
    d = 0;
    h = 0;
    w = 0;
    b = p.x;
}

vec4 finish(vec4 r, int n, int d, int h, int w, int b) {
    vec4 e0 = at1(0, 0, 0, 0, b);
    r = max((r + e0), vec4(0.0));
    return r;
}


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

// The main function of kernels that compute one block at a time with value().

#define STORE(q, r, o) o = finish(value(n, d, h, w, b + q), n, d, h, w, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    EACH_BLOCK(STORE)
}
