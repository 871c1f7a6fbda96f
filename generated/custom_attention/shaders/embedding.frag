// embedding: embedding (Embedding), (6) -> (6, 8)
precision highp float;
precision highp int;
precision highp sampler2DArray;


// One lane of a texel.
float pick(vec4 t, int lane) {
    return lane == 0 ? t.x : lane == 1 ? t.y : lane == 2 ? t.z : t.w;
}


uniform sampler2DArray t0;
uniform sampler2DArray t1;
const int first = 0;
layout(location = 0) out vec4 o0;
#define EACH_BLOCK(F) F(0, r0, o0)

vec4 at0(int n, int d, int h, int w, int b) {
    return texelFetch(t0, ivec3(w, 0, b), 0);
}

vec4 at1(int n, int d, int h, int w, int b) {
    return texelFetch(t1, ivec3(b, 0, 0), 0);
}

void locate(out int n, out int d, out int h, out int w, out int b) {
    ivec2 p = ivec2(gl_FragCoord.xy);
    n = 0;
    d = 0;
    h = 0;
    w = p.y;
    b = p.x;
}

vec4 finish(vec4 r, int n, int d, int h, int w, int b) {
    return r;
}


vec4 value(int n, int d, int h, int w, int b) {
    int k = clamp(int(floor(pick(at1(n, 0, 0, 0, w / 4), w % 4) + 0.5)), 0, 11);
    return at0(0, 0, 0, k, b);
}

// The main function of kernels that compute one block at a time with value().

#define STORE(q, r, o) o = finish(value(n, d, h, w, b + q), n, d, h, w, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    EACH_BLOCK(STORE)
}
