// All engines under one interface: `predict(x)` returns a promise of numbers.

async function keramos(name, device, wasm) {
  const { load } = await import(`./${name}/web/model.js`);
  const model = await load({ device, wasm });
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

async function onnx(name) {
  const session = await ort.InferenceSession.create(`${name}/model.onnx`, {
    executionProviders: ["webgl"],
  });
  const [input] = session.inputNames;
  const [output] = session.outputNames;
  const { INPUTS } = await import(`./${name}/web/model.js`);
  const [{ shape }] = INPUTS;
  const [h, w, c] = shape;
  const predict = async (x) => {
    // Channels first: where they have to be turned, that is part of the work.
    const turned = new Float32Array(x.length);
    for (let i = 0; i < x.length; ++i) {
      turned[(i % c) * h * w + Math.floor(i / c)] = x[i];
    }
    const tensor = new ort.Tensor("float32", turned, [1, c, h, w]);
    return (await session.run({ [input]: tensor }))[output].data;
  };
  return { shape, predict };
}

// The shaders of Keras.js leave samplers and whole numbers at low precision.
const { shaderSource } = WebGL2RenderingContext.prototype;
const IMPRECISE = /precision highp float;(?!.*precision highp sampler2D\b)/s;
const PRECISE = "precision highp float; precision highp int; precision highp sampler2D;";
WebGL2RenderingContext.prototype.shaderSource = function (shader, text) {
  shaderSource.call(this, shader, text.replace(IMPRECISE, PRECISE));
};

async function kerasJs(name, gpu) {
  const model = new KerasJS.Model({ filepath: `${name}/keras.bin`, gpu });
  await model.ready();
  const [input] = model.inputLayerNames;
  const { INPUTS } = await import(`./${name}/web/model.js`);
  const predict = async (x) => Object.values(await model.predict({ [input]: x }))[0];
  return { shape: INPUTS[0].shape, predict };
}

const ENGINES = {
  "keramos webgl2": (name) => keramos(name, "webgl2"),
  "keramos wasm": (name) => keramos(name, "cpu", true),
  "keramos cpu": (name) => keramos(name, "cpu", false),
  "tfjs webgl": (name) => tensorflow(name, "webgl", false),
  "tfjs expconv": (name) => tensorflow(name, "webgl", true),
  "tfjs cpu": (name) => tensorflow(name, "cpu", false),
  "ort webgl": onnx,
  "kerasjs gpu": (name) => kerasJs(name, true),
  "kerasjs cpu": (name) => kerasJs(name, false),
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
      const errors = Array.from(outputs[engine], (value, i) => Math.abs(value - wanted[i]));
      return [engine, Math.max(...errors) / largest];
    });
    const medians = engines.map((engine) => [engine, median(times[engine])]);
    return {
      median: Object.fromEntries(medians),
      difference: Object.fromEntries(differences),
    };
  },
};
