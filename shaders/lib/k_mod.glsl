// x modulo y with the sign of y, as NumPy's; mod() is unreliable on some drivers.
vec4 k_mod(vec4 x, vec4 y) {
    return x - y * floor(x / y);
}
