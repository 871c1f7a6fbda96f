// Load a compiled model, and run it on the GPU or on the CPU.

import { Files, LoadError } from "./files.js";
import { namedOutputs, readInputs } from "./samples.js";
import { readTensors } from "./tensors.js";
import { VerificationError, check } from "./verification.js";
import { DeviceError, Executor, choosePlan, openContext } from "./webgl.js";

export { DeviceError, LoadError, VerificationError };

const WEIGHTS = "weights.safetensors";
const SHADERS = "shaders/";
const SAMPLE = "sample.safetensors";
const DEVICES = ["auto", "webgl2", "cpu"];

/**
 * Return the model that *description* (see model.js) tells of, ready to predict.
 *
 * Throws LoadError, and DeviceError where the device asked for isn't there.
 */
export async function loadModel(description, options = {}) {
  const model = new Model(description, options);
  await model.use(options.device ?? "auto");
  return model;
}

/** Runs cpu.js under the interface of the WebGL executor. */
class CpuExecutor {
  counts = {};
  renderer = "JavaScript";
  stats = {};
  #program;

  constructor(program) {
    this.#program = program;
  }

  async run(inputs, n, { signal } = {}) {
    signal?.throwIfAborted();
    const start = performance.now();
    const floats = inputs.map((x) => Float32Array.from(x));
    const results = this.#program.run(floats, n);
    this.stats = { upload: 0, draws: performance.now() - start, readback: 0 };
    return results;
  }

  async stages(inputs, n) {
    const floats = inputs.map((x) => Float32Array.from(x));
    const batched = n === 0 ? [] : this.#program.stages(floats);
    return batched.map(([name, [, ...shape], numbers]) => [name, shape, numbers]);
  }

  dispose() {}
}

/** A loaded model; `load` of model.js makes it. */
class Model {
  #description;
  #options;
  #files;
  #tensors;
  #executor;
  #owned;
  #auto = false;
  #loading = 0;

  constructor(description, options) {
    this.#description = description;
    this.#options = options;
    this.#files = new Files(description.files, description.base, options);
    this.name = description.name;
    this.inputs = description.inputs;
    this.outputs = description.outputs;
    this.stages = description.stages;
    this.device = undefined;
    this.fallback = undefined;
  }

  /** Milliseconds: *load* and *build* once; the other ones of the last run. */
  get stats() {
    return { load: this.#loading, ...this.#ready.stats };
  }

  /** How many GPU objects the model holds, by kind. */
  get counts() {
    return this.#ready.counts;
  }

  /** No texture is wider or higher than this; undefined on the CPU. */
  get textureSize() {
    return this.#ready.textureSize;
  }

  /** The GPU's name, or "JavaScript". */
  get renderer() {
    return this.#ready.renderer;
  }

  get #ready() {
    if (this.#executor === undefined) {
      throw new DeviceError("the model was disposed of");
    }
    return this.#executor;
  }

  /**
   * Go to another device: "webgl2", "cpu", or "auto" for the first that works.
   *
   * Then `device` tells which one it is, and `fallback` why it isn't WebGL 2.
   */
  async use(device) {
    if (!DEVICES.includes(device)) {
      throw new TypeError(`device must be ${DEVICES.join(", ")}, not ${device}`);
    }
    const start = performance.now();
    this.dispose();
    this.#auto = device === "auto" && this.#description.cpu !== undefined;
    await (device === "cpu" ? this.#useCpu() : this.#useWebgl());
    this.#loading = performance.now() - start;
  }

  async #useWebgl() {
    const { gl, canvas, maxTextureSize, onProgress, signal } = this.#options;
    try {
      if (!this.#files.has(`${SHADERS}plan.json`)) {
        throw new DeviceError("the package was compiled without the target gl");
      }
      const context = gl ?? openContext(canvas);
      this.#owned = gl === undefined && canvas === undefined ? context : undefined;
      const [tensors, programs] = await Promise.all([
        this.#weights(),
        this.#programs(context, SHADERS, maxTextureSize),
      ]);
      const options = { ...programs, tensors, onProgress, signal };
      this.#executor = await Executor.create(context, options);
      this.device = "webgl2";
    } catch (error) {
      this.dispose();
      if (!this.#auto || !(error instanceof DeviceError)) {
        throw error;
      }
      await this.#useCpu();
      this.fallback = error.message;
    }
  }

