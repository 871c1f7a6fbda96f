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

// Sum 6 rows by 1 columns.
function tile6x1(x, a0, a1, a2, a3, a4, a5, count, step, run, matrix, start, sums) {
  let w = start;
  let s00 = 0;
  let s10 = 0;
  let s20 = 0;
  let s30 = 0;
  let s40 = 0;
  let s50 = 0;
  for (let u = 0; u < count; u++) {
    const end = u * step + run;
    for (let k = u * step; k < end; k++) {
      const w0 = matrix[w];
      w += 1;
      const v0 = x[a0 + k];
      s00 += v0 * w0;
      const v1 = x[a1 + k];
      s10 += v1 * w0;
      const v2 = x[a2 + k];
      s20 += v2 * w0;
      const v3 = x[a3 + k];
      s30 += v3 * w0;
      const v4 = x[a4 + k];
      s40 += v4 * w0;
      const v5 = x[a5 + k];
      s50 += v5 * w0;
    }
  }
  sums[0] = s00;
  sums[1] = s10;
  sums[2] = s20;
  sums[3] = s30;
  sums[4] = s40;
  sums[5] = s50;
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
function pooling(x, matrix, y, sums, extra) {
  for (let p = 0; p < 6; p += 3) {
    const a0 = p * 8;
    const a1 = (p + 1) * 8;
    const a2 = (p + 2) * 8;
    let w = 0;
    for (let block = 0; block < 5; block += 4) {
      const o = Math.min(block, 1);
      tile3x4(x, a0, a1, a2, 1, 0, 8, matrix, w, sums);
      for (let r = 0; r < 3; r++) {
        const b = (p + r) * 5 + o;
        y[b] = sums[r * 4];
        y[b + 1] = sums[r * 4 + 1];
        y[b + 2] = sums[r * 4 + 2];
        y[b + 3] = sums[r * 4 + 3];
      }
      w += 32;
    }
  }
  for (let i0 = 0; i0 < 6; i0++) {
    const yi0 = i0 * 5;
    for (let i1 = 0; i1 < 5; i1++) {
      y[yi0 + i1] = Math.tanh((y[yi0 + i1] + extra[i1]));
    }
  }
}

// AttentionPooling + Embedding: [6, 5] -> [6]
function pooling_2(x, matrix, y, extra, sums) {
  const p = 0;
  const a0 = p * 5;
  const a1 = (p + 1) * 5;
  const a2 = (p + 2) * 5;
  const a3 = (p + 3) * 5;
  const a4 = (p + 4) * 5;
  const a5 = (p + 5) * 5;
  let w = 0;
  const o = 0;
  tile6x1(x, a0, a1, a2, a3, a4, a5, 1, 0, 5, matrix, w, sums);
  for (let r = 0; r < 6; r++) {
    const b = (p + r) + o;
    y[b] = (extra[b] !== 0) ? sums[r] : (-1000000000);
  }
  w += 5;
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

// Dense: [8] -> [3]
function dense_2(x, matrix, y, extra, sums) {
  const o = 0;
  const p = 0;
  const a0 = 0;
  let w = 0;
  tile1x3(x, a0, 1, 0, 8, matrix, w, sums);
  const b = p * 3 + o;
  y[b] = sums[0] + extra[b];
  y[b + 1] = sums[1] + extra[b + 1];
  y[b + 2] = sums[2] + extra[b + 2];
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

/** Return the model whose constants are *tensors*: typed arrays by name. */
export function create(tensors) {
  const arena = new Float32Array(94);
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
  const pooling_matrix = pack(pooling_kernel, offsets([8], [5], 0), offsets([5], [1], 0), 4, 1);
  const sums = new Float64Array(16);
  const pooling_bias = tensors["pooling_bias"];
  const pooling_query = tensors["pooling_query"];
  const pooling_2_matrix = pack(pooling_query, offsets([5], [1], 0), offsets([], [], 0), 1, 1);
  const dense_2_kernel = tensors["dense_2_kernel"];
  const dense_2_matrix = pack(dense_2_kernel, offsets([8], [3], 0), offsets([3], [1], 0), 3, 1);
  const dense_2_bias = tensors["dense_2_bias"];

  function forward(tap) {
    embedding(embedding_embeddings, words, after_embedding);
    tap?.("embedding", [1, 6, 8], after_embedding);
    pooling(after_embedding, pooling_matrix, after_pooling, sums, pooling_bias);
    tap?.("pooling", [1, 6, 5], after_pooling);
    pooling_2(after_pooling, pooling_2_matrix, after_pooling_2, words, sums);
    tap?.("pooling_2", [1, 6], after_pooling_2);
    pooling_3(after_pooling_2, after_pooling_3);
    tap?.("pooling_3", [1, 6], after_pooling_3);
    pooling_4(after_pooling_3, after_embedding, after_pooling_4);
    tap?.("pooling_4", [1, 8], after_pooling_4);
    dense_2(after_pooling_4, dense_2_matrix, after_dense_2, dense_2_bias, sums);
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
