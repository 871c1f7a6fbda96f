// a where c holds, else b; never a mixture, so that NaN stays on its side.
vec4 k_where(vec4 c, vec4 a, vec4 b) {
    return vec4(c.x != 0.0 ? a.x : b.x, c.y != 0.0 ? a.y : b.y,
                c.z != 0.0 ? a.z : b.z, c.w != 0.0 ? a.w : b.w);
}
