// Convolution and the largest of its results in each window of POOL_H x POOL_W.
//
//   y[i, o] = finish(max over the window i of
//                    sum over u, c of x[j * STRIDE + u - PAD, c] * k[u, c, o])
//
// One fragment computes PIXELS neighbours of BLOCKS channel blocks, each in its own draw
// buffer, and for that the results of their windows, which share the texels of x. at1
// reads the kernel: (tap, channel, block of four filters). Of pictures, grey or RGB, only
// IN_LANES lanes are multiplied: no kernel lies where the others would read.

#define ZERO(r) vec4 r = vec4(0.0);
// Rows and columns that lie inside x for every fragment, columns beyond which no result
// needs zeros, and those that are padding for some.
#define ROW(j, y, within) int y = top + j; const bool within = true;
#define EDGE_ROW(j, y, within) \
    int y = clamp(top + j, 0, IN_H - 1); \
    bool within = y == top + j;
#define TEXEL(s, y, within, SUMS) { \
    vec4 x = at0(n, d, y, s, base + i); \
    if (!(within)) x = vec4(0.0); \
    SUMS(MULTIPLY) }
#define INSIDE(s, y, within, SUMS) TEXEL(left + s, y, within, SUMS)
#define BEYOND(s, y, within, SUMS) TEXEL(clamp(left + s, 0, IN_W - 1), y, within, SUMS)
#define EDGE(s, y, within, SUMS) \
    TEXEL(clamp(left + s, 0, IN_W - 1), y, \
          within && left + s >= 0 && left + s < IN_W, SUMS)
#define TAP(tap, q, k0, k1, k2, k3) \
    vec4 k0 = at1(0, 0, tap, c, b + q); \
    vec4 k1 = at1(0, 0, tap, c + 1, b + q); \
    vec4 k2 = at1(0, 0, tap, c + 2, b + q); \
    vec4 k3 = at1(0, 0, tap, c + 3, b + q);
#if IN_LANES == 1
#define MULTIPLY(r, k0, k1, k2, k3) r += x.x * k0;
#elif IN_LANES == 2
#define MULTIPLY(r, k0, k1, k2, k3) r += x.x * k0 + x.y * k1;
#elif IN_LANES == 3
#define MULTIPLY(r, k0, k1, k2, k3) r += x.x * k0 + x.y * k1 + x.z * k2;
#else
#define MULTIPLY(r, k0, k1, k2, k3) r += x.x * k0 + x.y * k1 + x.z * k2 + x.w * k3;
#endif
#define STORE(p, q, r, o) o = finish(r, n, d, h, w + p, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    int base = first_block(b);
    int top = h * POOL_H * STRIDE_H - PAD_H;
    int left = w * POOL_W * STRIDE_W - PAD_W;
    EACH_SUM(ZERO)
    for (int i = 0; i < IN_BLOCKS; ++i) {
        int c = 4 * i;
        EACH_STEP(ROW, EDGE_ROW, TAP, INSIDE, BEYOND, EDGE)
    }
    EACH_CELL(STORE)
}
