// Depthwise convolution with the weights of a draw in a uniform block: (tap, block).
//
//   y[i, c] = finish(sum over u of x[i * STRIDE + u - PAD, c] * k[u, c])
//
// One fragment computes a pixel of BLOCKS channel blocks.

#define ZERO(q, r, o) vec4 r = vec4(0.0);
#define ACCUMULATE(q, r, o) r += at0(n, z, y, s, b + q) * k0[tap * BLOCKS + q];
#define STORE(q, r, o) o = finish(r, n, d, h, w, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
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
                EACH_BLOCK(ACCUMULATE)
            }
        }
    }
    EACH_BLOCK(STORE)
}
