// Time emitted modules, and the same layers of TensorFlow.js and Keras.js if they are
// installed: node javascript_kernels.mjs FOLDER [PEERS], where PEERS has node_modules.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const ROUNDS = 12;
const [folder, peers] = process.argv.slice(2);

function random(length) {
  return Float32Array.from({ length }, () => Math.random() - 0.5);
}

function size(shape) {
  return shape.reduce((a, b) => a * b, 1);
}

/** Return the least milliseconds that task takes. */
function milliseconds(task, macs) {
  const count = Math.max(1, Math.round(1e7 / macs));
  let least = Infinity;
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    for (let k = 0; k < count; k++) {
      task();
    }
    least = Math.min(least, (performance.now() - start) / count);
  }
  return least;
}

async function keramos({ tensors, input }, file, kernels) {
  const { create } = await import(pathToFileURL(resolve(folder, file)));
  const entries = Object.entries(tensors);
  const constants = entries.map(([key, shape]) => [key, random(size(shape))]);
  const model = create(Object.fromEntries(constants), kernels);
  const x = [random(size(input))];
  return () => model.run(x, 1);
}

async function vectors(layer) {
  const binary = readFileSync(join(folder, `${layer.name}.wasm`));
  const { instance } = await WebAssembly.instantiate(binary);
  return keramos(layer, `${layer.name}_wasm.mjs`, instance.exports);
}

async function tensorflow(load) {
  const tf = load("@tensorflow/tfjs-core");
  load("@tensorflow/tfjs-backend-cpu");
  await tf.setBackend("cpu");
  return ({ kind, input, kernel, strides }) => {
    const tensor = (shape) => tf.tensor(random(size(shape)), shape);
    const x = tensor([1, ...input]);
    const [w, b] = kind === "pool" ? [] : [tensor(kernel), tensor(kernel.slice(-1))];
    const linear = {
      conv: () => tf.add(tf.conv2d(x, w, strides, "same"), b),
      depthwise: () => tf.depthwiseConv2d(x, w, strides, "same"),
      dense: () => tf.add(tf.matMul(x, w), b),
      pool: () => tf.maxPool(x, 2, 2, "valid"),
    };
    return () => tf.tidy(() => tf.relu(linear[kind]()).dataSync());
  };
}

function kerasJs(load) {
  const layers = load("keras-js/lib/layers");
  const { default: Tensor } = load("keras-js/lib/Tensor");
  const tensor = (shape) => new Tensor(random(size(shape)), shape);
  return ({ kind, input, kernel, strides }) => {
    const options = { name: kind, padding: "same", activation: "relu", strides };
    const make = {
      conv: () =>
        new layers.Conv2D({ ...options, filters: kernel[3], kernel_size: kernel[0] }),
      dense: () => new layers.Dense({ ...options, units: kernel[1] }),
      pool: () => new layers.MaxPooling2D({ name: kind, pool_size: 2 }),
    }[kind];
    if (make === undefined) {
      return undefined;
    }
    const layer = make();
    if (kind !== "pool") {
      layer.setWeights([tensor(kernel), tensor(kernel.slice(-1))]);
    }
    const x = tensor(input);
    return () => layer.call(x);
  };
}

const runners = {
  JavaScript: (layer) => keramos(layer, `${layer.name}.mjs`),
  WebAssembly: vectors,
};
if (peers !== undefined) {
  const load = createRequire(join(resolve(peers), "peers.cjs"));
  runners["TensorFlow.js"] = await tensorflow(load);
  runners["Keras.js"] = kerasJs(load);
}
for (const layer of JSON.parse(readFileSync(join(folder, "layers.json")))) {
  const row = [];
  for (const [runner, prepare] of Object.entries(runners)) {
    const task = await prepare(layer);
    if (task !== undefined) {
      const time = milliseconds(task, layer.macs);
      const rate = layer.macs / time / 1e6;
      row.push(`${runner} ${time.toFixed(3)} ms (${rate.toFixed(2)} GMAC/s)`);
    }
  }
  console.log(`${layer.name.padEnd(26)} ${row.join(", ")}`);
}
