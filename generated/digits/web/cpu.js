/** Fill y with what stands in x from start on. */
function copy(x, start, y) {
  for (let k = 0; k < y.length; k++) {
    y[k] = x[start + k];
  }
}

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

// Sum 1 rows by 8 columns.
function tile1x8(x, a0, count, step, run, matrix, start, sums) {
  let w = start;
  let s00 = 0;
  let s01 = 0;
  let s02 = 0;
  let s03 = 0;
  let s04 = 0;
  let s05 = 0;
  let s06 = 0;
  let s07 = 0;
  for (let u = 0; u < count; u++) {
    const end = u * step + run;
    for (let k = u * step; k < end; k++) {
      const w0 = matrix[w];
      const w1 = matrix[w + 1];
      const w2 = matrix[w + 2];
      const w3 = matrix[w + 3];
      const w4 = matrix[w + 4];
      const w5 = matrix[w + 5];
      const w6 = matrix[w + 6];
      const w7 = matrix[w + 7];
      w += 8;
      const v0 = x[a0 + k];
      s00 += v0 * w0;
      s01 += v0 * w1;
      s02 += v0 * w2;
      s03 += v0 * w3;
      s04 += v0 * w4;
      s05 += v0 * w5;
      s06 += v0 * w6;
      s07 += v0 * w7;
    }
  }
  sums[0] = s00;
  sums[1] = s01;
  sums[2] = s02;
  sums[3] = s03;
  sums[4] = s04;
  sums[5] = s05;
  sums[6] = s06;
  sums[7] = s07;
}

// Sum 3 rows by 4 columns.
function tile3x4(x, a0, a1, a2, count, step, run, matrix, start, sums) {
  let w = start;
  let s00 = 0;
  let s01 = 0;
  let s02 = 0;
  let s03 = 0;
  let s10 = 0;
  let s11 = 0;
  let s12 = 0;
  let s13 = 0;
  let s20 = 0;
  let s21 = 0;
  let s22 = 0;
  let s23 = 0;
  for (let u = 0; u < count; u++) {
    const end = u * step + run;
    for (let k = u * step; k < end; k++) {
      const w0 = matrix[w];
      const w1 = matrix[w + 1];
      const w2 = matrix[w + 2];
      const w3 = matrix[w + 3];
      w += 4;
      const v0 = x[a0 + k];
      s00 += v0 * w0;
      s01 += v0 * w1;
      s02 += v0 * w2;
      s03 += v0 * w3;
      const v1 = x[a1 + k];
      s10 += v1 * w0;
      s11 += v1 * w1;
      s12 += v1 * w2;
      s13 += v1 * w3;
      const v2 = x[a2 + k];
      s20 += v2 * w0;
      s21 += v2 * w1;
      s22 += v2 * w2;
      s23 += v2 * w3;
    }
  }
  sums[0] = s00;
  sums[1] = s01;
  sums[2] = s02;
  sums[3] = s03;
  sums[4] = s10;
  sums[5] = s11;
  sums[6] = s12;
  sums[7] = s13;
  sums[8] = s20;
  sums[9] = s21;
  sums[10] = s22;
  sums[11] = s23;
}

// Conv2D: [28, 28, 1] -> [26, 26, 16]
function conv2d(x, y, extra, kernel, at, rows, sums) {
  for (let tile = 0; tile < 676; tile += 3) {
    const p = Math.min(tile, 673);
    const a0 = at[p];
    const a1 = at[p + 1];
    const a2 = at[p + 2];
    let next = 0;
    for (let u0 = 0; u0 < 3; u0++) {
      const q0_0 = a0 + u0 * 28;
      const q0_1 = a1 + u0 * 28;
      const q0_2 = a2 + u0 * 28;
      for (let k = 0; k < 3; k++) {
        rows[next] = x[q0_0 + k];
        rows[next + 9] = x[q0_1 + k];
        rows[next + 18] = x[q0_2 + k];
        next++;
      }
    }
    let w = 0;
    for (let o = 0; o < 16; o += 4) {
      tile3x4(rows, 0, 9, 18, 1, 0, 9, kernel, w, sums);
      const e0_0 = extra[o];
      const e0_1 = extra[o + 1];
      const e0_2 = extra[o + 2];
      const e0_3 = extra[o + 3];
      for (let r = 0; r < 3; r++) {
        const b = (p + r) * 16 + o;
        {
          const t0 = sums[r * 4] + e0_0;
          y[b] = (t0 + Math.abs(t0)) * 0.5;
        }
        {
          const t0 = sums[r * 4 + 1] + e0_1;
          y[b + 1] = (t0 + Math.abs(t0)) * 0.5;
        }
        {
          const t0 = sums[r * 4 + 2] + e0_2;
          y[b + 2] = (t0 + Math.abs(t0)) * 0.5;
        }
        {
          const t0 = sums[r * 4 + 3] + e0_3;
          y[b + 3] = (t0 + Math.abs(t0)) * 0.5;
        }
      }
      w += 36;
    }
  }
}

