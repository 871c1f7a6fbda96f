// One lane of a texel.
float pick(vec4 t, int lane) {
    return lane == 0 ? t.x : lane == 1 ? t.y : lane == 2 ? t.z : t.w;
}
