// conv2d: Conv2D: [28, 28, 1] -> [26, 26, 16]
// conv2d_1: Conv2D: [26, 26, 16] -> [24, 24, 16]
// max_pooling2d: MaxPooling2D: [24, 24, 16] -> [12, 12, 16]
// dense: Dense: [12, 12, 16] -> [64]
// dense_1: Dense: [64] -> [10]

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

/**
 * Return the model whose constants are *tensors*: typed arrays by name. What it
 * computes lies in the memory of *kernels*, the exports of cpu.wasm.
 */
export function create(tensors, kernels) {
  const arena = new Float32Array(kernels.memory.buffer, 0, 20032);
  let free = 20032;
  /** Return a copy of numbers that kernels can read. */
  function place(numbers) {
    const { length } = numbers;
    const placed = new Float32Array(kernels.memory.buffer, free * 4, length);
    placed.set(numbers);
    free += Math.ceil(length / 4) * 4;
    return placed;
  }
  const input_layer = arena.subarray(10816, 11600);
  const after_conv2d = arena.subarray(0, 10816);
  const after_conv2d_1 = arena.subarray(10816, 20032);
  const after_max_pooling2d = arena.subarray(0, 2304);
  const after_dense = arena.subarray(2304, 2368);
  const after_dense_1 = arena.subarray(0, 10);
  const after_dense_1_2 = arena.subarray(12, 22);
  const conv2d_bias = tensors["conv2d_bias"];
  const conv2d_extra = place(conv2d_bias);
  const conv2d_kernel = tensors["conv2d_kernel"];
  const conv2d_kernel_2 = place(pack(conv2d_kernel, offsets([3, 3], [48, 16], 0), offsets([16], [1], 0), 16, 1));
  const conv2d_1_bias = tensors["conv2d_1_bias"];
  const conv2d_1_extra = place(conv2d_1_bias);
  const conv2d_1_kernel = tensors["conv2d_1_kernel"];
  const conv2d_1_kernel_2 = place(pack(conv2d_1_kernel, offsets([3, 3, 16], [768, 256, 16], 0), offsets([16], [1], 0), 8, 1));
  const dense_kernel = tensors["dense_kernel"];
  const dense_matrix = place(pack(dense_kernel, offsets([12, 12, 16], [12288, 1024, 64], 0), offsets([64], [1], 0), 32, 1));
  const dense_bias = tensors["dense_bias"];
  const dense_extra = place(dense_bias);
  const dense_1_kernel = tensors["dense_1_kernel"];
  const dense_1_matrix = place(pack(dense_1_kernel, offsets([64], [10], 0), offsets([10], [1], 0), 4, 1));
  const dense_1_bias = tensors["dense_1_bias"];
  const dense_1_extra = place(dense_1_bias);

  function forward(tap) {
    kernels.conv2d(input_layer.byteOffset, after_conv2d.byteOffset, conv2d_extra.byteOffset, conv2d_kernel_2.byteOffset);
    tap?.("conv2d", [1, 26, 26, 16], after_conv2d);
    kernels.conv2d_1(after_conv2d.byteOffset, after_conv2d_1.byteOffset, conv2d_1_extra.byteOffset, conv2d_1_kernel_2.byteOffset);
    tap?.("conv2d_1", [1, 24, 24, 16], after_conv2d_1);
    kernels.max_pooling2d(after_conv2d_1.byteOffset, after_max_pooling2d.byteOffset);
    tap?.("max_pooling2d", [1, 12, 12, 16], after_max_pooling2d);
    kernels.dense(after_max_pooling2d.byteOffset, dense_matrix.byteOffset, after_dense.byteOffset, dense_extra.byteOffset);
    tap?.("dense", [1, 64], after_dense);
    kernels.dense_1(after_dense.byteOffset, dense_1_matrix.byteOffset, after_dense_1.byteOffset, dense_1_extra.byteOffset);
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
