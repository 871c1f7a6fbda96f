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

function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

// Sum 1 rows by 2 columns.
function tile1x2(x, a0, count, step, run, matrix, start, sums) {
  let w = start;
  let s00 = 0;
  let s01 = 0;
  for (let u = 0; u < count; u++) {
    const end = u * step + run;
    for (let k = u * step; k < end; k++) {
      const w0 = matrix[w];
      const w1 = matrix[w + 1];
      w += 2;
      const v0 = x[a0 + k];
      s00 += v0 * w0;
      s01 += v0 * w1;
    }
  }
  sums[0] = s00;
  sums[1] = s01;
}

// Sum 1 rows by 5 columns.
function tile1x5(x, a0, count, step, run, matrix, start, sums) {
  let w = start;
  let s00 = 0;
  let s01 = 0;
  let s02 = 0;
  let s03 = 0;
  let s04 = 0;
  for (let u = 0; u < count; u++) {
    const end = u * step + run;
    for (let k = u * step; k < end; k++) {
      const w0 = matrix[w];
      const w1 = matrix[w + 1];
      const w2 = matrix[w + 2];
      const w3 = matrix[w + 3];
      const w4 = matrix[w + 4];
      w += 5;
      const v0 = x[a0 + k];
      s00 += v0 * w0;
      s01 += v0 * w1;
      s02 += v0 * w2;
      s03 += v0 * w3;
      s04 += v0 * w4;
    }
  }
  sums[0] = s00;
  sums[1] = s01;
  sums[2] = s02;
  sums[3] = s03;
  sums[4] = s04;
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

// RNN: [6, 3] -> [6, 10]
function recurrent(x, matrix, y, sums) {
  for (let block = 0, begin = 0; block < 10; block += 4, begin += 12) {
    const o = Math.min(block, 6);
    for (let p = 0; p < 6; p += 3) {
      const a0 = p * 3;
      const a1 = (p + 1) * 3;
      const a2 = (p + 2) * 3;
      let w = begin;
      tile3x4(x, a0, a1, a2, 1, 0, 3, matrix, w, sums);
      for (let r = 0; r < 3; r++) {
        const b = (p + r) * 10 + o;
        y[b] = sums[r * 4];
        y[b + 1] = sums[r * 4 + 1];
        y[b + 2] = sums[r * 4 + 2];
        y[b + 3] = sums[r * 4 + 3];
      }
    }
  }
}

// RNN: [10], [10] -> [10]
function recurrent_2_recurrent(x, x2, y) {
  for (let i = 0; i < 10; i++) {
    y[i] = x[i] + x2[i];
  }
}

// RNN: [10] -> [5]
function recurrent_2_recurrent_2(x, y) {
  for (let i = 0; i < 5; i++) {
    y[i] = x[i];
  }
}

// RNN: [5], [5, 5] -> [5]
function recurrent_2_recurrent_3(x, matrix, y, sums, extra) {
  const o = 0;
  const p = 0;
  const a0 = 0;
  let w = 0;
  tile1x5(x, a0, 1, 0, 5, matrix, w, sums);
  const b = p * 5 + o;
  y[b] = sums[0];
  y[b + 1] = sums[1];
  y[b + 2] = sums[2];
  y[b + 3] = sums[3];
  y[b + 4] = sums[4];
  for (let i = 0; i < 5; i++) {
    y[i] = sigmoid((extra[i] + y[i]));
  }
}

// RNN: [5], [5] -> [5]
function recurrent_2_recurrent_4(x, x2, y) {
  for (let i = 0; i < 5; i++) {
    y[i] = x[i] * x2[i];
  }
}

// RNN: [10] -> [5]
function recurrent_2_recurrent_5(x, y) {
  for (let i = 0; i < 5; i++) {
    y[i] = x[5 + i];
  }
}

// RNN: [5], [5, 5] -> [5]
function recurrent_2_recurrent_6(x, matrix, y, sums, extra, extra2, extra3) {
  const o = 0;
  const p = 0;
  const a0 = 0;
  let w = 0;
  tile1x5(x, a0, 1, 0, 5, matrix, w, sums);
  const b = p * 5 + o;
  y[b] = sums[0];
  y[b + 1] = sums[1];
  y[b + 2] = sums[2];
  y[b + 3] = sums[3];
  y[b + 4] = sums[4];
  for (let i = 0; i < 5; i++) {
    const t0 = extra2[i];
    y[i] = ((1 - t0) * extra3[i]) + (t0 * Math.tanh((extra[i] + y[i])));
  }
}

// RNN: [6, 5] -> [1, 5]
function recurrent_3(x, y) {
  for (let i = 0; i < 5; i++) {
    y[i] = x[25 + i];
  }
}

// Dense: [1, 5] -> [2]
function dense_3(x, matrix, y, extra, sums) {
  const o = 0;
  const p = 0;
  const a0 = 0;
  let w = 0;
  tile1x2(x, a0, 1, 0, 5, matrix, w, sums);
  const b = p * 2 + o;
  y[b] = sums[0] + extra[b];
  y[b + 1] = sums[1] + extra[b + 1];
}

/** Return the model whose constants are *tensors*: typed arrays by name. */
export function create(tensors) {
  const arena = new Float32Array(145);
  const steps = arena.subarray(60, 78);
  const after_recurrent = arena.subarray(0, 60);
  const recurrent_2_x_layer = arena.subarray(92, 102);
  const recurrent_2_state = arena.subarray(116, 121);
  const after_recurrent_2 = arena.subarray(60, 90);
  const after_recurrent_2_recurrent = arena.subarray(104, 114);
  const after_recurrent_2_recurrent_2 = arena.subarray(124, 129);
  const after_recurrent_2_recurrent_3 = arena.subarray(132, 137);
  const after_recurrent_2_recurrent_4 = arena.subarray(124, 129);
  const after_recurrent_2_recurrent_5 = arena.subarray(140, 145);
  const after_recurrent_2_recurrent_6 = arena.subarray(104, 109);
  const after_recurrent_3 = arena.subarray(0, 5);
  const after_dense_3 = arena.subarray(8, 10);
  const recurrent_cell_kernel = tensors["recurrent_cell_kernel"];
  const recurrent_matrix = pack(recurrent_cell_kernel, offsets([3], [10], 0), offsets([10], [1], 0), 4, 1);
  const sums = new Float64Array(16);
  const constant = tensors["constant"];
  const recurrent_cell_bias = tensors["recurrent_cell_bias"];
  const recurrent_cell_recurrent_kernel = tensors["recurrent_cell_recurrent_kernel"];
  const recurrent_2_recurrent_3_matrix = pack(recurrent_cell_recurrent_kernel, offsets([5], [5], 0), offsets([5], [1], 0), 5, 1);
  const recurrent_cell_recurrent_kernel_2 = tensors["recurrent_cell_recurrent_kernel_2"];
  const recurrent_2_recurrent_6_matrix = pack(recurrent_cell_recurrent_kernel_2, offsets([5], [5], 0), offsets([5], [1], 0), 5, 1);
  const dense_3_kernel = tensors["dense_3_kernel"];
  const dense_3_matrix = pack(dense_3_kernel, offsets([5], [2], 0), offsets([2], [1], 0), 2, 1);
  const dense_3_bias = tensors["dense_3_bias"];

  // RNN: [6, 10] -> [6, 5], [5]
  function recurrent_2() {
    recurrent_2_state.set(constant);
    for (let step = 0; step < 6; step++) {
      copy(after_recurrent, step * 10, recurrent_2_x_layer);
      recurrent_2_recurrent(recurrent_2_x_layer, recurrent_cell_bias, after_recurrent_2_recurrent);
      recurrent_2_recurrent_2(after_recurrent_2_recurrent, after_recurrent_2_recurrent_2);
      recurrent_2_recurrent_3(recurrent_2_state, recurrent_2_recurrent_3_matrix, after_recurrent_2_recurrent_3, sums, after_recurrent_2_recurrent_2);
      recurrent_2_recurrent_4(after_recurrent_2_recurrent_3, recurrent_2_state, after_recurrent_2_recurrent_4);
      recurrent_2_recurrent_5(after_recurrent_2_recurrent, after_recurrent_2_recurrent_5);
      recurrent_2_recurrent_6(after_recurrent_2_recurrent_4, recurrent_2_recurrent_6_matrix, after_recurrent_2_recurrent_6, sums, after_recurrent_2_recurrent_5, after_recurrent_2_recurrent_3, recurrent_2_state);
      after_recurrent_2.set(after_recurrent_2_recurrent_6, step * 5);
      recurrent_2_state.set(after_recurrent_2_recurrent_6);
    }
  }

  function forward(tap) {
    recurrent(steps, recurrent_matrix, after_recurrent, sums);
    tap?.("recurrent", [1, 6, 10], after_recurrent);
    recurrent_2();
    tap?.("recurrent_2", [1, 6, 5], after_recurrent_2);
    tap?.("recurrent_2[1]", [1, 5], recurrent_2_state);
    recurrent_3(after_recurrent_2, after_recurrent_3);
    tap?.("recurrent_3", [1, 1, 5], after_recurrent_3);
    dense_3(after_recurrent_3, dense_3_matrix, after_dense_3, dense_3_bias, sums);
    tap?.("dense_3", [1, 2], after_dense_3);
  }

  return {
    run(inputs, n) {
      const outputs = [new Float32Array(n * 2)];
      for (let sample = 0; sample < n; sample++) {
        copy(inputs[0], sample * 18, steps);
        forward();
        outputs[0].set(after_dense_3, sample * 2);
      }
      return outputs;
    },
    stages(inputs) {
      const results = [];
      copy(inputs[0], 0, steps);
      forward((name, shape, data) => {
        results.push([name, shape, Float32Array.from(data)]);
      });
      return results;
    },
  };
}
