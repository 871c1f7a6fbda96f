// dense: Dense + Lambda: [8] -> [6]
// dense_1: Dense: [6] -> [3]

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

// Dense + Lambda: [8] -> [6]
function dense_rest(x, x2) {
  for (let i = 0; i < 6; i++) {
    x[i] = Math.tanh((x[i] + x2[i])) * 1.5;
  }
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

/**
 * Return the model whose constants are *tensors*: typed arrays by name. What it
 * computes lies in the memory of *kernels*, the exports of cpu.wasm.
 */
export function create(tensors, kernels) {
  const arena = new Float32Array(kernels.memory.buffer, 0, 14);
  let free = 16;
  /** Return a copy of numbers that kernels can read. */
  function place(numbers) {
    const { length } = numbers;
    const placed = new Float32Array(kernels.memory.buffer, free * 4, length);
    placed.set(numbers);
    free += Math.ceil(length / 4) * 4;
    return placed;
  }
  const features = arena.subarray(0, 8);
  const after_dense = arena.subarray(8, 14);
  const after_dense_1 = arena.subarray(0, 3);
  const after_dense_1_2 = arena.subarray(4, 7);
  const dense_kernel = tensors["dense_kernel"];
  const dense_matrix = place(pack(dense_kernel, offsets([8], [6], 0), offsets([6], [1], 0), 4, 1));
  const dense_bias = tensors["dense_bias"];
  const dense_1_kernel = tensors["dense_1_kernel"];
  const dense_1_matrix = place(pack(dense_1_kernel, offsets([6], [3], 0), offsets([3], [1], 0), 4, 1));
  const dense_1_bias = tensors["dense_1_bias"];
  const dense_1_extra = place(dense_1_bias);

  function forward(tap) {
    kernels.dense(features.byteOffset, dense_matrix.byteOffset, after_dense.byteOffset);
    dense_rest(after_dense, dense_bias);
    tap?.("dense", [1, 6], after_dense);
    kernels.dense_1(after_dense.byteOffset, dense_1_matrix.byteOffset, after_dense_1.byteOffset, dense_1_extra.byteOffset);
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
