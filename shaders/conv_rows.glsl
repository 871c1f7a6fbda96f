// Convolution over few pixels and many channels: PIXELS neighbours in a row share the
// weights that one fragment fetches.
//
//   y[i, o] = finish(sum over u, c of x[i * STRIDE + u - PAD, c] * k[u, c, o])
//
// One fragment computes PIXELS pixels of BLOCKS channel blocks, each in its own draw
// buffer. at1 reads the kernel: (tap, channel, block of four filters). Where rows are
// MERGED a neighbour may stand in the next one.
// READ reads x through at0, or computes it: OWN and SHARED fetch what that needs.

#define ZERO(p, q, r, o) vec4 r = vec4(0.0);
#if MERGED
#define ROW_OF(p) row_of(h * TO_ROW + w + p)
#define COLUMN_OF(p) (h * TO_ROW + w + p - ROW_OF(p) * TO_ROW)
#define LINE(p, near, place, y) int y = source(ROW_OF(p), u, STRIDE_H, DILATION_H, PAD_H, UP_H, IN_H);
#else
#define ROW_OF(p) h
#define COLUMN_OF(p) w + p
#define LINE(p, near, place, y) int y = row;
#endif
#define PLACE(p, near, place, y) \
    int place = y < 0 ? -1 : source(COLUMN_OF(p), v, STRIDE_W, DILATION_W, PAD_W, UP_W, IN_W);
#define KEEP(p, near, place, y) OWN(p, n, z, max(y, 0), max(place, 0))
#define FETCH(p, near, place, y) \
    vec4 near = READ(p, n, z, max(y, 0), max(place, 0), base + i); \
    if (place < 0) near = vec4(0.0);
#define MULTIPLY(near, r) r += near.x * k0 + near.y * k1 + near.z * k2 + near.w * k3;
#define COLUMN(q, CELLS) { \
    vec4 k0 = at1(0, 0, tap, c, b + q); \
    vec4 k1 = at1(0, 0, tap, c + 1, b + q); \
    vec4 k2 = at1(0, 0, tap, c + 2, b + q); \
    vec4 k3 = at1(0, 0, tap, c + 3, b + q); \
    CELLS(MULTIPLY) }
#define STORE(p, q, r, o) o = finish(r, n, d, ROW_OF(p), COLUMN_OF(p), b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    int base = first_block(b);
    EACH_CELL(ZERO)
    for (int t = 0; t < KERNEL_D; ++t) {
        int z = source(d, t, STRIDE_D, DILATION_D, PAD_D, UP_D, IN_D);
        if (z < 0) continue;
        for (int u = 0; u < KERNEL_H; ++u) {
#if !MERGED
            int row = source(h, u, STRIDE_H, DILATION_H, PAD_H, UP_H, IN_H);
            if (row < 0) continue;
#endif
            EACH_PIXEL(LINE)
            for (int v = 0; v < KERNEL_W; ++v) {
                EACH_PIXEL(PLACE)
                EACH_PIXEL(KEEP)
                int tap = (t * KERNEL_H + u) * KERNEL_W + v;
                for (int i = 0; i < IN_BLOCKS; ++i) {
                    SHARED(n, base + i)
                    EACH_PIXEL(FETCH)
                    int c = 4 * i;
                    EACH_COLUMN(COLUMN)
                }
            }
        }
    }
    EACH_CELL(STORE)
}
