"""Keras' operations that can't be compiled, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping

REASONS: Mapping[str, tuple[str, ...]] = {
    "computes a new size from the data, which programs for fixed sizes can't have": (
        *("Bincount", "CTCDecode", "Histogram", "Nonzero", "Unique"),
    ),
    "works across the samples of a batch, which Keramos keeps apart": (
        *("AllClose", "Corrcoef", "Correlate", "Diag", "Diagflat", "Flipud", "Kron"),
        *("Meshgrid", "Outer", "Scatter", "ScatterUpdate", "SegmentMax", "SegmentMin"),
        *("SegmentProd", "SegmentReduction", "SegmentSum", "Size", "UnravelIndex"),
        *("Vander", "Vdot", "Vsplit", "Vstack"),
    ),
    "makes a tensor that no input has a part in": (
        *("Arange", "Array", "Full", "Geomspace", "Linspace", "Logspace", "Ndim"),
    ),
    "has complex numbers, for which there are layers (STFTSpectrogram)": (
        *("FFT", "FFT2", "IFFT2", "IRFFT", "ISTFT", "Polar", "STFT"),
        *("ViewAsComplex", "ViewAsReal"),
    ),
    "decomposes matrices, or solves equations": (
        *("Cholesky", "CholeskyInverse", "Det", "Eig", "Eigh", "Inv", "JVP"),
        *("Logdet", "Lstsq", "LuFactor", "MatrixRank", "Pinv", "Qr", "SVD"),
        *("Slogdet", "Solve", "SolveTriangular"),
    ),
    "runs a function of Python, which isn't in the file": (
        *("AssociativeScan", "Cond", "ForiLoop", "Function", "Map", "Operation"),
        *("Scan", "Switch", "VectorizedMap", "WhileLoop"),
    ),
    "works on the bits of numbers, which are floats on the GPU": (
        *("BitwiseAnd", "BitwiseInvert", "BitwiseLeftShift", "BitwiseNot"),
        *("BitwiseOr", "BitwiseRightShift", "BitwiseXor", "Gcd", "Lcm", "LeftShift"),
        *("Nextafter", "RightShift", "View"),
    ),
    "measures how good a result is, which belongs to training": (
        *("BinaryCrossentropy", "CTCLoss", "CategoricalCrossentropy", "PSNR", "SSIM"),
        "SparseCategoricalCrossentropy",
    ),
    "reads images at places that are computed": (
        *("AffineTransform", "ElasticTransform", "MapCoordinates"),
        *("PerspectiveTransform", "ScaleAndTranslate"),
    ),
    "has no formula in functions that every target has": ("Erfinv", "I0"),
    "orders a number of elements that the data tell": (
        *("Argpartition", "Nanmedian", "Nanpercentile", "Nanquantile"),
    ),
    "adds up overlapping patches": ("Fold",),
    "has a kernel that isn't a layer's weight (use the layer Conv2DTranspose)": (
        "ConvTranspose",
    ),
    "rearranges axes by a pattern": ("Rearrange",),
}
UNSUPPORTED: Mapping[str, str] = {
    name: reason for reason, names in REASONS.items() for name in names
}
