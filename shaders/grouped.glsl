// Convolution in groups that share channel blocks: each lane finds its own inputs.
//
//   y[i, o] = finish(sum over u, c of x[i * STRIDE + u - PAD, g * DEPTH + c] * k[u, c, o])
//
// where g = o / FILTERS is the group of filter o.

float gather(int n, int z, int y, int s, int o, int c) {
    int channel = o / FILTERS * DEPTH + c;
    return pick(at0(n, z, y, s, channel / 4), channel % 4);
}

vec4 value(int n, int d, int h, int w, int b) {
    vec4 total = vec4(0.0);
    int o = 4 * b;
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
                for (int c = 0; c < DEPTH; ++c) {
                    vec4 x = vec4(gather(n, z, y, s, o, c), gather(n, z, y, s, o + 1, c),
                                  gather(n, z, y, s, o + 2, c), gather(n, z, y, s, o + 3, c));
                    total += x * at1(0, 0, tap, c, b);
                }
            }
        }
    }
    return total;
}