  async #useCpu() {
    if (this.#description.cpu === undefined) {
      throw new DeviceError("the package was compiled without a path in JavaScript");
    }
    const [tensors, { create }] = await Promise.all([
      this.#weights(),
      this.#description.cpu(),
    ]);
    const numbers = [...tensors].map(([name, { data }]) => [name, data]);
    this.#executor = new CpuExecutor(create(Object.fromEntries(numbers)));
    this.device = "cpu";
    this.fallback = undefined;
  }

  async #weights() {
    this.#tensors ??= readTensors((await this.#files.read(WEIGHTS)).buffer);
    return this.#tensors;
  }

  /** Return the plan in *folder* that fits the device, and its shaders by name. */
  async #programs(context, folder, maxTextureSize) {
    const text = (name) => this.#files.text(folder + name);
    const read = async (name) => JSON.parse(await text(name));
    const plan = await choosePlan(context, read, maxTextureSize);
    const names = [...new Set(plan.programs.map(({ file }) => file))];
    const texts = await Promise.all(names.map(text));
    return { plan, shaders: new Map(names.map((name, k) => [name, texts[k]])) };
  }

  /**
   * Return the outputs for any number of samples.
   *
   * One input: a Float32Array, or nested arrays `(n, ...shape)`. Several: an object by
   * name, or an array in the model's order. One output: a Float32Array; several: an
   * object by name. *signal* aborts between draws if *sliceMs* tells after how many
   * milliseconds the page gets a turn, and otherwise between batches.
   */
  predict(input, options = {}) {
    return this.#withInputs(input, async (arrays, n) =>
      namedOutputs(await this.#ready.run(arrays, n, options), this.outputs),
    );
  }

  /** Return what each stage gives for the first samples: `{name: {shape, data}}`. */
  layerOutputs(input, names) {
    return this.#withInputs(input, async (arrays, n) => {
      const stages = await this.#ready.stages(arrays, n, names);
      const wanted = stages.filter(([name]) => names?.includes(name) ?? true);
      return Object.fromEntries(
        wanted.map(([name, shape, data]) => [name, { shape, data }]),
      );
    });
  }

  /**
   * Run the sample that came with the model, here, on this very device.
   *
   * Returns `{device, stages, error}`, the largest difference relative to the largest
   * value of its stage; throws VerificationError, naming the first stage that differs.
   */
  async verify() {
    const sample = readTensors((await this.#files.read(SAMPLE)).buffer);
    const given = this.inputs.map(({ name }) => sample.get(`input.${name}`));
    const inputs = given.map(({ data }) => data);
    const [n] = given[0].shape;
    const stages = await this.#ready.stages(inputs, n);
    const results = await this.#ready.run(inputs, n);
    return check(
      this.device,
      sample,
      stages.map(([name, , numbers]) => [name, numbers]),
      results.map((numbers, index) => [this.outputs[index].name, numbers]),
    );
  }

  async #withInputs(input, task) {
    const { arrays, n } = readInputs(input, this.inputs);
    try {
      return await task(arrays, n);
    } catch (error) {
      if (!this.#auto || this.device !== "webgl2" || !(error instanceof DeviceError)) {
        throw error;
      }
      this.dispose();
      await this.#useCpu();
      this.fallback = error.message;
      return task(arrays, n);
    }
  }

  /** Free what the model holds on its device. */
  dispose() {
    this.#executor?.dispose();
    this.#executor = undefined;
    this.#owned?.getExtension("WEBGL_lose_context")?.loseContext();
    this.#owned = undefined;
    this.device = undefined;
  }
}
