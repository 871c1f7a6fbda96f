// dense_3: dense_3 (Dense), (5) -> (2)
precision highp float;
precision highp int;
precision highp sampler2DArray;

uniform int sizes[3];
#define AT0_D_OFFSET sizes[0]
#define CHUNK_BLOCKS sizes[1]
#define IN_BLOCKS sizes[2]

// Where tap u of the window of output i lies in x; -1 for padding and for the zeros
// between elements that a transposed convolution reads.
int source(int i, int u, int stride, int dilation, int pad, int up, int size) {
    int s = i * stride + u * dilation - pad;
    if (s < 0 || s % up != 0) return -1;
    s /= up;
    return s < size ? s : -1;
}

const int IN_D = 1;
const int IN_H = 1;
const int IN_W = 1;
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
const int first = 0;
layout(location = 0) out vec4 o0;
#define EACH_BLOCK(F) F(0, r0, o0)
layout(std140) uniform K0 { vec4 k0[32]; };
const int BLOCKS = 1;
#define EACH_WEIGHT(F, k) F(0, r0, k)
#define EACH_CHUNK(F) F(0, k0)

vec4 at0(int n, int d, int h, int w, int b) {
    return texelFetch(t0, ivec3(b, 0, (d + AT0_D_OFFSET)), 0);
}

vec4 at1(int n, int d, int h, int w, int b) {
    return texelFetch(t1, ivec3(0, 0, 0), 0);
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
    b = 0;
}

vec4 finish(vec4 r, int n, int d, int h, int w, int b) {
    vec4 e0 = at1(0, 0, 0, 0, b);
    r = (r + e0);
    return vec4(r.x, r.y, 0.0, 0.0);
}


// Convolution whose weights are the same for a whole draw: they come from uniform
// blocks, so that the only texel fetches are those of x.
//
//   y[i, o] = finish(sum over u, c of x[i * STRIDE + u - PAD, c] * k[u, c, o])
//
// One fragment computes a pixel of BLOCKS channel blocks. A chunk is CHUNK_BLOCKS blocks
// of input channels; its uniform block holds (tap, channel, block of four filters).
// READ reads x through at0, or computes it: OWN and SHARED fetch what that needs.

#define ZERO(q, r, o) vec4 r = vec4(0.0);
#define ACCUMULATE(q, r, k) r += x.x * k[at + q] + x.y * k[at + BLOCKS + q] \
                               + x.z * k[at + 2 * BLOCKS + q] + x.w * k[at + 3 * BLOCKS + q];
#define STORE(q, r, o) o = finish(r, n, d, h, w, b + q);

#define CHUNK(j, k) \
    for (int t = 0; t < KERNEL_D; ++t) { \
        int z = source(d, t, STRIDE_D, DILATION_D, PAD_D, UP_D, IN_D); \
        if (z < 0) continue; \
        for (int u = 0; u < KERNEL_H; ++u) { \
            int y = source(h, u, STRIDE_H, DILATION_H, PAD_H, UP_H, IN_H); \
            if (y < 0) continue; \
            for (int v = 0; v < KERNEL_W; ++v) { \
                int s = source(w, v, STRIDE_W, DILATION_W, PAD_W, UP_W, IN_W); \
                if (s < 0) continue; \
                int at = ((t * KERNEL_H + u) * KERNEL_W + v) * CHUNK_BLOCKS * 4 * BLOCKS; \
                OWN(0, n, z, y, s) \
                for (int i = j * CHUNK_BLOCKS; i < min((j + 1) * CHUNK_BLOCKS, IN_BLOCKS); ++i) { \
                    SHARED(n, i) \
                    vec4 x = READ(0, n, z, y, s, i); \
                    EACH_WEIGHT(ACCUMULATE, k) \
                    at += 4 * BLOCKS; \
                } \
            } \
        } \
    }

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    EACH_BLOCK(ZERO)
    EACH_CHUNK(CHUNK)
    EACH_BLOCK(STORE)
}
