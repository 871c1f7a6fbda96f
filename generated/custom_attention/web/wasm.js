// pooling: AttentionPooling: [6, 8] -> [6, 5]
// pooling_2: AttentionPooling + Embedding: [6, 5] -> [6]
// dense_2: Dense: [8] -> [3]

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

// Embedding: [6] -> [6, 8]
function embedding(x, indices, y) {
  for (let j = 0; j < 6; j++) {
    const k = Math.min(Math.max(indices[j] | 0, 0), 11);
    for (let c = 0; c < 8; c++) {
      y[j * 8 + c] = x[k * 8 + c];
    }
  }
}

// AttentionPooling: [6, 8] -> [6, 5]
function pooling_rest(x, x2) {
  for (let i0 = 0; i0 < 6; i0++) {
    const xi0 = i0 * 5;
    for (let i1 = 0; i1 < 5; i1++) {
      x[xi0 + i1] = Math.tanh((x[xi0 + i1] + x2[i1]));
    }
  }
}

// AttentionPooling + Embedding: [6, 5] -> [6]
function pooling_2_rest(x, x2) {
  for (let i = 0; i < 6; i++) {
    x[i] = (x2[i] !== 0) ? x[i] : (-1000000000);
  }
}

// AttentionPooling: [6] -> [6]
function pooling_3(x, y) {
  const a = 0;
  let most = -Infinity;
  for (let k = 0; k < 6; k++) {
    most = Math.max(most, x[a + k]);
  }
  let sum = 0;
  for (let k = 0; k < 6; k++) {
    const e = Math.exp(x[a + k] - most);
    sum += e;
    y[a + k] = e;
  }
  for (let k = 0; k < 6; k++) {
    y[a + k] /= sum;
  }
}

// AttentionPooling: [6], [6, 8] -> [8]
function pooling_4(x, x2, y) {
  for (let i = 0; i < 8; i++) {
    let s = 0;
    for (let k = 0; k < 6; k++) {
      s += x[k] * x2[i + k * 8];
    }
    y[i] = s;
  }
}

// Dense: [3] -> [3]
function dense_2_2(x, y) {
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
  const arena = new Float32Array(kernels.memory.buffer, 0, 94);
  let free = 96;
  /** Return a copy of numbers that kernels can read. */
  function place(numbers) {
    const { length } = numbers;
    const placed = new Float32Array(kernels.memory.buffer, free * 4, length);
    placed.set(numbers);
    free += Math.ceil(length / 4) * 4;
    return placed;
  }
  const words = arena.subarray(80, 86);
  const after_embedding = arena.subarray(0, 48);
  const after_pooling = arena.subarray(48, 78);
  const after_pooling_2 = arena.subarray(88, 94);
  const after_pooling_3 = arena.subarray(56, 62);
  const after_pooling_4 = arena.subarray(48, 56);
  const after_dense_2 = arena.subarray(0, 3);
  const after_dense_2_2 = arena.subarray(4, 7);
  const embedding_embeddings = tensors["embedding_embeddings"];
  const pooling_kernel = tensors["pooling_kernel"];
  const pooling_matrix = place(pack(pooling_kernel, offsets([8], [5], 0), offsets([5], [1], 0), 4, 1));
  const pooling_bias = tensors["pooling_bias"];
  const pooling_query = tensors["pooling_query"];
  const pooling_2_matrix = place(pack(pooling_query, offsets([5], [1], 0), offsets([], [], 0), 4, 1));
  const dense_2_kernel = tensors["dense_2_kernel"];
  const dense_2_matrix = place(pack(dense_2_kernel, offsets([8], [3], 0), offsets([3], [1], 0), 4, 1));
  const dense_2_bias = tensors["dense_2_bias"];
  const dense_2_extra = place(dense_2_bias);

  function forward(tap) {
    embedding(embedding_embeddings, words, after_embedding);
    tap?.("embedding", [1, 6, 8], after_embedding);
    kernels.pooling(after_embedding.byteOffset, pooling_matrix.byteOffset, after_pooling.byteOffset);
    pooling_rest(after_pooling, pooling_bias);
    tap?.("pooling", [1, 6, 5], after_pooling);
    kernels.pooling_2(after_pooling.byteOffset, pooling_2_matrix.byteOffset, after_pooling_2.byteOffset);
    pooling_2_rest(after_pooling_2, words);
    tap?.("pooling_2", [1, 6], after_pooling_2);
    pooling_3(after_pooling_2, after_pooling_3);
    tap?.("pooling_3", [1, 6], after_pooling_3);
    pooling_4(after_pooling_3, after_embedding, after_pooling_4);
    tap?.("pooling_4", [1, 8], after_pooling_4);
    kernels.dense_2(after_pooling_4.byteOffset, dense_2_matrix.byteOffset, after_dense_2.byteOffset, dense_2_extra.byteOffset);
    tap?.("dense_2", [1, 3], after_dense_2);
    dense_2_2(after_dense_2, after_dense_2_2);
    tap?.("dense_2_2", [1, 3], after_dense_2_2);
  }

  return {
    run(inputs, n) {
      const outputs = [new Float32Array(n * 3)];
      for (let sample = 0; sample < n; sample++) {
        copy(inputs[0], sample * 6, words);
        forward();
        outputs[0].set(after_dense_2_2, sample * 3);
      }
      return outputs;
    },
    stages(inputs) {
      const results = [];
      copy(inputs[0], 0, words);
      forward((name, shape, data) => {
        results.push([name, shape, Float32Array.from(data)]);
      });
      return results;
    },
  };
}
