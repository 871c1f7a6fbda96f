// max_pooling2d: conv2d_1 (Conv2D) + max_pooling2d (MaxPooling2D), (26, 26, 16) -> (12, 12, 16)
precision highp float;
precision highp int;
precision highp sampler2DArray;

uniform int sizes[6];
#define AT0_H_Y_WEIGHT sizes[0]
#define TO_H_Y_WEIGHT sizes[1]
#define TO_W_Y_RADIX sizes[2]
#define IN_H sizes[3]
#define IN_W sizes[4]
#define IN_BLOCKS sizes[5]

// a / b of whole numbers 0 <= a < 2^20: the half keeps the quotient of floats, which may
// be wrong by 3 units in the last place, from whole numbers. Software rasterisers divide
// integers lane by lane.
int quotient(int a, int b) {
    return int((float(a) + 0.5) / float(b));
}

// a % b of whole numbers 0 <= a < 2^20: see quotient().
int remainder(int a, int b) {
    return a - int((float(a) + 0.5) / float(b)) * b;
}

const int IN_D = 1;
const int KERNEL_D = 1;
const int KERNEL_H = 3;
const int KERNEL_W = 3;
const int STRIDE_D = 1;
const int STRIDE_H = 1;
const int STRIDE_W = 1;
const int PAD_D = 0;
const int PAD_H = 0;
const int PAD_W = 0;
const int DILATION_D = 1;
const int DILATION_H = 1;
const int DILATION_W = 1;
const int UP_D = 1;
const int UP_H = 1;
const int UP_W = 1;
const int POOL_D = 1;
const int POOL_H = 2;
const int POOL_W = 2;
#define IN_LANES 4

