// Interpolation along the spatial axes, pixel centres at halves.
//
//   y[i] = finish(sum over t of weight(t) * x[t] / sum of weight(t))
//
// The taps of an output lie within RADIUS * WIDEN of (i + 1/2) * IN / OUT - 1/2; those
// outside x are dropped. CURVE is the kernel: nearest 0, linear 1, Keys' cubic 2,
// Lanczos 3 and 5.

float curve(float x) {
    x = abs(x);
#if CURVE == 1
    return max(1.0 - x, 0.0);
#elif CURVE == 2
    if (x >= 2.0) return 0.0;
    if (x >= 1.0) return ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0;
    return (1.5 * x - 2.5) * x * x + 1.0;
#else
    const float PI = 3.14159265358979;
    float a = float(CURVE);
    if (x >= a) return 0.0;
    if (x < 1e-4) return 1.0;
    return a * sin(PI * x) * sin(PI * x / a) / (PI * PI * x * x);
#endif
}

#if CURVE == 0
vec4 value(int n, int d, int h, int w, int b) {
    return at0(n, (2 * d + 1) * IN_D / (2 * OUT_D), (2 * h + 1) * IN_H / (2 * OUT_H),
               (2 * w + 1) * IN_W / (2 * OUT_W), b);
}
#else
// The centre as whole + fraction, exactly: floats would lose it for long axes.
void centre(int i, int size, int count, out int whole, out float fraction) {
    int twice = (2 * i + 1) * size - count;
    whole = twice >= 0 ? twice / (2 * count) : -((-twice + 2 * count - 1) / (2 * count));
    fraction = float(twice - whole * 2 * count) / float(2 * count);
}

vec4 value(int n, int d, int h, int w, int b) {
    int z0, y0, x0;
    float fz, fy, fx;
    centre(d, IN_D, OUT_D, z0, fz);
    centre(h, IN_H, OUT_H, y0, fy);
    centre(w, IN_W, OUT_W, x0, fx);
    vec4 total = vec4(0.0);
    float norm = 0.0;
    for (int t = -REACH_D; t <= REACH_D + 1; ++t) {
        int z = z0 + t;
        float p = IN_D == OUT_D ? (t == 0 ? 1.0 : 0.0) : curve((float(t) - fz) / WIDEN_D);
        if (z < 0 || z >= IN_D || p == 0.0) continue;
        for (int u = -REACH_H; u <= REACH_H + 1; ++u) {
            int y = y0 + u;
            float q = IN_H == OUT_H ? (u == 0 ? 1.0 : 0.0) : curve((float(u) - fy) / WIDEN_H);
            if (y < 0 || y >= IN_H || q == 0.0) continue;
            for (int v = -REACH_W; v <= REACH_W + 1; ++v) {
                int s = x0 + v;
                float r = IN_W == OUT_W ? (v == 0 ? 1.0 : 0.0) : curve((float(v) - fx) / WIDEN_W);
                if (s < 0 || s >= IN_W || r == 0.0) continue;
                total += p * q * r * at0(n, z, y, s, b);
                norm += p * q * r;
            }
        }
    }
    return total / norm;
}
#endif
