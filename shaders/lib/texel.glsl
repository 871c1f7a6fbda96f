// The texel at p, which texelFetch() gives as well: software rasterisers take up to twice
// as long for that, since it checks each coordinate of each fragment.
vec4 texel(highp sampler2DArray t, ivec3 p) {
    vec2 unit = 1.0 / vec2(textureSize(t, 0).xy);
    return textureLod(t, vec3((vec2(p.xy) + 0.5) * unit, p.z), 0.0);
}
