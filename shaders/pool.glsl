// Pooling: the largest, the mean or the sum over a window; padding doesn't count.
//
//   y[i, c] = finish(COMBINE over u of x[i * STRIDE + u - PAD, c])
//
// MEAN divides by the number of elements inside x.

vec4 value(int n, int d, int h, int w, int b) {
    vec4 total = vec4(START);
    float count = 0.0;
    for (int t = 0; t < KERNEL_D; ++t) {
        int z = source(d, t, STRIDE_D, 1, PAD_D, 1, IN_D);
        if (z < 0) continue;
        for (int u = 0; u < KERNEL_H; ++u) {
            int y = source(h, u, STRIDE_H, 1, PAD_H, 1, IN_H);
            if (y < 0) continue;
            for (int v = 0; v < KERNEL_W; ++v) {
                int s = source(w, v, STRIDE_W, 1, PAD_W, 1, IN_W);
                if (s < 0) continue;
                vec4 x = at0(n, z, y, s, b);
                total = COMBINE(total, x);
                count += 1.0;
            }
        }
    }
    return MEAN ? total / count : total;
}
