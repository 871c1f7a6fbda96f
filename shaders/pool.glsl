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