uniform sampler2DArray t0;
uniform sampler2DArray t1;
uniform sampler2DArray t2;
const int first = 0;
layout(location = 0) out vec4 o0;
#define EACH_SUM(F) F(r0_0_0) F(r0_1_0) F(r1_0_0) F(r1_1_0)
#define EACH_CELL(F) F(0, 0, max(max(max(r0_0_0, r0_1_0), r1_0_0), r1_1_0), o0)
#define SUMS_0_0(F) F(r0_0_0, k0_0_0_0, k0_0_0_1, k0_0_0_2, k0_0_0_3)
#define SUMS_0_1(F) F(r0_0_0, k0_1_0_0, k0_1_0_1, k0_1_0_2, k0_1_0_3) F(r0_1_0, k0_0_0_0, k0_0_0_1, k0_0_0_2, k0_0_0_3)
#define SUMS_0_2(F) F(r0_0_0, k0_2_0_0, k0_2_0_1, k0_2_0_2, k0_2_0_3) F(r0_1_0, k0_1_0_0, k0_1_0_1, k0_1_0_2, k0_1_0_3)
#define SUMS_0_3(F) F(r0_1_0, k0_2_0_0, k0_2_0_1, k0_2_0_2, k0_2_0_3)
#define SUMS_1_0(F) F(r0_0_0, k1_0_0_0, k1_0_0_1, k1_0_0_2, k1_0_0_3) F(r1_0_0, k0_0_0_0, k0_0_0_1, k0_0_0_2, k0_0_0_3)
#define SUMS_1_1(F) F(r0_0_0, k1_1_0_0, k1_1_0_1, k1_1_0_2, k1_1_0_3) F(r0_1_0, k1_0_0_0, k1_0_0_1, k1_0_0_2, k1_0_0_3) F(r1_0_0, k0_1_0_0, k0_1_0_1, k0_1_0_2, k0_1_0_3) F(r1_1_0, k0_0_0_0, k0_0_0_1, k0_0_0_2, k0_0_0_3)
#define SUMS_1_2(F) F(r0_0_0, k1_2_0_0, k1_2_0_1, k1_2_0_2, k1_2_0_3) F(r0_1_0, k1_1_0_0, k1_1_0_1, k1_1_0_2, k1_1_0_3) F(r1_0_0, k0_2_0_0, k0_2_0_1, k0_2_0_2, k0_2_0_3) F(r1_1_0, k0_1_0_0, k0_1_0_1, k0_1_0_2, k0_1_0_3)
#define SUMS_1_3(F) F(r0_1_0, k1_2_0_0, k1_2_0_1, k1_2_0_2, k1_2_0_3) F(r1_1_0, k0_2_0_0, k0_2_0_1, k0_2_0_2, k0_2_0_3)
#define SUMS_2_0(F) F(r0_0_0, k2_0_0_0, k2_0_0_1, k2_0_0_2, k2_0_0_3) F(r1_0_0, k1_0_0_0, k1_0_0_1, k1_0_0_2, k1_0_0_3)
#define SUMS_2_1(F) F(r0_0_0, k2_1_0_0, k2_1_0_1, k2_1_0_2, k2_1_0_3) F(r0_1_0, k2_0_0_0, k2_0_0_1, k2_0_0_2, k2_0_0_3) F(r1_0_0, k1_1_0_0, k1_1_0_1, k1_1_0_2, k1_1_0_3) F(r1_1_0, k1_0_0_0, k1_0_0_1, k1_0_0_2, k1_0_0_3)
#define SUMS_2_2(F) F(r0_0_0, k2_2_0_0, k2_2_0_1, k2_2_0_2, k2_2_0_3) F(r0_1_0, k2_1_0_0, k2_1_0_1, k2_1_0_2, k2_1_0_3) F(r1_0_0, k1_2_0_0, k1_2_0_1, k1_2_0_2, k1_2_0_3) F(r1_1_0, k1_1_0_0, k1_1_0_1, k1_1_0_2, k1_1_0_3)
#define SUMS_2_3(F) F(r0_1_0, k2_2_0_0, k2_2_0_1, k2_2_0_2, k2_2_0_3) F(r1_1_0, k1_2_0_0, k1_2_0_1, k1_2_0_2, k1_2_0_3)
#define SUMS_3_0(F) F(r1_0_0, k2_0_0_0, k2_0_0_1, k2_0_0_2, k2_0_0_3)
#define SUMS_3_1(F) F(r1_0_0, k2_1_0_0, k2_1_0_1, k2_1_0_2, k2_1_0_3) F(r1_1_0, k2_0_0_0, k2_0_0_1, k2_0_0_2, k2_0_0_3)
#define SUMS_3_2(F) F(r1_0_0, k2_2_0_0, k2_2_0_1, k2_2_0_2, k2_2_0_3) F(r1_1_0, k2_1_0_0, k2_1_0_1, k2_1_0_2, k2_1_0_3)
#define SUMS_3_3(F) F(r1_1_0, k2_2_0_0, k2_2_0_1, k2_2_0_2, k2_2_0_3)
#define EACH_STEP(ROW, EDGE_ROW, TAP, INSIDE, BEYOND, EDGE) ROW(0, y0, i0) TAP(0, 0, k0_0_0_0, k0_0_0_1, k0_0_0_2, k0_0_0_3) TAP(1, 0, k0_1_0_0, k0_1_0_1, k0_1_0_2, k0_1_0_3) TAP(2, 0, k0_2_0_0, k0_2_0_1, k0_2_0_2, k0_2_0_3) INSIDE(0, y0, i0, SUMS_0_0) INSIDE(1, y0, i0, SUMS_0_1) INSIDE(2, y0, i0, SUMS_0_2) INSIDE(3, y0, i0, SUMS_0_3) ROW(1, y1, i1) TAP(3, 0, k1_0_0_0, k1_0_0_1, k1_0_0_2, k1_0_0_3) TAP(4, 0, k1_1_0_0, k1_1_0_1, k1_1_0_2, k1_1_0_3) TAP(5, 0, k1_2_0_0, k1_2_0_1, k1_2_0_2, k1_2_0_3) INSIDE(0, y1, i1, SUMS_1_0) INSIDE(1, y1, i1, SUMS_1_1) INSIDE(2, y1, i1, SUMS_1_2) INSIDE(3, y1, i1, SUMS_1_3) ROW(2, y2, i2) TAP(6, 0, k2_0_0_0, k2_0_0_1, k2_0_0_2, k2_0_0_3) TAP(7, 0, k2_1_0_0, k2_1_0_1, k2_1_0_2, k2_1_0_3) TAP(8, 0, k2_2_0_0, k2_2_0_1, k2_2_0_2, k2_2_0_3) INSIDE(0, y2, i2, SUMS_2_0) INSIDE(1, y2, i2, SUMS_2_1) INSIDE(2, y2, i2, SUMS_2_2) INSIDE(3, y2, i2, SUMS_2_3) ROW(3, y3, i3) INSIDE(0, y3, i3, SUMS_3_0) INSIDE(1, y3, i3, SUMS_3_1) INSIDE(2, y3, i3, SUMS_3_2) INSIDE(3, y3, i3, SUMS_3_3)

