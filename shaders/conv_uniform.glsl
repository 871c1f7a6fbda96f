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