// Conv2D: [26, 26, 16] -> [24, 24, 16]
function conv2d_1(x, y, extra, kernel, at, sums) {
  for (let p = 0; p < 576; p += 3) {
    const a0 = at[p];
    const a1 = at[p + 1];
    const a2 = at[p + 2];
    let w = 0;
    for (let o = 0; o < 16; o += 4) {
      tile3x4(x, a0, a1, a2, 3, 416, 48, kernel, w, sums);
      const e0_0 = extra[o];
      const e0_1 = extra[o + 1];
      const e0_2 = extra[o + 2];
      const e0_3 = extra[o + 3];
      for (let r = 0; r < 3; r++) {
        const b = (p + r) * 16 + o;
        {
          const t0 = sums[r * 4] + e0_0;
          y[b] = (t0 + Math.abs(t0)) * 0.5;
        }
        {
          const t0 = sums[r * 4 + 1] + e0_1;
          y[b + 1] = (t0 + Math.abs(t0)) * 0.5;
        }
        {
          const t0 = sums[r * 4 + 2] + e0_2;
          y[b + 2] = (t0 + Math.abs(t0)) * 0.5;
        }
        {
          const t0 = sums[r * 4 + 3] + e0_3;
          y[b + 3] = (t0 + Math.abs(t0)) * 0.5;
        }
      }
      w += 576;
    }
  }
}

// MaxPooling2D: [24, 24, 16] -> [12, 12, 16]
function max_pooling2d(y, x) {
  for (let i0 = 0; i0 < 12; i0++) {
    for (let i1 = 0; i1 < 12; i1++) {
      for (let c = 0; c < 16; c++) {
        const a = i0 * 768 + i1 * 32 + c;
        let s = x[a];
        s = Math.max(s, x[a + 16]);
        s = Math.max(s, x[a + 384]);
        s = Math.max(s, x[a + 400]);
        y[i0 * 192 + i1 * 16 + c] = s;
      }
    }
  }
}

// Dense: [12, 12, 16] -> [64]
function dense(x, matrix, y, extra, sums) {
  for (let o = 0, begin = 0; o < 64; o += 8, begin += 18432) {
    const p = 0;
    const a0 = 0;
    let w = begin;
    tile1x8(x, a0, 1, 0, 2304, matrix, w, sums);
    const b = p * 64 + o;
    {
      const t0 = sums[0] + extra[b];
      y[b] = (t0 + Math.abs(t0)) * 0.5;
    }
    {
      const t0 = sums[1] + extra[b + 1];
      y[b + 1] = (t0 + Math.abs(t0)) * 0.5;
    }
    {
      const t0 = sums[2] + extra[b + 2];
      y[b + 2] = (t0 + Math.abs(t0)) * 0.5;
    }
    {
      const t0 = sums[3] + extra[b + 3];
      y[b + 3] = (t0 + Math.abs(t0)) * 0.5;
    }
    {
      const t0 = sums[4] + extra[b + 4];
      y[b + 4] = (t0 + Math.abs(t0)) * 0.5;
    }
    {
      const t0 = sums[5] + extra[b + 5];
      y[b + 5] = (t0 + Math.abs(t0)) * 0.5;
    }
    {
      const t0 = sums[6] + extra[b + 6];
      y[b + 6] = (t0 + Math.abs(t0)) * 0.5;
    }
    {
      const t0 = sums[7] + extra[b + 7];
      y[b + 7] = (t0 + Math.abs(t0)) * 0.5;
    }
  }
}

// Dense: [64] -> [10]
function dense_1(x, matrix, y, extra, sums) {
  for (let block = 0, begin = 0; block < 10; block += 8, begin += 512) {
    const o = Math.min(block, 2);
    const p = 0;
    const a0 = 0;
    let w = begin;
    tile1x8(x, a0, 1, 0, 64, matrix, w, sums);
    const b = p * 10 + o;
    y[b] = sums[0] + extra[b];
    y[b + 1] = sums[1] + extra[b + 1];
    y[b + 2] = sums[2] + extra[b + 2];
    y[b + 3] = sums[3] + extra[b + 3];
    y[b + 4] = sums[4] + extra[b + 4];
    y[b + 5] = sums[5] + extra[b + 5];
    y[b + 6] = sums[6] + extra[b + 6];
    y[b + 7] = sums[7] + extra[b + 7];
  }
}

