// Depthwise convolution: each channel has a window of its own.
//
//   y[i, c] = finish(sum over u of x[i * STRIDE + u - PAD, c] * k[u, c])
//
// One fragment computes a pixel of BLOCKS channel blocks. at1 reads the kernel: (tap,
// block of channels).

#define ZERO(q, r, o) vec4 r = vec4(0.0);
#define ACCUMULATE(q, r, o) { \
    vec4 x = at0(n, max(z, 0), max(y, 0), max(s, 0), b + q); \
    r += inside ? x * at1(0, 0, 0, tap, b + q) : vec4(0.0); }
#define STORE(q, r, o) o = finish(r, n, d, h, w, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    EACH_BLOCK(ZERO)
    for (int t = 0; t < KERNEL_D; ++t) {
        int z = source(d, t, STRIDE_D, DILATION_D, PAD_D, UP_D, IN_D);
        for (int u = 0; u < KERNEL_H; ++u) {
            int y = source(h, u, STRIDE_H, DILATION_H, PAD_H, UP_H, IN_H);
            for (int v = 0; v < KERNEL_W; ++v) {
                int s = source(w, v, STRIDE_W, DILATION_W, PAD_W, UP_W, IN_W);
                bool inside = min(min(z, y), s) >= 0;
                int tap = (t * KERNEL_H + u) * KERNEL_W + v;
                EACH_BLOCK(ACCUMULATE)
            }
        }
    }
    EACH_BLOCK(STORE)
}
