// Load a compiled model, and run it on the GPU or on the CPU.

import { Files, LoadError } from "./files.js";
import { Images } from "./images.js";
import { namedOutputs, readInputs } from "./samples.js";
import { decoded, readTensors } from "./tensors.js";
import { VerificationError, check } from "./verification.js";
import { kernelsOf } from "./webassembly.js";
import { DeviceError, Executor, choosePlan, openContext, turn } from "./webgl.js";

export { DeviceError, LoadError, VerificationError };

const WEIGHTS = "weights.safetensors";
const SHADERS = "shaders/";
const MAPS = "shaders/cam/";
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

function floatsOf(input) {
  return input instanceof Images ? input.numbers() : Float32Array.from(input);
}

/** Runs cpu.js or wasm.js under the interface of the WebGL executor. */
class CpuExecutor {
  counts = {};
  stats = {};
  #program;

  constructor(program, renderer = "JavaScript") {
    this.#program = program;
    this.renderer = renderer;
  }

  async run(inputs, n, { places, signal, sliceMs, onProgress } = {}) {
    signal?.throwIfAborted();
    const start = performance.now();
    const floats = inputs.map(floatsOf);
    const results =
      sliceMs === undefined || n === 0
        ? this.#program.run(floats, n)
        : await this.#inSlices(floats, n, { signal, sliceMs, onProgress });
    this.stats = { upload: 0, draws: performance.now() - start, readback: 0 };
    return places?.map((place) => results[place]) ?? results;
  }

