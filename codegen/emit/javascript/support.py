"""Functions that emitted modules carry where they use them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

COPY = """
/** Fill y with what stands in x from start on. */
function copy(x, start, y) {
  for (let k = 0; k < y.length; k++) {
    y[k] = x[start + k];
  }
}
"""

OFFSETS = """
/** Return start plus each index times its stride, for all indices in order. */
function offsets(sizes, strides, start) {
  let table = Int32Array.of(start);
  sizes.forEach((size, axis) => {
    const longer = new Int32Array(table.length * size);
    for (let k = 0; k < longer.length; k++) {
      longer[k] = table[Math.floor(k / size)] + (k % size) * strides[axis];
    }
    table = longer;
  });
  return table;
}
"""

# A last block that isn't full begins earlier: its first columns stand twice. If there
# are fewer columns than a block has, the last one stands again instead.
PACK = """
/** Lay out the columns of matrices in blocks of width, row by row, for the kernels. */
function pack(x, rows, columns, width, count, y) {
  const size = columns.length / count;
  const blocks = Math.ceil(size / width);
  const packed = y ?? new Float32Array(count * blocks * rows.length * width);
  let k = 0;
  for (let matrix = 0; matrix < count; matrix++) {
    for (let block = 0; block < blocks; block++) {
      const first = Math.max(Math.min(block * width, size - width), 0);
      for (let row = 0; row < rows.length; row++) {
        for (let column = first; column < first + width; column++) {
          const place = matrix * size + Math.min(column, size - 1);
          packed[k++] = x[rows[row] + columns[place]];
        }
      }
    }
  }
  return packed;
}
"""

# Within create, which knows the memory and what is free there.
PLACE = """
/** Return a copy of numbers that kernels can read. */
function place(numbers) {
  const { length } = numbers;
  const placed = new Float32Array(kernels.memory.buffer, free * 4, length);
  placed.set(numbers);
  free += Math.ceil(length / 4) * 4;
  return placed;
}
"""

# Fitted to erfc(x) exp(x * x) by least squares, weighted until the largest error of erf
# was 5e-11.
ERF = """
function erf(x) {
  const size = Math.abs(x);
  const t = 1 / (1 + 0.4 * size);
  let sum = -0.0249048833089;
  sum = sum * t + 0.233916668025;
  sum = sum * t - 0.835218005957;
  sum = sum * t + 1.36926278021;
  sum = sum * t - 1.02972833727;
  sum = sum * t + 0.805061178379;
  sum = sum * t - 0.00797909563295;
  sum = sum * t + 0.267452466678;
  sum = sum * t + 0.222137228927;
  const below = 1 - sum * t * Math.exp(-size * size);
  return x < 0 ? -below : below;
}
"""

MOD = """
// The remainder has the sign of y.
function mod(x, y) {
  const rest = x % y;
  return rest !== 0 && rest < 0 !== y < 0 ? rest + y : rest;
}
"""

ROUND_EVEN = """
// Halves go to the even neighbour.
function roundEven(x) {
  const above = Math.round(x);
  return above - x === 0.5 && above % 2 !== 0 ? above - 1 : above;
}
"""

SIGMOID = """
function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}
"""

NEAREST = """
/** Return which of old elements each of size elements reads. */
function nearest(old, size) {
  const scale = size / old;
  return Int32Array.from({ length: size }, (_, k) =>
    Math.min(Math.max(Math.floor((k + 0.5) / scale), 0), old - 1),
  );
}
"""

# Of the taps that the kernel's radius covers, those count that weigh most are kept: the
# compiler counted those that aren't zero everywhere.
TAPS = """
/** Return which of old elements each of size elements reads, and their weights. */
function taps(kernel, radius, old, size, antialias, count) {
  const scale = size / old;
  const reach = radius * (antialias ? Math.max(1 / scale, 1) : 1);
  const rows = Array.from({ length: size }, (_, k) => {
    const centre = (k + 0.5) / scale - 0.5;
    const start = Math.ceil(centre - reach);
    const weights = Array.from({ length: Math.floor(2 * reach) + 1 }, (_, tap) => {
      const inside = start + tap >= 0 && start + tap < old;
      return inside ? kernel((Math.abs(start + tap - centre) * radius) / reach) : 0;
    });
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { start, weights: weights.map((weight) => weight / total) };
  });
  const sizes = rows[0].weights.map((_, tap) =>
    rows.reduce((sum, { weights }) => sum + Math.abs(weights[tap]), 0),
  );
  const kept = [...sizes.keys()].sort((a, b) => sizes[b] - sizes[a]).slice(0, count);
  const index = new Int32Array(size * count);
  const weight = new Float64Array(size * count);
  rows.forEach(({ start, weights }, k) => {
    kept.forEach((tap, column) => {
      index[k * count + column] = Math.min(Math.max(start + tap, 0), old - 1);
      weight[k * count + column] = weights[tap];
    });
  });
  return { index, weight };
}
"""

BILINEAR = """
function bilinear(x) {
  return Math.max(1 - x, 0);
}
"""

BICUBIC = """
// R. G. Keys' cubic convolution kernel with a = -1/2.
function bicubic(x) {
  if (x >= 1) {
    return x >= 2 ? 0 : ((-0.5 * x + 2.5) * x - 4) * x + 2;
  }
  return (1.5 * x - 2.5) * x * x + 1;
}
"""

SINC = """
function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}
"""

LANCZOS_3 = """
function lanczos3(x) {
  return x < 3 ? sinc(x) * sinc(x / 3) : 0;
}
"""

LANCZOS_5 = """
function lanczos5(x) {
  return x < 5 ? sinc(x) * sinc(x / 5) : 0;
}
"""

# In the order in which they are written.
_TEXTS: Mapping[str, str] = {
    "copy": COPY,
    "offsets": OFFSETS,
    "pack": PACK,
    "erf": ERF,
    "mod": MOD,
    "roundEven": ROUND_EVEN,
    "sigmoid": SIGMOID,
    "nearest": NEAREST,
    "taps": TAPS,
    "bilinear": BILINEAR,
    "bicubic": BICUBIC,
    "sinc": SINC,
    "lanczos3": LANCZOS_3,
    "lanczos5": LANCZOS_5,
}


def support(used: Iterable[str]) -> list[str]:
    """Return the texts of the functions *used*, each once."""
    wanted = set(used)
    if wanted & {"lanczos3", "lanczos5"}:
        wanted.add("sinc")
    return [text.strip() for name, text in _TEXTS.items() if name in wanted]
