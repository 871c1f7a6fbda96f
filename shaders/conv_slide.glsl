// Convolution of PIXELS neighbours in a row, whose windows overlap: a column of x is
// fetched once for all of them.
//
//   y[i, o] = finish(sum over u, c of x[i * STRIDE + u - PAD, c] * k[u, c, o])
//
// One fragment computes PIXELS pixels of BLOCKS channel blocks, each in its own draw
// buffer. at1 reads the kernel: (tap, channel, block of four filters). Of pictures, grey
// or RGB, only IN_LANES lanes are multiplied: no kernel lies where the others would read.

#define ZERO(p, q, r, o) vec4 r = vec4(0.0);
// A column that lies inside x for every fragment, one beyond which no pixel needs zeros,
// and one that is padding for some.
#define INSIDE(j, near) vec4 near = at0(n, z, y, left + j, base + i);
#define BEYOND(j, near) vec4 near = at0(n, z, y, clamp(left + j, 0, IN_W - 1), base + i);
#define EDGE(j, near) \
    BEYOND(j, near) \
    if (left + j < 0 || left + j >= IN_W) near = vec4(0.0);
#if IN_LANES == 1
#define MULTIPLY(near, r) r += near.x * k0;
#elif IN_LANES == 2
#define MULTIPLY(near, r) r += near.x * k0 + near.y * k1;
#elif IN_LANES == 3
#define MULTIPLY(near, r) r += near.x * k0 + near.y * k1 + near.z * k2;
#else
#define MULTIPLY(near, r) r += near.x * k0 + near.y * k1 + near.z * k2 + near.w * k3;
#endif
#define TAP(v, q, CELLS) { \
    vec4 k0 = at1(0, 0, row + v, c, b + q); \
    vec4 k1 = at1(0, 0, row + v, c + 1, b + q); \
    vec4 k2 = at1(0, 0, row + v, c + 2, b + q); \
    vec4 k3 = at1(0, 0, row + v, c + 3, b + q); \
    CELLS(MULTIPLY) }
#define STORE(p, q, r, o) o = finish(r, n, d, h, w + p, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    int base = first_block(b);
    int left = w * STRIDE_W - PAD_W;
    EACH_CELL(ZERO)
    for (int t = 0; t < KERNEL_D; ++t) {
        int z = source(d, t, STRIDE_D, DILATION_D, PAD_D, UP_D, IN_D);
        if (z < 0) continue;
        for (int u = 0; u < KERNEL_H; ++u) {
            int y = source(h, u, STRIDE_H, DILATION_H, PAD_H, UP_H, IN_H);
            if (y < 0) continue;
            int row = (t * KERNEL_H + u) * KERNEL_W;
            for (int i = 0; i < IN_BLOCKS; ++i) {
                int c = 4 * i;
                EACH_COLUMN(INSIDE, BEYOND, EDGE)
                EACH_TAP(TAP)
            }
        }
    }
    EACH_CELL(STORE)
}
