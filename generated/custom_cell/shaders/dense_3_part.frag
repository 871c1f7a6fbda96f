// dense_3_part: dense_3 (Dense), (1, 5) -> (5)
precision highp float;
precision highp int;
precision highp sampler2DArray;

uniform int sizes[2];
#define AT0_W_OFFSET sizes[0]
#define WHOLE_BLOCKS sizes[1]

// One lane of a texel.
float pick(vec4 t, int lane) {
    return lane == 0 ? t.x : lane == 1 ? t.y : lane == 2 ? t.z : t.w;
}


uniform sampler2DArray t0;
const int first = 0;
layout(location = 0) out vec4 o0;
#define EACH_BLOCK(F) F(0, r0, o0)

vec4 at0(int n, int d, int h, int w, int b) {
    return texelFetch(t0, ivec3(b, 0, (w + AT0_W_OFFSET)), 0);
}

void locate(out int n, out int d, out int h, out int w, out int b) {
    ivec2 p = ivec2(gl_FragCoord.xy);
    n = 0;
    d = 0;
    h = 0;
    w = 0;
    b = p.x;
}

vec4 finish(vec4 r, int n, int d, int h, int w, int b) {
    return b < WHOLE_BLOCKS ? r : vec4(r.x, 0.0, 0.0, 0.0);
}


float element(int n, int d, int h, int w, int c) {
    int k = (((d) * 1 + h) * 1 + w) * 5 + c;
    return pick(at0(n, k / 5, k / 5 % 1, k / 5 % 1, k % 5 / 4), k % 5 % 4);
}

vec4 value(int n, int d, int h, int w, int b) {
    int c = 4 * b;
    return vec4(element(n, d, h, w, c), element(n, d, h, w, c + 1),
                element(n, d, h, w, c + 2), element(n, d, h, w, c + 3));
}

// The main function of kernels that compute one block at a time with value().

#define STORE(q, r, o) o = finish(value(n, d, h, w, b + q), n, d, h, w, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    EACH_BLOCK(STORE)
}
