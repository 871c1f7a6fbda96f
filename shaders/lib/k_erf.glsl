// The error function: its Maclaurin series below 1, Abramowitz and Stegun 7.1.28 with
// exp above. Good to about 1e-7.
vec4 k_erf(vec4 x) {
    vec4 a = abs(x);
    vec4 s = min(a * a, 1.0);
    vec4 near = 1.1283792 * x * (1.0 + s * (-0.33333333 + s * (0.1 + s * (-0.023809524
        + s * (0.0046296296 + s * (-0.00075757576 + s * (0.00010683761
        + s * (-1.3227513e-05 + s * (1.4589169e-06 + s * -1.4503852e-07)))))))));
    vec4 t = 1.0 / (1.0 + 0.5 * a);
    vec4 tail = t * exp(-a * a - 1.26551223 + t * (1.00002368 + t * (0.37409196
        + t * (0.09678418 + t * (-0.18628806 + t * (0.27886807 + t * (-1.13520398
        + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277)))))))));
    return mix(sign(x) * (1.0 - tail), near, vec4(lessThan(a, vec4(1.0))));
}
