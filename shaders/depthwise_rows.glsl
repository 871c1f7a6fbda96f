// Depthwise convolution of PIXELS neighbours in a row, whose windows overlap: a column
// of x is fetched once for all of them.
//
//   y[i, c] = finish(sum over u of x[i * STRIDE + u - PAD, c] * k[u, c])
//
// at1 reads the kernel: (tap, block of channels).

#define ZERO(p, q, r, o) vec4 r = vec4(0.0);
#define TAP(v, k) vec4 k = at1(0, 0, 0, row + v, block);
#define COLUMN(j, ADD) { \
    int s = left + j; \
    vec4 x = at0(n, z, y, clamp(s, 0, IN_W - 1), block); \
    if (s < 0 || s >= IN_W) x = vec4(0.0); \
    ADD }
#define BLOCK(q, COLUMNS) { \
    int block = b + q; \
    EACH_TAP(TAP) \
    COLUMNS(COLUMN) }
#define STORE(p, q, r, o) o = finish(r, n, d, h, w + p, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    int left = w * STRIDE_W - PAD_W;
    EACH_CELL(ZERO)
    for (int t = 0; t < KERNEL_D; ++t) {
        int z = source(d, t, STRIDE_D, 1, PAD_D, 1, IN_D);
        if (z < 0) continue;
        for (int u = 0; u < KERNEL_H; ++u) {
            int y = source(h, u, STRIDE_H, 1, PAD_H, 1, IN_H);
            if (y < 0) continue;
            int row = (t * KERNEL_H + u) * KERNEL_W;
            EACH_BLOCK(BLOCK)
        }
    }
    EACH_CELL(STORE)
}