vec4 at0(int n, int d, int h, int w, int b) {
    return texelFetch(t0, ivec3(b, h * AT0_H_Y_WEIGHT + ((w >> 2)), ((w & 3))), 0);
}

vec4 at1(int n, int d, int h, int w, int b) {
    return texelFetch(t1, ivec3(b, w, h), 0);
}

vec4 at2(int n, int d, int h, int w, int b) {
    return texelFetch(t2, ivec3(0, 0, b), 0);
}

void locate(out int n, out int d, out int h, out int w, out int b) {
    ivec2 p = ivec2(gl_FragCoord.xy);
    n = 0;
    d = 0;
    h = quotient(p.y, TO_H_Y_WEIGHT);
    w = remainder(p.y, TO_W_Y_RADIX);
    b = p.x;
}

vec4 finish(vec4 r, int n, int d, int h, int w, int b) {
    vec4 e0 = at2(0, 0, 0, 0, b);
    r = max((r + e0), vec4(0.0));
    return r;
}

// The first block of the input channels that output block b reads.
int first_block(int b) { return 0; }

// Convolution and the largest of its results in each window of POOL_H x POOL_W.
//
//   y[i, o] = finish(max over the window i of
//                    sum over u, c of x[j * STRIDE + u - PAD, c] * k[u, c, o])
//
// One fragment computes PIXELS neighbours of BLOCKS channel blocks, each in its own draw
// buffer, and for that the results of their windows, which share the texels of x. at1
// reads the kernel: (tap, channel, block of four filters). Of pictures, grey or RGB, only
// IN_LANES lanes are multiplied: no kernel lies where the others would read.

#define ZERO(r) vec4 r = vec4(0.0);
// Rows and columns that lie inside x for every fragment, columns beyond which no result
// needs zeros, and those that are padding for some.
#define ROW(j, y, within) int y = top + j; const bool within = true;
#define EDGE_ROW(j, y, within) \
    int y = clamp(top + j, 0, IN_H - 1); \
    bool within = y == top + j;
#define TEXEL(s, y, within, SUMS) { \
    vec4 x = at0(n, d, y, s, base + i); \
    if (!(within)) x = vec4(0.0); \
    SUMS(MULTIPLY) }
#define INSIDE(s, y, within, SUMS) TEXEL(left + s, y, within, SUMS)
#define BEYOND(s, y, within, SUMS) TEXEL(clamp(left + s, 0, IN_W - 1), y, within, SUMS)
#define EDGE(s, y, within, SUMS) \
    TEXEL(clamp(left + s, 0, IN_W - 1), y, \
          within && left + s >= 0 && left + s < IN_W, SUMS)
#define TAP(tap, q, k0, k1, k2, k3) \
    vec4 k0 = at1(0, 0, tap, c, b + q); \
    vec4 k1 = at1(0, 0, tap, c + 1, b + q); \
    vec4 k2 = at1(0, 0, tap, c + 2, b + q); \
    vec4 k3 = at1(0, 0, tap, c + 3, b + q);
#if IN_LANES == 1
#define MULTIPLY(r, k0, k1, k2, k3) r += x.x * k0;
#elif IN_LANES == 2
#define MULTIPLY(r, k0, k1, k2, k3) r += x.x * k0 + x.y * k1;
#elif IN_LANES == 3
#define MULTIPLY(r, k0, k1, k2, k3) r += x.x * k0 + x.y * k1 + x.z * k2;
#else
#define MULTIPLY(r, k0, k1, k2, k3) r += x.x * k0 + x.y * k1 + x.z * k2 + x.w * k3;
#endif
#define STORE(p, q, r, o) o = finish(r, n, d, h, w + p, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    int base = first_block(b);
    int top = h * POOL_H * STRIDE_H - PAD_H;
    int left = w * POOL_W * STRIDE_W - PAD_W;
    EACH_SUM(ZERO)
    for (int i = 0; i < IN_BLOCKS; ++i) {
        int c = 4 * i;
        EACH_STEP(ROW, EDGE_ROW, TAP, INSIDE, BEYOND, EDGE)
    }
    EACH_CELL(STORE)
}
