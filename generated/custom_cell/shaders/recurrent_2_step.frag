// recurrent_2_step: recurrent (RNN), (5) -> (5)
precision highp float;
precision highp int;
precision highp sampler2DArray;

uniform int sizes[1];
#define WHOLE_BLOCKS sizes[0]


uniform sampler2DArray t0;
const int first = 0;
uniform ivec2 origin;
layout(location = 0) out vec4 o0;
layout(location = 1) out vec4 o1;
#define EACH_BLOCK(F) F(0, r0, o0) F(1, r1, o1)

vec4 at0(int n, int d, int h, int w, int b) {
    return texelFetch(t0, ivec3(b, 0, 0), 0);
}

void locate(out int n, out int d, out int h, out int w, out int b) {
    ivec2 p = ivec2(gl_FragCoord.xy) - origin;
    n = 0;
    d = 0;
    h = 0;
    w = 0;
    b = first;
}

vec4 finish(vec4 r, int n, int d, int h, int w, int b) {
    return b < WHOLE_BLOCKS ? r : vec4(r.x, 0.0, 0.0, 0.0);
}


vec4 value(int n, int d, int h, int w, int b) {
    vec4 v0 = at0(n, 0, 0, 0, b);
    return v0;
}

// The main function of kernels that compute one block at a time with value().

#define STORE(q, r, o) o = finish(value(n, d, h, w, b + q), n, d, h, w, b + q);

void main() {
    int n, d, h, w, b;
    locate(n, d, h, w, b);
    EACH_BLOCK(STORE)
}
