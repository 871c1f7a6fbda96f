// Where tap u of the window of output i lies in x; -1 for padding and for the zeros
// between elements that a transposed convolution reads.
int source(int i, int u, int stride, int dilation, int pad, int up, int size) {
    int s = i * stride + u * dilation - pad;
    if (s < 0 || s % up != 0) return -1;
    s /= up;
    return s < size ? s : -1;
}
