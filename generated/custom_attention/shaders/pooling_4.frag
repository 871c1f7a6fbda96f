// pooling_4: pooling (AttentionPooling), (1, 1, 6), (1, 6, 8) -> (1, 1, 8)
precision highp float;
precision highp int;
precision highp sampler2DArray;

uniform int sizes[2];
#define DEPTH sizes[0]
#define IN_BLOCKS sizes[1]

const int IN_D = 1;
const int IN_H = 1;
const int IN_W = 1;
const int ROWS = 1;
#define ACROSS 0

uniform sampler2DArray t0;
uniform sampler2DArray t1;
const int first = 0;
layout(location = 0) out vec4 o0;
#define EACH_BLOCK(F) F(0, r0, o0)

vec4 at0(int n, int d, int h, int w, int b) {
    return texelFetch(t0, ivec3(b, 0, 0), 0);
}

vec4 at1(int n, int d, int h, int w, int b) {
    return texelFetch(t1, ivec3(b, w, 0), 0);
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
    return r;
}


// A batch of matrix products of two computed tensors.
//
//   y[p, i, j] = finish(sum over k of a[p, i, k] * m[p, k, j])      ACROSS 0
//   y[p, i, j] = finish(sum over k of a[p, i, k] * m[p, j, k])      ACROSS 1
//
// One fragment computes a row of BLOCKS blocks of four columns. READ reads a through
// at0, or computes it: OWN and SHARED fetch what that needs.

#define ZERO(q, r, o) vec4 r = vec4(0.0);
#if ACROSS
#define ACCUMULATE(q, r, o) { \
    int j = 4 * (b + q); \
    r += vec4(dot(a, at1(n, 0, h, j, i)), dot(a, at1(n, 0, h, j + 1, i)), \
              dot(a, at1(n, 0, h, j + 2, i)), dot(a, at1(n, 0, h, j + 3, i))); }
#else
// Past the end of k the lanes of a are zero, but what lies there in m may be anything.
#define ACCUMULATE(q, r, o) { \
    int k = 4 * i; \
    r += a.x * at1(n, 0, h, k, b + q); \
    if (k + 1 < DEPTH) r += a.y * at1(n, 0, h, k + 1, b + q); \
    if (k + 2 < DEPTH) r += a.z * at1(n, 0, h, k + 2, b + q); \
    if (k + 3 < DEPTH) r += a.w * at1(n, 0, h, k + 3, b + q); }
#endif
#define STORE(q, r, o) o = finish(r, n, d, h, w, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    EACH_BLOCK(ZERO)
    OWN(0, n, 0, h, w)
    for (int i = 0; i < IN_BLOCKS; ++i) {
        SHARED(n, i)
        vec4 a = READ(0, n, 0, h, w, i);
        EACH_BLOCK(ACCUMULATE)
    }
    EACH_BLOCK(STORE)
}
