// conv2d_1: conv2d_1 (Conv2D), (26, 26, 16) -> (24, 24, 16)
precision highp float;
precision highp int;
precision highp sampler2DArray;

uniform int sizes[6];
#define AT0_H_Y_WEIGHT sizes[0]
#define TO_H_Y_WEIGHT sizes[1]
#define TO_W_Y_RADIX sizes[2]
#define IN_W sizes[3]
#define IN_H sizes[4]
#define IN_BLOCKS sizes[5]

// Where tap u of the window of output i lies in x; -1 for padding and for the zeros
// between elements that a transposed convolution reads.
int source(int i, int u, int stride, int dilation, int pad, int up, int size) {
    int s = i * stride + u * dilation - pad;
    if (s < 0 || s % up != 0) return -1;
    s /= up;
    return s < size ? s : -1;
}

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
#define IN_LANES 4

uniform sampler2DArray t0;
uniform sampler2DArray t1;
uniform sampler2DArray t2;
const int first = 0;
layout(location = 0) out vec4 o0;
layout(location = 1) out vec4 o1;
#define EACH_CELL(F) F(0, 0, r00, o0) F(1, 0, r10, o1)
#define EACH_COLUMN(INSIDE, BEYOND, EDGE) INSIDE(0, x0) INSIDE(1, x1) INSIDE(2, x2) INSIDE(3, x3)
#define EACH_TAP(F) F(0, 0, CELLS_00) F(1, 0, CELLS_10) F(2, 0, CELLS_20)
#define CELLS_00(F) F(x0, r00) F(x1, r10)
#define CELLS_10(F) F(x1, r00) F(x2, r10)
#define CELLS_20(F) F(x2, r00) F(x3, r10)

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
    w = remainder(p.y, TO_W_Y_RADIX) * 2 + first;
    b = p.x;
}

vec4 finish(vec4 r, int n, int d, int h, int w, int b) {
    vec4 e0 = at2(0, 0, 0, 0, b);
    r = max((r + e0), vec4(0.0));
    return r;
}

// The first block of the input channels that output block b reads.
int first_block(int b) { return 0; }

// Convolution of PIXELS neighbours in a row, whose windows overlap: a column of x is
// fetched once for all of them.
//
//   y[i, o] = finish(sum over u, c of x[i * STRIDE + u - PAD, c] * k[u, c, o])
//
// One fragment computes PIXELS pixels of BLOCKS channel blocks, each in its own draw
// buffer. at1 reads the kernel: (tap, channel, block of four filters). Of pictures, grey
// or RGB, only IN_LANES lanes are multiplied: no kernel lies where the others would read.

#define ZERO(p, q, r, o) vec4 r = vec4(0.0);
// A column that lies inside x for every fragment, one beyond which no pixel needs zeros,
// and one that is padding for some.
#define INSIDE(j, near) vec4 near = at0(n, z, y, left + j, base + i);
#define BEYOND(j, near) vec4 near = at0(n, z, y, clamp(left + j, 0, IN_W - 1), base + i);
#define EDGE(j, near) \
    BEYOND(j, near) \
    if (left + j < 0 || left + j >= IN_W) near = vec4(0.0);
#if IN_LANES == 1
#define MULTIPLY(near, r) r += near.x * k0;
#elif IN_LANES == 2
#define MULTIPLY(near, r) r += near.x * k0 + near.y * k1;
#elif IN_LANES == 3
#define MULTIPLY(near, r) r += near.x * k0 + near.y * k1 + near.z * k2;
#else
#define MULTIPLY(near, r) r += near.x * k0 + near.y * k1 + near.z * k2 + near.w * k3;
#endif
#define TAP(v, q, CELLS) { \
    vec4 k0 = at1(0, 0, row + v, c, b + q); \
    vec4 k1 = at1(0, 0, row + v, c + 1, b + q); \
    vec4 k2 = at1(0, 0, row + v, c + 2, b + q); \
    vec4 k3 = at1(0, 0, row + v, c + 3, b + q); \
    CELLS(MULTIPLY) }
#define STORE(p, q, r, o) o = finish(r, n, d, h, w + p, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    int base = first_block(b);
    int left = w * STRIDE_W - PAD_W;
    EACH_CELL(ZERO)
    for (int t = 0; t < KERNEL_D; ++t) {
        int z = source(d, t, STRIDE_D, DILATION_D, PAD_D, UP_D, IN_D);
        if (z < 0) continue;
        for (int u = 0; u < KERNEL_H; ++u) {
            int y = source(h, u, STRIDE_H, DILATION_H, PAD_H, UP_H, IN_H);
            if (y < 0) continue;
            int row = (t * KERNEL_H + u) * KERNEL_W;
            for (int i = 0; i < IN_BLOCKS; ++i) {
                int c = 4 * i;
                EACH_COLUMN(INSIDE, BEYOND, EDGE)
                EACH_TAP(TAP)
            }
        }
    }
    EACH_CELL(STORE)
}
