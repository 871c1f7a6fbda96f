// A batch of matrix products of two computed tensors.
//
//   y[p, i, j] = finish(sum over k of a[p, i, k] * m[p, k, j])      ACROSS 0
//   y[p, i, j] = finish(sum over k of a[p, i, k] * m[p, j, k])      ACROSS 1
//
// One fragment computes a row of BLOCKS blocks of four columns. READ reads a through
// at0, or computes it: OWN and SHARED fetch what that needs.

#define ZERO(q, r, o) vec4 r = vec4(0.0);
#if ACROSS
#define ACCUMULATE(q, r, o) { \
    int j = 4 * (b + q); \
    r += vec4(dot(a, at1(n, 0, h, j, i)), dot(a, at1(n, 0, h, j + 1, i)), \
              dot(a, at1(n, 0, h, j + 2, i)), dot(a, at1(n, 0, h, j + 3, i))); }
#else
// Past the end of k the lanes of a are zero, but what lies there in m may be anything.
#define ACCUMULATE(q, r, o) { \
    int k = 4 * i; \
    r += a.x * at1(n, 0, h, k, b + q); \
    if (k + 1 < DEPTH) r += a.y * at1(n, 0, h, k + 1, b + q); \
    if (k + 2 < DEPTH) r += a.z * at1(n, 0, h, k + 2, b + q); \
    if (k + 3 < DEPTH) r += a.w * at1(n, 0, h, k + 3, b + q); }
#endif
#define STORE(q, r, o) o = finish(r, n, d, h, w, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    EACH_BLOCK(ZERO)
    OWN(0, n, 0, h, w)
    for (int i = 0; i < IN_BLOCKS; ++i) {
        SHARED(n, i)
        vec4 a = READ(0, n, 0, h, w, i);
        EACH_BLOCK(ACCUMULATE)
    }
    EACH_BLOCK(STORE)
}
