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

// Sum 1 rows by 3 columns.
function tile1x3(x, a0, count, step, run, matrix, start, sums) {
  let w = start;
  let s00 = 0;
  let s01 = 0;
  let s02 = 0;
  for (let u = 0; u < count; u++) {
    const end = u * step + run;
    for (let k = u * step; k < end; k++) {
      const w0 = matrix[w];
      const w1 = matrix[w + 1];
      const w2 = matrix[w + 2];
      w += 3;
      const v0 = x[a0 + k];
      s00 += v0 * w0;
      s01 += v0 * w1;
      s02 += v0 * w2;
    }
  }
  sums[0] = s00;
  sums[1] = s01;
  sums[2] = s02;
}

// Sum 1 rows by 6 columns.
function tile1x6(x, a0, count, step, run, matrix, start, sums) {
  let w = start;
  let s00 = 0;
  let s01 = 0;
  let s02 = 0;
  let s03 = 0;
  let s04 = 0;
  let s05 = 0;
  for (let u = 0; u < count; u++) {
    const end = u * step + run;
    for (let k = u * step; k < end; k++) {
      const w0 = matrix[w];
      const w1 = matrix[w + 1];
      const w2 = matrix[w + 2];
      const w3 = matrix[w + 3];
      const w4 = matrix[w + 4];
      const w5 = matrix[w + 5];
      w += 6;
      const v0 = x[a0 + k];
      s00 += v0 * w0;
      s01 += v0 * w1;
      s02 += v0 * w2;
      s03 += v0 * w3;
      s04 += v0 * w4;
      s05 += v0 * w5;
    }
  }
  sums[0] = s00;
  sums[1] = s01;
  sums[2] = s02;
  sums[3] = s03;
  sums[4] = s04;
  sums[5] = s05;
}

// Dense + Lambda: [8] -> [6]
function dense(x, matrix, y, sums, extra) {
  const o = 0;
  const p = 0;
  const a0 = 0;
  let w = 0;
  tile1x6(x, a0, 1, 0, 8, matrix, w, sums);
  const b = p * 6 + o;
  y[b] = sums[0];
  y[b + 1] = sums[1];
  y[b + 2] = sums[2];
  y[b + 3] = sums[3];
  y[b + 4] = sums[4];
  y[b + 5] = sums[5];
  for (let i = 0; i < 6; i++) {
    y[i] = Math.tanh((y[i] + extra[i])) * 1.5;
  }
}

// Dense: [6] -> [3]
function dense_1(x, matrix, y, extra, sums) {
  const o = 0;
  const p = 0;
  const a0 = 0;
  let w = 0;
  tile1x3(x, a0, 1, 0, 6, matrix, w, sums);
  const b = p * 3 + o;
  y[b] = sums[0] + extra[b];
  y[b + 1] = sums[1] + extra[b + 1];
  y[b + 2] = sums[2] + extra[b + 2];
}

// Dense: [3] -> [3]
function dense_1_2(x, y) {
  const a = 0;
  let most = -Infinity;
  for (let k = 0; k < 3; k++) {
    most = Math.max(most, x[a + k]);
  }
  let sum = 0;
  for (let k = 0; k < 3; k++) {
    const e = Math.exp(x[a + k] - most);
    sum += e;
    y[a + k] = e;
  }
  for (let k = 0; k < 3; k++) {
    y[a + k] /= sum;
  }
}

/** Return the model whose constants are *tensors*: typed arrays by name. */
export function create(tensors) {
  const arena = new Float32Array(14);
  const features = arena.subarray(0, 8);
  const after_dense = arena.subarray(8, 14);
  const after_dense_1 = arena.subarray(0, 3);
  const after_dense_1_2 = arena.subarray(4, 7);
  const dense_kernel = tensors["dense_kernel"];
  const dense_matrix = pack(dense_kernel, offsets([8], [6], 0), offsets([6], [1], 0), 6, 1);
  const sums = new Float64Array(16);
  const dense_bias = tensors["dense_bias"];
  const dense_1_kernel = tensors["dense_1_kernel"];
  const dense_1_matrix = pack(dense_1_kernel, offsets([6], [3], 0), offsets([3], [1], 0), 3, 1);
  const dense_1_bias = tensors["dense_1_bias"];

  function forward(tap) {
    dense(features, dense_matrix, after_dense, sums, dense_bias);
    tap?.("dense", [1, 6], after_dense);
    dense_1(after_dense, dense_1_matrix, after_dense_1, dense_1_bias, sums);
    tap?.("dense_1", [1, 3], after_dense_1);
    dense_1_2(after_dense_1, after_dense_1_2);
    tap?.("dense_1_2", [1, 3], after_dense_1_2);
  }

  return {
    run(inputs, n) {
      const outputs = [new Float32Array(n * 3)];
      for (let sample = 0; sample < n; sample++) {
        copy(inputs[0], sample * 8, features);
        forward();
        outputs[0].set(after_dense_1_2, sample * 3);
      }
      return outputs;
    },
    stages(inputs) {
      const results = [];
      copy(inputs[0], 0, features);
      forward((name, shape, data) => {
        results.push([name, shape, Float32Array.from(data)]);
      });
      return results;
    },
  };
}
