// Keramos and TF.js under one interface: `predict(x)` returns a promise of numbers.

async function keramos(name, device) {
  const { load } = await import(`./${name}/web/model.js`);
  const model = await load({ device });
  return { shape: model.inputs[0].shape, predict: (x) => model.predict(x) };
}

async function tensorflow(name, backend, expconv) {
  tf.env().set("WEBGL_EXP_CONV", expconv);
  await tf.setBackend(backend);
  const { topology, shapes } = await (await fetch(`${name}/twin.json`)).json();
  const numbers = new Float32Array(await (await fetch(`${name}/twin.bin`)).arrayBuffer());
  const model = await tf.loadLayersModel(tf.io.fromMemory({ modelTopology: topology }));
  let start = 0;
  for (const [index, layer] of model.layers.entries()) {
    const tensors = shapes[index].map((shape) => {
      const size = shape.reduce((a, b) => a * b, 1);
      start += size;
      return tf.tensor(numbers.subarray(start - size, start), shape);
    });
    layer.setWeights(tensors);
  }
  const [, ...shape] = model.inputs[0].shape;
  const predict = async (x) => {
    tf.env().set("WEBGL_EXP_CONV", expconv);
    await tf.setBackend(backend);
    const output = tf.tidy(() => model.predict(tf.tensor(x, [1, ...shape])));
    const result = await output.data();
    output.dispose();
    return result;
  };
  return { shape, predict };
}

const ENGINES = {
  "keramos webgl2": (name) => keramos(name, "webgl2"),
  "keramos cpu": (name) => keramos(name, "cpu"),
  "tfjs webgl": (name) => tensorflow(name, "webgl", false),
  "tfjs expconv": (name) => tensorflow(name, "webgl", true),
  "tfjs cpu": (name) => tensorflow(name, "cpu", false),
};

function sample(shape) {
  const size = shape.reduce((a, b) => a * b, 1);
  return Float32Array.from({ length: size }, (_, i) => 3 * Math.sin(i * i));
}

function median(values) {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

window.bench = {
  /** Return the milliseconds from nothing to the first numbers. */
  async first(name, engine) {
    const start = performance.now();
    const { shape, predict } = await ENGINES[engine](name);
    await predict(sample(shape));
    return performance.now() - start;
  },

  /** Time the engines in turn; return medians, and differences from the first one. */
  async compare(name, engines, rounds) {
    const running = {};
    for (const engine of engines) {
      running[engine] = await ENGINES[engine](name);
    }
    const x = sample(running[engines[0]].shape);
    const times = Object.fromEntries(engines.map((engine) => [engine, []]));
    const outputs = {};
    for (let round = 0; round <= rounds; ++round) {
      // In another order each time: what ran before leaves its traces.
      const turn = round % engines.length;
      for (const engine of [...engines.slice(turn), ...engines.slice(0, turn)]) {
        const start = performance.now();
        outputs[engine] = await running[engine].predict(x);
        if (round > 0) {
          times[engine].push(performance.now() - start);
        }
      }
    }
    const [wanted] = engines.map((engine) => outputs[engine]);
    const largest = Math.max(...wanted.map(Math.abs));
    const differences = engines.map((engine) => {
      const errors = outputs[engine].map((value, i) => Math.abs(value - wanted[i]));
      return [engine, Math.max(...errors) / largest];
    });
    const medians = engines.map((engine) => [engine, median(times[engine])]);
    return {
      median: Object.fromEntries(medians),
      difference: Object.fromEntries(differences),
    };
  },
};