  /** Run sample by sample; whenever *sliceMs* have passed the page gets a turn. */
  async #inSlices(floats, n, { signal, sliceMs, onProgress }) {
    const part = (array, k) => {
      const size = array.length / n;
      return array.subarray(k * size, (k + 1) * size);
    };
    let results;
    let start = performance.now();
    for (let k = 0; k < n; ++k) {
      const sample = floats.map((array) => part(array, k));
      const own = this.#program.run(sample, 1);
      results ??= own.map(({ length }) => new Float32Array(n * length));
      own.forEach((numbers, index) => part(results[index], k).set(numbers));
      onProgress?.({ phase: "predict", done: k + 1, total: n });
      if (performance.now() - start >= sliceMs) {
        await turn();
        signal?.throwIfAborted();
        start = performance.now();
      }
    }
    return results;
  }

  async stages(inputs, n, names) {
    const floats = inputs.map(floatsOf);
    const batched = n === 0 ? [] : this.#program.stages(floats);
    return batched
      .map(([name, [, ...shape], numbers]) => [name, shape, numbers])
      .filter(([name]) => names?.includes(name) ?? true);
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
  #mapping;
  #context;
  #life = new AbortController();
  #auto = false;
  #fallen;
  #loading = 0;
  #states;
  #last = Promise.resolve();

  constructor(description, options) {
    this.#description = description;
    this.#options = options;
    this.#files = new Files(description.files, description.base, options);
    this.#states = this.#zeros();
    this.name = description.name;
    this.inputs = description.inputs;
    this.outputs = description.outputs;
    this.stages = description.stages;
    this.taps = description.taps;
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

  /** The GPU's name, "WebAssembly", or "JavaScript". */
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
    const { signal } = this.#options;
    const stop = () => this.#life.abort(signal.reason);
    signal?.addEventListener("abort", stop);
    this.dispose();
    this.#auto = device === "auto" && this.#description.cpu !== undefined;
    try {
      await (device === "cpu" ? this.#useCpu() : this.#useWebgl());
    } finally {
      signal?.removeEventListener("abort", stop);
    }
    this.#loading = performance.now() - start;
  }

  /** Return what ends, and frees what was made, with the stay on the next device. */
  #begin() {
    this.#life = new AbortController();
    return this.#life;
  }

  async #useWebgl() {
    const { gl, canvas, maxTextureSize, onProgress } = this.#options;
    const life = this.#begin();
    const { signal } = life;
    try {
      if (!this.#files.has(`${SHADERS}plan.json`)) {
        throw new DeviceError("the package was compiled without the target gl");
      }
      const context = gl ?? openContext(canvas);
      if (gl === undefined && canvas === undefined) {
        const close = () => context.getExtension("WEBGL_lose_context")?.loseContext();
        signal.addEventListener("abort", close);
      }
      const tensors = this.#weights(); // on their way while programs are compiled
      const programs = await this.#programs(context, SHADERS, maxTextureSize);
      const options = { ...programs, tensors, onProgress, signal };
      const executor = await Executor.create(context, options);
      signal.throwIfAborted();
      this.#executor = executor;
      this.#context = context;
      this.device = "webgl2";
      this.fallback = undefined;
    } catch (error) {
      signal.throwIfAborted();
      life.abort(error);
      if (!this.#auto || !(error instanceof DeviceError)) {
        throw error;
      }
      await this.#useCpu();
      this.fallback = error.message;
    }
  }

  async #useCpu() {
    const { signal } = this.#begin();
    if (this.#description.cpu === undefined) {
      throw new DeviceError("the package was compiled without a path in JavaScript");
    }
    const [tensors, kernels] = await Promise.all([
      this.#weights(),
      kernelsOf(this.#files, this.#options.wasm),
    ]);
    const { cpu, wasm } = this.#description;
    const { create } = await (kernels === undefined ? cpu() : wasm());
    const program = create(Object.fromEntries(decoded(tensors)), kernels);
    signal.throwIfAborted();
    this.#executor = new CpuExecutor(program, kernels && "WebAssembly");
    this.device = "cpu";
    this.fallback = undefined;
  }

  /** Return the weights, which are read once; where that fails, by the next call. */
  #weights() {
    if (this.#tensors === undefined) {
      // Shaders are waited for first, also where one connection carries all files.
      const reading = this.#files.read(WEIGHTS, { priority: "low" });
      this.#tensors = reading.then(({ buffer }) => readTensors(buffer));
      this.#tensors.catch(() => {
        this.#tensors = undefined;
      });
    }
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
   * One input: a Float32Array, nested arrays `(n, ...shape)`, or a picture or several
   * (*fit*, *scale* and *offset* say how they are read). Several: an object by name, or
   * an array in the model's order. One output: a Float32Array; several: an object by
   * name. *signal* aborts between draws (on the CPU, between samples) if *sliceMs* tells
   * after how many milliseconds the page gets a turn, and otherwise between batches. A
   * model with states takes as many samples as it keeps states for, and one call after
   * the other.
   */
  predict(input, options = {}) {
    return this.#withInputs(input, options, async (arrays, n) => {
      const results = await this.#run(arrays, n, options);
      this.#states = results.splice(this.outputs.length);
      return namedOutputs(results, this.outputs);
    });
  }

  /** Begin again with zeros in all states, once the calls so far are done. */
  resetStates() {
    this.#inTurn(() => {
      this.#states = this.#zeros();
    });
  }

  #zeros() {
    const { states = [], batch } = this.#description;
    return states.map((size) => new Float32Array(batch * size));
  }

  /** Run *task*; where there are states, after the tasks before it. */
  #inTurn(task) {
    if (this.#states.length === 0) {
      return task();
    }
    const result = this.#last.then(task);
    this.#last = result.catch(() => {});
    return result;
  }

  /**
   * Return what layers give, `{name: {shape, data}}`: those of *names*, or all.
   *
   * That is the taps, which were chosen when the model was compiled, for all samples;
   * and the stages into which the other layers were fused, for the first batch.
   */
  layerOutputs(input, names, options = {}) {
    const { taps, outputs, stages } = this;
    const known = [...taps, ...stages].map(({ name }) => name);
    const unknown = names?.find((name) => !known.includes(name));
    if (unknown !== undefined) {
      const text = `there is no layer or stage ${JSON.stringify(unknown)}`;
      throw new TypeError(`${text}; there are ${[...new Set(known)].join(", ")}`);
    }
    const wanted = new Set(names ?? known);
    const tapped = taps.filter(({ name }) => wanted.delete(name));
    return this.#withInputs(input, options, async (arrays, n) => {
      const places = tapped.map((tap) => outputs.length + taps.indexOf(tap));
      const results = places.length > 0 ? await this.#ready.run(arrays, n, { places }) : [];
      const found = tapped.map(({ name, shape }, k) => [name, shape, results[k]]);
      if (wanted.size > 0) {
        found.push(...(await this.#ready.stages(arrays, n, [...wanted])));
      }
      return Object.fromEntries(
        found.map(([name, shape, data]) => [name, { shape, data }]),
      );
    });
  }

  /**
   * Return where the model sees a class, from 0 to 1: `{shape, data}` for all samples.
   *
   * That is Grad-CAM. Without *classIndex*, one or one for each sample, it is the class
   * that the model finds. Throws TypeError where the package was compiled without.
   */
  classActivationMap(input, { classIndex, ...options } = {}) {
    const { activation } = this.#description;
    if (activation === undefined) {
      throw new TypeError("the package was compiled without class activation maps");
    }
    const { classes, shape } = activation;
    return this.#withInputs(input, options, async (arrays, n) => {
      const first = this.outputs.length + this.taps.length;
      const places = Array.from({ length: activation.features }, (_, k) => first + k);
      const run = { ...options, places: [0, ...places] };
      const [scores, ...features] = await this.#ready.run(arrays, n, run);
      const chosen = oneHot(classIndex ?? largest(scores, classes), n, classes);
      const mapper = await this.#maps();
      const [data] = await mapper.run([...features, chosen], n, options);
      return { shape, data };
    });
  }

  /** Return what computes class activation maps, made when it is first asked for. */
  async #maps() {
    this.#mapping ??= this.#createMapper();
    const mapping = this.#mapping;
    try {
      return await mapping;
    } catch (error) {
      if (this.#mapping === mapping) {
        this.#mapping = undefined; // the next call tries again
      }
      throw error;
    }
  }

  async #createMapper() {
    const { signal } = this.#life;
    signal.throwIfAborted();
    const tensors = this.#weights();
    let mapper;
    if (this.device === "cpu") {
      const { create } = await this.#description.cam();
      mapper = new CpuExecutor(create(Object.fromEntries(decoded(await tensors))));
    } else {
      const { maxTextureSize } = this.#options;
      const context = this.#context;
      const programs = await this.#programs(context, MAPS, maxTextureSize);
      mapper = await Executor.create(context, { ...programs, tensors, signal });
    }
    signal.throwIfAborted();
    return mapper;
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
    // The second of two calls: its states are those that the first one left.
    const zeros = this.#zeros();
    const kept = zeros.map((_, index) => sample.get(`state.${index}`).data);
    const stages = await this.#ready.stages([...inputs, ...kept], Math.min(n, 1));
    let results = await this.#run([...inputs, ...zeros], n);
    if (zeros.length > 0) {
      const states = results.slice(this.outputs.length);
      results = await this.#run([...inputs, ...states], n);
    }
    return check(
      this.device,
      sample,
      stages.map(([name, , numbers]) => [name, numbers]),
      this.outputs.map(({ name }, index) => [name, results[index]]),
    );
  }

  /** Return the model's own outputs, then its next states; nothing else is read. */
  #run(arrays, n, options) {
    const { states = [], activation } = this.#description;
    const first = this.outputs.length + this.taps.length + (activation?.features ?? 0);
    const places = [...this.outputs.keys(), ...states.map((_, k) => first + k)];
    return this.#ready.run(arrays, n, { ...options, places });
  }

  /** Run *task* on the arrays of *input*, then the states; where that fails, anew. */
  #withInputs(input, options, task) {
    return this.#inTurn(async () => {
      const { arrays, n } = readInputs(input, this.inputs, options);
      const { batch = n } = this.#description;
      if (n !== batch) {
        const samples = batch === 1 ? "sample" : "samples";
        throw new TypeError(
          `the model keeps the states of ${batch} ${samples}, so that each call takes ` +
            `as many, not ${n}`,
        );
      }
      const given = [...arrays, ...this.#states];
      try {
        return await task(given, n);
      } catch (error) {
        const lost = this.#auto && error instanceof DeviceError;
        const fallen = lost ? this.#fallBack(error) : undefined;
        if (fallen === undefined) {
          throw error;
        }
        await fallen;
        return task(given, n);
      }
    });
  }

  /**
   * Leave the GPU for the CPU, once for all runs that *error* ended.
   *
   * Returns when the CPU is ready; undefined if the model wasn't on the GPU.
   */
  #fallBack(error) {
    if (this.device === "webgl2") {
      this.dispose();
      this.#fallen = this.#useCpu().then(() => {
        this.fallback = error.message;
      });
    }
    return this.#fallen;
  }

  /** Free what the model holds on its device; loading, if it goes on, fails. */
  dispose() {
    this.#fallen = undefined;
    this.#life.abort(new DeviceError("the model was disposed of"));
    this.#executor = undefined;
    this.#mapping = undefined;
    this.#context = undefined;
    this.device = undefined;
  }
}

/** Return the place of the largest of each *classes* scores. */
function largest(scores, classes) {
  return Array.from({ length: scores.length / classes }, (_, sample) => {
    const own = scores.subarray(sample * classes, (sample + 1) * classes);
    return own.indexOf(own.reduce((a, b) => Math.max(a, b)));
  });
}

/** Return *n* rows with a one at *index*, which is a number or one for each row. */
function oneHot(index, n, classes) {
  const rows = new Float32Array(n * classes);
  const places = typeof index === "number" ? new Array(n).fill(index) : index;
  for (let sample = 0; sample < n; ++sample) {
    const place = places[sample];
    if (!Number.isInteger(place) || place < 0 || place >= classes) {
      throw new RangeError(`the classes are 0 to ${classes - 1}, not ${place}`);
    }
    rows[sample * classes + place] = 1;
  }
  return rows;
}
