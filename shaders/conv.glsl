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
