// Run emitted modules for tests: one request per line of JSON, one answer per line.
//
// A request is {module, kernels, tensors, inputs, n}, an answer {outputs, stages}; arrays are
// [type, base64 of the bytes].

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const TYPES = { float32: Float32Array, int32: Int32Array, bool: Uint8Array };

function decoded([type, text]) {
  const bytes = Uint8Array.from(Buffer.from(text, "base64"));
  return new TYPES[type](bytes.buffer);
}

function encoded(array) {
  if (!(array instanceof Float32Array)) {
    throw new TypeError("a result is no Float32Array");
  }
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString(
    "base64",
  );
}

async function instance(text) {
  const { instance } = await WebAssembly.instantiate(Buffer.from(text, "base64"));
  return instance.exports;
}

async function answer({ module, kernels, tensors, inputs, n }) {
  const { create } = await import(pathToFileURL(module));
  const constants = Object.entries(tensors).map(([name, x]) => [name, decoded(x)]);
  const exports = kernels === "" ? undefined : await instance(kernels);
  const model = create(Object.fromEntries(constants), exports);
  const arrays = inputs.map(decoded);
  // The second run must not see what the first one left behind.
  model.run(arrays, n);
  return {
    outputs: model.run(arrays, n).map(encoded),
    stages: n === 0 ? [] : model.stages(arrays).map(([name, shape, x]) => [name, shape, encoded(x)]),
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  let result;
  try {
    result = await answer(JSON.parse(line));
  } catch (error) {
    result = { error: `${error.stack}` };
  }
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
