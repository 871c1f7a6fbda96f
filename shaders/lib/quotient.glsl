// a / b of whole numbers 0 <= a < 2^20: the half keeps the quotient of floats, which may
// be wrong by 3 units in the last place, from whole numbers. Software rasterisers divide
// integers lane by lane.
int quotient(int a, int b) {
    return int((float(a) + 0.5) / float(b));
}
