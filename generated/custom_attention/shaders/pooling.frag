// pooling: pooling (AttentionPooling), (6, 8) -> (6, 5)
precision highp float;
precision highp int;
precision highp sampler2DArray;

uniform int sizes[3];
#define WHOLE_BLOCKS sizes[0]
#define IN_W sizes[1]
#define IN_BLOCKS sizes[2]

// Where tap u of the window of output i lies in x; -1 for padding and for the zeros
// between elements that a transposed convolution reads.
int source(int i, int u, int stride, int dilation, int pad, int up, int size) {
    int s = i * stride + u * dilation - pad;
    if (s < 0 || s % up != 0) return -1;
    s /= up;
    return s < size ? s : -1;
}

// tanh may be computed through exp and overflow; beyond 15 it is 1 in float32. Near 0
// the series keeps the digits that exp would cancel.
vec4 k_tanh(vec4 x) {
    vec4 a = clamp(x, -15.0, 15.0);
    vec4 e = exp(-2.0 * abs(a));
    vec4 far = sign(a) * (1.0 - e) / (1.0 + e);
    vec4 s = a * a;
    vec4 near = a * (1.0 + s * (-0.33333333 + s * (0.13333334 + s * -0.05396825)));
    return mix(far, near, vec4(lessThan(abs(a), vec4(0.125))));
}

const int IN_D = 1;
const int IN_H = 1;
const int KERNEL_D = 1;
const int KERNEL_H = 1;
const int KERNEL_W = 1;
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

uniform sampler2DArray t0;
uniform sampler2DArray t1;
uniform sampler2DArray t2;
const int first = 0;
layout(location = 0) out vec4 o0;
#define EACH_BLOCK(F) F(0, r0, o0)

vec4 at0(int n, int d, int h, int w, int b) {
    return texelFetch(t0, ivec3(b, w, 0), 0);
}

vec4 at1(int n, int d, int h, int w, int b) {
    return texelFetch(t1, ivec3(b, w, 0), 0);
}

vec4 at2(int n, int d, int h, int w, int b) {
    return texelFetch(t2, ivec3(0, 0, b), 0);
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
    w = p.y;
    b = p.x;
}

vec4 finish(vec4 r, int n, int d, int h, int w, int b) {
    vec4 e0 = at2(0, 0, 0, 0, b);
    r = k_tanh((r + e0));
    return b < WHOLE_BLOCKS ? r : vec4(r.x, 0.0, 0.0, 0.0);
}

// The first block of the input channels that output block b reads.
int first_block(int b) { return 0; }

// Convolution, and every contraction with constant weights (a window of one).
//
//   y[i, o] = finish(sum over u, c of x[i * STRIDE + u - PAD, c] * k[u, c, o])
//
// One fragment computes a pixel of BLOCKS channel blocks, each in its own draw buffer.
// at0 reads x, at1 the kernel: (tap, channel, block of four filters).
// READ reads x through at0, or computes it: OWN and SHARED fetch what that needs.

#define ZERO(q, r, o) vec4 r = vec4(0.0);
#define ACCUMULATE(q, r, o) \
    r += x.x * at1(0, 0, tap, c, b + q) + x.y * at1(0, 0, tap, c + 1, b + q) \
       + x.z * at1(0, 0, tap, c + 2, b + q) + x.w * at1(0, 0, tap, c + 3, b + q);
#define STORE(q, r, o) o = finish(r, n, d, h, w, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    int base = first_block(b);
    EACH_BLOCK(ZERO)
    for (int t = 0; t < KERNEL_D; ++t) {
        int z = source(d, t, STRIDE_D, DILATION_D, PAD_D, UP_D, IN_D);
        if (z < 0) continue;
        for (int u = 0; u < KERNEL_H; ++u) {
            int y = source(h, u, STRIDE_H, DILATION_H, PAD_H, UP_H, IN_H);
            if (y < 0) continue;
            for (int v = 0; v < KERNEL_W; ++v) {
                int s = source(w, v, STRIDE_W, DILATION_W, PAD_W, UP_W, IN_W);
                if (s < 0) continue;
                int tap = (t * KERNEL_H + u) * KERNEL_W + v;
                OWN(0, n, z, y, s)
                for (int i = 0; i < IN_BLOCKS; ++i) {
                    SHARED(n, base + i)
                    vec4 x = READ(0, n, z, y, s, base + i);
                    int c = 4 * i;
                    EACH_BLOCK(ACCUMULATE)
                }
            }
        }
    }
    EACH_BLOCK(STORE)
}
