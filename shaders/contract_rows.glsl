// A batch of matrix products of two computed tensors, PIXELS rows for each fragment:
// they share what it fetches of m.
//
//   y[p, i, j] = finish(sum over k of a[p, i, k] * m[p, k, j])      ACROSS 0
//   y[p, i, j] = finish(sum over k of a[p, i, k] * m[p, j, k])      ACROSS 1
//
// One fragment computes BLOCKS blocks of four columns, each in its own draw buffer.
// READ reads a through at0, or computes it: OWN and SHARED fetch what that needs.

#define ZERO(p, q, r, o) vec4 r = vec4(0.0);
#define KEEP(p, near, place, y) OWN(p, n, 0, h, min(w + p, ROWS - 1))
#define FETCH(p, near, place, y) vec4 near = READ(p, n, 0, h, min(w + p, ROWS - 1), i);
#if ACROSS
#define MULTIPLY(near, r) r += vec4(dot(near, k0), dot(near, k1), dot(near, k2), dot(near, k3));
#define COLUMN(q, CELLS) { \
    int j = 4 * (b + q); \
    vec4 k0 = at1(n, 0, h, j, i); \
    vec4 k1 = at1(n, 0, h, j + 1, i); \
    vec4 k2 = at1(n, 0, h, j + 2, i); \
    vec4 k3 = at1(n, 0, h, j + 3, i); \
    CELLS(MULTIPLY) }
#else
// Past the end of k the lanes of a are zero, but what lies there in m may be anything.
#define MULTIPLY(near, r) r += near.x * k0 + near.y * k1 + near.z * k2 + near.w * k3;
#define COLUMN(q, CELLS) { \
    int k = 4 * i; \
    vec4 k0 = at1(n, 0, h, k, b + q); \
    vec4 k1 = k + 1 < DEPTH ? at1(n, 0, h, k + 1, b + q) : vec4(0.0); \
    vec4 k2 = k + 2 < DEPTH ? at1(n, 0, h, k + 2, b + q) : vec4(0.0); \
    vec4 k3 = k + 3 < DEPTH ? at1(n, 0, h, k + 3, b + q) : vec4(0.0); \
    CELLS(MULTIPLY) }
#endif
#define STORE(p, q, r, o) o = finish(r, n, d, h, w + p, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    EACH_CELL(ZERO)
    EACH_PIXEL(KEEP)
    for (int i = 0; i < IN_BLOCKS; ++i) {
        SHARED(n, i)
        EACH_PIXEL(FETCH)
        EACH_COLUMN(COLUMN)
    }
    EACH_CELL(STORE)
}