// Dense: [10] -> [10]
function dense_1_2(x, y) {
  const a = 0;
  let most = -Infinity;
  for (let k = 0; k < 10; k++) {
    most = Math.max(most, x[a + k]);
  }
  let sum = 0;
  for (let k = 0; k < 10; k++) {
    const e = Math.exp(x[a + k] - most);
    sum += e;
    y[a + k] = e;
  }
  for (let k = 0; k < 10; k++) {
    y[a + k] /= sum;
  }
}

/** Return the model whose constants are *tensors*: typed arrays by name. */
export function create(tensors) {
  const arena = new Float32Array(20032);
  const input_layer = arena.subarray(10816, 11600);
  const after_conv2d = arena.subarray(0, 10816);
  const after_conv2d_1 = arena.subarray(10816, 20032);
  const after_max_pooling2d = arena.subarray(0, 2304);
  const after_dense = arena.subarray(2304, 2368);
  const after_dense_1 = arena.subarray(0, 10);
  const after_dense_1_2 = arena.subarray(12, 22);
  const conv2d_rows = arena.subarray(11600, 11627);
  const conv2d_bias = tensors["conv2d_bias"];
  const conv2d_kernel = tensors["conv2d_kernel"];
  const conv2d_kernel_2 = pack(conv2d_kernel, offsets([3, 3], [48, 16], 0), offsets([16], [1], 0), 4, 1);
  const conv2d_at = offsets([26, 26], [28, 1], 0);
  const sums = new Float64Array(16);
  const conv2d_1_bias = tensors["conv2d_1_bias"];
  const conv2d_1_kernel = tensors["conv2d_1_kernel"];
  const conv2d_1_kernel_2 = pack(conv2d_1_kernel, offsets([3, 3, 16], [768, 256, 16], 0), offsets([16], [1], 0), 4, 1);
  const conv2d_1_at = offsets([24, 24], [416, 16], 0);
  const dense_kernel = tensors["dense_kernel"];
  const dense_matrix = pack(dense_kernel, offsets([12, 12, 16], [12288, 1024, 64], 0), offsets([64], [1], 0), 8, 1);
  const dense_bias = tensors["dense_bias"];
  const dense_1_kernel = tensors["dense_1_kernel"];
  const dense_1_matrix = pack(dense_1_kernel, offsets([64], [10], 0), offsets([10], [1], 0), 8, 1);
  const dense_1_bias = tensors["dense_1_bias"];

  function forward(tap) {
    conv2d(input_layer, after_conv2d, conv2d_bias, conv2d_kernel_2, conv2d_at, conv2d_rows, sums);
    tap?.("conv2d", [1, 26, 26, 16], after_conv2d);
    conv2d_1(after_conv2d, after_conv2d_1, conv2d_1_bias, conv2d_1_kernel_2, conv2d_1_at, sums);
    tap?.("conv2d_1", [1, 24, 24, 16], after_conv2d_1);
    max_pooling2d(after_max_pooling2d, after_conv2d_1);
    tap?.("max_pooling2d", [1, 12, 12, 16], after_max_pooling2d);
    dense(after_max_pooling2d, dense_matrix, after_dense, dense_bias, sums);
    tap?.("dense", [1, 64], after_dense);
    dense_1(after_dense, dense_1_matrix, after_dense_1, dense_1_bias, sums);
    tap?.("dense_1", [1, 10], after_dense_1);
    dense_1_2(after_dense_1, after_dense_1_2);
    tap?.("dense_1_2", [1, 10], after_dense_1_2);
  }

  return {
    run(inputs, n) {
      const outputs = [new Float32Array(n * 10)];
      for (let sample = 0; sample < n; sample++) {
        copy(inputs[0], sample * 784, input_layer);
        forward();
        outputs[0].set(after_dense_1_2, sample * 10);
      }
      return outputs;
    },
    stages(inputs) {
      const results = [];
      copy(inputs[0], 0, input_layer);
      forward((name, shape, data) => {
        results.push([name, shape, Float32Array.from(data)]);
      });
      return results;
    },
  };
}
