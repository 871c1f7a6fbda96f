// max_pooling2d: max_pooling2d (MaxPooling2D), (24, 24, 16) -> (12, 12, 16)
precision highp float;
precision highp int;
precision highp sampler2DArray;

uniform int sizes[5];
#define AT0_H_Y_WEIGHT sizes[0]
#define TO_H_Y_WEIGHT sizes[1]
#define TO_W_Y_RADIX sizes[2]
#define IN_H sizes[3]
#define IN_W sizes[4]

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
const int KERNEL_H = 2;
const int KERNEL_W = 2;
const int STRIDE_D = 1;
const int STRIDE_H = 2;
const int STRIDE_W = 2;
const int PAD_D = 0;
const int PAD_H = 0;
const int PAD_W = 0;
const float START = -3.4028234e38;
const bool MEAN = false;
#define COMBINE(a, b) max(a, b)

uniform sampler2DArray t0;
const int first = 0;
layout(location = 0) out vec4 o0;
#define EACH_BLOCK(F) F(0, r0, o0)

vec4 at0(int n, int d, int h, int w, int b) {
    return texelFetch(t0, ivec3(b, h * AT0_H_Y_WEIGHT + ((w >> 1)), ((w & 1))), 0);
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
    return r;
}


// Pooling: the largest, the mean or the sum over a window; padding doesn't count.
//
//   y[i, c] = finish(COMBINE over u of x[i * STRIDE + u - PAD, c])
//
// MEAN divides by the number of elements inside x. Nothing branches: what compiles
// shaders for processors takes twice as long where windows do.

vec4 value(int n, int d, int h, int w, int b) {
    vec4 total = vec4(START);
    float count = 0.0;
    for (int t = 0; t < KERNEL_D; ++t) {
        int z = source(d, t, STRIDE_D, 1, PAD_D, 1, IN_D);
        for (int u = 0; u < KERNEL_H; ++u) {
            int y = source(h, u, STRIDE_H, 1, PAD_H, 1, IN_H);
            for (int v = 0; v < KERNEL_W; ++v) {
                int s = source(w, v, STRIDE_W, 1, PAD_W, 1, IN_W);
                vec4 x = at0(n, max(z, 0), max(y, 0), max(s, 0), b);
                bool inside = min(min(z, y), s) >= 0;
                total = inside ? COMBINE(total, x) : total;
                count += inside ? 1.0 : 0.0;
            }
        }
    }
    return MEAN ? total / count : total;
}

// The main function of kernels that compute one block at a time with value().

#define STORE(q, r, o) o = finish(value(n, d, h, w, b + q), n, d, h, w, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    EACH_BLOCK(STORE)
}
