// recurrent: RNN: [6, 3] -> [6, 10]
// recurrent_2_recurrent: RNN: [10], [10] -> [10]
// recurrent_2_recurrent_3: RNN: [5], [5, 5] -> [5]; recurrent_2_recurrent_6 too
// recurrent_2_recurrent_4: RNN: [5], [5] -> [5]
// dense_3: Dense: [1, 5] -> [2]

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

// RNN: [10] -> [5]
function recurrent_2_recurrent_2(x, y) {
  for (let i = 0; i < 5; i++) {
    y[i] = x[i];
  }
}

// RNN: [5], [5, 5] -> [5]
function recurrent_2_recurrent_3_rest(x, x2) {
  for (let i = 0; i < 5; i++) {
    x[i] = sigmoid((x2[i] + x[i]));
  }
}

// RNN: [10] -> [5]
function recurrent_2_recurrent_5(x, y) {
  for (let i = 0; i < 5; i++) {
    y[i] = x[5 + i];
  }
}

// RNN: [5], [5, 5] -> [5]
function recurrent_2_recurrent_6_rest(x, x2, x3, x4) {
  for (let i = 0; i < 5; i++) {
    const t0 = x3[i];
    x[i] = ((1 - t0) * x4[i]) + (t0 * Math.tanh((x2[i] + x[i])));
  }
}

// RNN: [6, 5] -> [1, 5]
function recurrent_3(x, y) {
  for (let i = 0; i < 5; i++) {
    y[i] = x[25 + i];
  }
}

/**
 * Return the model whose constants are *tensors*: typed arrays by name. What it
 * computes lies in the memory of *kernels*, the exports of cpu.wasm.
 */
export function create(tensors, kernels) {
  const arena = new Float32Array(kernels.memory.buffer, 0, 145);
  let free = 148;
  /** Return a copy of numbers that kernels can read. */
  function place(numbers) {
    const { length } = numbers;
    const placed = new Float32Array(kernels.memory.buffer, free * 4, length);
    placed.set(numbers);
    free += Math.ceil(length / 4) * 4;
    return placed;
  }
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
  const recurrent_matrix = place(pack(recurrent_cell_kernel, offsets([3], [10], 0), offsets([10], [1], 0), 4, 1));
  const constant = tensors["constant"];
  const recurrent_cell_bias = tensors["recurrent_cell_bias"];
  const recurrent_2_recurrent_extra = place(recurrent_cell_bias);
  const recurrent_cell_recurrent_kernel = tensors["recurrent_cell_recurrent_kernel"];
  const recurrent_2_recurrent_3_matrix = place(pack(recurrent_cell_recurrent_kernel, offsets([5], [5], 0), offsets([5], [1], 0), 4, 1));
  const recurrent_cell_recurrent_kernel_2 = tensors["recurrent_cell_recurrent_kernel_2"];
  const recurrent_2_recurrent_6_matrix = place(pack(recurrent_cell_recurrent_kernel_2, offsets([5], [5], 0), offsets([5], [1], 0), 4, 1));
  const dense_3_kernel = tensors["dense_3_kernel"];
  const dense_3_matrix = place(pack(dense_3_kernel, offsets([5], [2], 0), offsets([2], [1], 0), 4, 1));
  const dense_3_bias = tensors["dense_3_bias"];
  const dense_3_extra = place(dense_3_bias);

  // RNN: [6, 10] -> [6, 5], [5]
  function recurrent_2() {
    recurrent_2_state.set(constant);
    for (let step = 0; step < 6; step++) {
      copy(after_recurrent, step * 10, recurrent_2_x_layer);
      kernels.recurrent_2_recurrent(after_recurrent_2_recurrent.byteOffset, recurrent_2_x_layer.byteOffset, recurrent_2_recurrent_extra.byteOffset);
      recurrent_2_recurrent_2(after_recurrent_2_recurrent, after_recurrent_2_recurrent_2);
      kernels.recurrent_2_recurrent_3(recurrent_2_state.byteOffset, recurrent_2_recurrent_3_matrix.byteOffset, after_recurrent_2_recurrent_3.byteOffset);
      recurrent_2_recurrent_3_rest(after_recurrent_2_recurrent_3, after_recurrent_2_recurrent_2);
      kernels.recurrent_2_recurrent_4(after_recurrent_2_recurrent_4.byteOffset, after_recurrent_2_recurrent_3.byteOffset, recurrent_2_state.byteOffset);
      recurrent_2_recurrent_5(after_recurrent_2_recurrent, after_recurrent_2_recurrent_5);
      kernels.recurrent_2_recurrent_3(after_recurrent_2_recurrent_4.byteOffset, recurrent_2_recurrent_6_matrix.byteOffset, after_recurrent_2_recurrent_6.byteOffset);
      recurrent_2_recurrent_6_rest(after_recurrent_2_recurrent_6, after_recurrent_2_recurrent_5, after_recurrent_2_recurrent_3, recurrent_2_state);
      after_recurrent_2.set(after_recurrent_2_recurrent_6, step * 5);
      recurrent_2_state.set(after_recurrent_2_recurrent_6);
    }
  }

  function forward(tap) {
    kernels.recurrent(steps.byteOffset, recurrent_matrix.byteOffset, after_recurrent.byteOffset);
    tap?.("recurrent", [1, 6, 10], after_recurrent);
    recurrent_2();
    tap?.("recurrent_2", [1, 6, 5], after_recurrent_2);
    tap?.("recurrent_2[1]", [1, 5], recurrent_2_state);
    recurrent_3(after_recurrent_2, after_recurrent_3);
    tap?.("recurrent_3", [1, 1, 5], after_recurrent_3);
    kernels.dense_3(after_recurrent_3.byteOffset, dense_3_matrix.byteOffset, after_dense_3.byteOffset, dense_3_extra.byteOffset);
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
