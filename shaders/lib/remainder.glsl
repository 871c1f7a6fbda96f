// a % b of whole numbers 0 <= a < 2^20: see quotient().
int remainder(int a, int b) {
    return a - int((float(a) + 0.5) / float(b)) * b;
}
