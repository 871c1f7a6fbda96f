// Run precompiled fragment programs: WebGL 2, in a page or in a worker.
//
// plan.json says which textures, programs and draws there are; everything is created
// once, when the model is loaded. A run uploads inputs, replays the draws and reads
// outputs, without creating an object or looking up a name.

import { Images, paintShader } from "./images.js";
import { MIDDLE, numbersOf } from "./tensors.js";

export const HEADER = "#version 300 es\n";
const VERTEX = `${HEADER}
void main() {
    vec2 corner = vec2(float((gl_VertexID << 1) & 2), float(gl_VertexID & 2));
    gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);
}
`;
// What texels are made of: an array's type, and their names in WebGL. Pictures are
// RGBA8, which shaders read as numbers up to 1.
const FORMATS = {
  RGBA8: { Texels: Uint8Array, internal: "RGBA8" },
  F32: { Texels: Float32Array, internal: "RGBA32F", format: "RGBA", type: "FLOAT" },
  F16: { Texels: Uint16Array, internal: "RGBA16F", format: "RGBA", type: "HALF_FLOAT" },
  U8: {
    Texels: Uint8Array,
    internal: "RGBA8UI",
    format: "RGBA_INTEGER",
    type: "UNSIGNED_BYTE",
  },
};
const LANES = 4;
const AXES = 5;
// Whatever texels are made of, they are read as floats.
const BYTES_PER_TEXEL = 16;
const UNIFORMS = ["first", "moment", "origin", "sizes"];
const NO_WEIGHTS = { blocks: 0, stride: 0 };
// How long a lost context may take to come back, and how often one run begins anew.
const RESTORATION_MS = 10000;
const ATTEMPTS = 3;
const AGAIN = "the browser took the GPU away again and again";
// A page may wait this long for numbers without a turn of its own: half a frame.
// Asking in a loop takes the processor from drivers that draw on it.
const HALF_FRAME_MS = 8;
// How much longer than the fastest run so far the next one may take, at first guess.
const SLOWER = 1.25;
// The waiting for a run is split into this many pauses.
const PAUSES = 4;

/** There is no such device, it lacks what the package needs, or it failed. */
export class DeviceError extends Error {
  name = "DeviceError";
}

/** Return a WebGL 2 context of *canvas*, or of a new one; throw DeviceError. */
export function openContext(canvas) {
  const surface = canvas ?? newCanvas();
  const gl = surface.getContext("webgl2", {
    alpha: false,
    antialias: false,
    depth: false,
    stencil: false,
    powerPreference: "high-performance",
  });
  if (gl === null) {
    throw new DeviceError("this browser has no WebGL 2 to give");
  }
  return gl;
}

function newCanvas() {
  if (typeof document !== "undefined") {
    return document.createElement("canvas");
  }
  if (typeof OffscreenCanvas === "undefined") {
    throw new DeviceError("there is no canvas here, so no WebGL 2");
  }
  return new OffscreenCanvas(1, 1);
}

/** Return once other tasks of the page have had their turn. */
export function turn() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** Return after a time; timers that timers start have to wait for 4 ms or more. */
async function pause(milliseconds) {
  await turn();
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Return when *done()* is true. */
async function until(done) {
  while (!done()) {
    await pause(1);
  }
}

/**
 * Return a constant of the plan: a tensor, or several side by side.
 *
 * Of each that is joined, so many numbers stand in each row.
 */
function constant({ tensor, joined }, tensors) {
  if (joined === undefined) {
    return tensors.get(tensor);
  }
  const parts = joined.map(([name, run]) => ({ ...tensors.get(name), run }));
  const width = parts.reduce((total, { run }) => total + run, 0);
  const [{ dtype, data: first, run }] = parts;
  const data = new first.constructor((first.length / run) * width);
  let column = 0;
  for (const part of parts) {
    for (let row = 0; row * width < data.length; ++row) {
      const from = row * part.run;
      data.set(part.data.subarray(from, from + part.run), row * width + column);
    }
    column += part.run;
  }
  return { dtype, data };
}

/**
 * How an array of up to five axes lies in a texture array or a uniform buffer.
 *
 * Each index adds its own offset, so one table per axis says everything.
 */
class Packing {
  constructor({ view, padded, split, order, size }) {
    const strides = new Array(split.length);
    order.reduceRight((stride, digit) => {
      strides[digit] = stride;
      return stride * split[digit];
    }, 1);
    let digit = 0;
    this.tables = view.map((length, axis) => {
      const first = digit;
      for (let radix = 1; radix < padded[axis]; ++digit) {
        radix *= split[digit];
      }
      return offsetTable(
        length,
        split.slice(first, digit),
        strides.slice(first, digit),
      );
    });
    while (this.tables.length < AXES) {
      this.tables.unshift(new Int32Array(1));
    }
    [this.layers, this.height, this.width] = size;
    this.length = this.layers * this.height * this.width * LANES;
    this.count = view.slice(1).reduce((a, b) => a * b, 1);
  }

  /** Write *n* samples of *source* from *start* on into *texels*. */
  pack(source, texels, start, n) {
    const [samples, ds, hs, ws, cs] = this.tables;
    let i = start;
    for (let s = 0; s < n; ++s) {
      for (const d of ds) {
        for (const h of hs) {
          for (const w of ws) {
            const place = samples[s] + d + h + w;
            for (let c = 0; c < cs.length; ++c) {
              texels[place + cs[c]] = source[i++];
            }
          }
        }
      }
    }
  }

  /** Read *n* samples out of *texels* into *target* from *start* on. */
  unpack(texels, target, start, n) {
    const [samples, ds, hs, ws, cs] = this.tables;
    let i = start;
    for (let s = 0; s < n; ++s) {
      for (const d of ds) {
        for (const h of hs) {
          for (const w of ws) {
            const place = samples[s] + d + h + w;
            for (let c = 0; c < cs.length; ++c) {
              target[i++] = texels[place + cs[c]];
            }
          }
        }
      }
    }
  }
}

/** Return where each of *length* indices lies, written in mixed radix. */
function offsetTable(length, radices, strides) {
  const table = new Int32Array(length);
  for (let i = 0; i < length; ++i) {
    let rest = i;
    for (let k = radices.length - 1; k >= 0; --k) {
      table[i] += (rest % radices[k]) * strides[k];
      rest = Math.floor(rest / radices[k]);
    }
  }
  return table;
}

/** Every object that lives on a context: what is created here is freed here. */
class Ledger {
  constructor(gl) {
    this.gl = gl;
    this.kinds = new Map();
  }

  add(kind, object) {
    if (object === null) {
      throw new DeviceError(`the GPU has no room for another ${kind}`);
    }
    if (!this.kinds.has(kind)) {
      this.kinds.set(kind, new Set());
    }
    this.kinds.get(kind).add(object);
    return object;
  }

  create(kind, ...details) {
    return this.add(kind, this.gl[`create${kind}`](...details));
  }

  free(kind, object) {
    this.kinds.get(kind).delete(object);
    this.gl[`delete${kind}`](object);
  }

  freeAll() {
    for (const [kind, objects] of this.kinds) {
      for (const object of objects) {
        this.gl[`delete${kind}`](object);
      }
      objects.clear();
    }
  }

  counts() {
    return Object.fromEntries(
      [...this.kinds].map(([kind, objects]) => [kind, objects.size]),
    );
  }
}

/** The model on one WebGL 2 context. */
export class Executor {
  #gl;
  #plan;
  #shaders;
  #tensors;
  #ledger;
  #programs;
  #textures;
  #buffers;
  #stages;
  #calls;
  #inputs;
  #paints;
  #outputs;
  #framebuffers;
  #losses = 0;
  #builtAfter = -1;
  #disposed = false;
  #last = Promise.resolve();
  #restorations = [];
  // How many milliseconds a run is likely to take.
  #likely = Infinity;

  /**
   * Create every texture, program and framebuffer of *plan*, one that fits *gl*.
   *
   * *shaders* are the programs' texts by file name, *tensors* the weights by name, in a
   * promise while they are on their way; both are kept, to begin anew on a context that
   * was lost. Throws DeviceError. When *signal* aborts, also later, all is freed.
   */
  static async create(gl, { plan, shaders, tensors, signal, onProgress }) {
    signal.throwIfAborted();
    const executor = new Executor(gl, plan, shaders, tensors);
    const ended = new Promise((_, reject) => {
      signal.addEventListener("abort", () => {
        executor.dispose();
        reject(signal.reason);
      });
    });
    try {
      await Promise.race([executor.#begin({ onProgress }), ended]);
    } catch (error) {
      executor.dispose();
      throw error;
    }
    return executor;
  }

  constructor(gl, plan, shaders, tensors) {
    this.#gl = gl;
    this.#plan = plan;
    this.#shaders = shaders;
    this.#tensors = tensors;
    this.#ledger = new Ledger(gl);
    this.stats = { build: 0, upload: 0, draws: 0, readback: 0 };
    gl.canvas.addEventListener("webglcontextlost", this.#lost);
    gl.canvas.addEventListener("webglcontextrestored", this.#restored);
  }

  /** How many objects live on the context, by kind. */
  get counts() {
    return this.#ledger.counts();
  }

  /** The names of the stages, in the order in which they run. */
  get stageNames() {
    return this.#plan.steps.map(({ name }) => name);
  }

  /** No texture is wider or higher than this: the limit of the plan that runs. */
  get textureSize() {
    return this.#plan.limits.texture_size;
  }

  /** The GPU's name, where the browser tells it. */
  get renderer() {
    const gl = this.#gl;
    const details = gl.getExtension("WEBGL_debug_renderer_info");
    return gl.getParameter(details?.UNMASKED_RENDERER_WEBGL ?? gl.RENDERER);
  }

  #lost = (event) => {
    event.preventDefault(); // else the browser never restores it
    this.#losses += 1;
  };

  #restored = () => {
    for (const resume of this.#restorations.splice(0)) {
      resume();
    }
  };

  /** Build; anew if the context is lost while the weights are on their way. */
  async #begin({ onProgress }) {
    await this.#build({ onProgress });
    for (let attempt = 1; !this.#intact(); ++attempt) {
      if (attempt === ATTEMPTS) {
        throw new DeviceError(AGAIN);
      }
      await this.#recover();
    }
  }

  /**
   * Create everything, whether or not the weights are there; then upload them.
   *
   * If the context is lost meanwhile that shows afterwards: see #intact.
   */
  async #build({ onProgress }) {
    this.#checkAlive();
    this.#builtAfter = this.#losses;
    this.#ledger = new Ledger(this.#gl);
    this.#framebuffers = new Map();
    const [milliseconds, tensors] = await Promise.all([
      this.#create({ onProgress }),
      this.#tensors,
    ]);
    this.#checkAlive();
    if (!this.#intact()) {
      return;
    }
    const start = performance.now();
    this.#fill(tensors);
    this.stats.build = milliseconds + performance.now() - start;
  }

  #checkAlive() {
    if (this.#disposed) {
      throw new DeviceError("the model was disposed of");
    }
  }

  /** Create all that there is but the weights' numbers; return the milliseconds. */
  async #create({ onProgress }) {
    const start = performance.now();
    const gl = this.#gl;
    const plan = this.#plan;
    renderFloats(gl, plan);
    // Inputs are whole floats, also where results are halves.
    this.#paints = gl.getExtension("EXT_color_buffer_float") !== null;
    this.#programs = await this.#compile({ onProgress });
    this.#checkAlive();
    if (!this.#intact()) {
      return 0; // all will be built anew
    }
    this.#textures = plan.textures.map((size) => this.#texture(size));
    this.#buffers = plan.buffers.map((entry) => this.#buffer(entry));
    this.#stages = plan.steps.map((entry) => ({
      name: entry.name,
      draws: "body" in entry ? this.#loop(entry) : this.#draws(entry, 0, new Map()),
      result: "body" in entry ? null : entry,
    }));
    this.#calls = this.#changes(this.#stages.flatMap(({ draws }) => draws));
    this.#inputs = plan.inputs.map((entry) => {
      const packing = new Packing(entry);
      const texels = new Float32Array(packing.length);
      const texture = this.#textures[entry.texture];
      return { texture, packing, texels, entry, painter: undefined };
    });
    this.#outputs = plan.outputs.map((entry) => this.#reader(entry));
    this.#warm();
    return performance.now() - start;
  }

  /**
   * Draw a texel with each program.
   *
   * Many drivers compile when they first see what a program draws on. What is written
   * here is written again before it is read: the texel is one of the draw's own.
   */
  #warm() {
    const gl = this.#gl;
    const seen = new Map();
    this.#prepare();
    for (const needs of this.#stages.flatMap(({ draws }) => draws)) {
      const { program, framebuffer, viewport } = Object.fromEntries(needs);
      const [, targets] = framebuffer;
      const counts = seen.get(program[0]) ?? new Set();
      if (counts.has(targets)) {
        continue;
      }
      seen.set(program[0], counts.add(targets));
      needs.forEach(([, , call]) => call());
      gl.viewport(...viewport.slice(0, 2), 1, 1);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    }
    gl.flush();
  }

  /** Upload the weights *tensors*. */
  #fill(tensors) {
    const { textures, constants, buffers } = this.#plan;
    for (const entry of constants) {
      const packing = new Packing(entry);
      const kind = textures[entry.texture][3];
      const texels = new FORMATS[kind].Texels(packing.length);
      texels.fill(kind === "U8" ? MIDDLE : 0);
      packing.pack(constant(entry, tensors).data, texels, 0, 1);
      this.#write(this.#textures[entry.texture], packing, texels, FORMATS[kind]);
    }
    for (const [index, entry] of buffers.entries()) {
      this.#fillBuffer(this.#buffers[index], entry, constant(entry, tensors));
    }
  }

  /** Compile all programs side by side; return each with its uniforms' locations. */
  async #compile({ onProgress }) {
    const gl = this.#gl;
    const ledger = this.#ledger;
    const parallel = gl.getExtension("KHR_parallel_shader_compile");
    const vertex = this.#shader(gl.VERTEX_SHADER, VERTEX);
    const fragments = this.#plan.programs.map(({ file }) =>
      this.#shader(gl.FRAGMENT_SHADER, HEADER + this.#shaders.get(file)),
    );
    const programs = fragments.map((fragment) => {
      const program = ledger.create("Program");
      gl.attachShader(program, vertex);
      gl.attachShader(program, fragment);
      gl.linkProgram(program);
      return program;
    });
    const total = programs.length;
    for (const [index, program] of programs.entries()) {
      if (parallel) {
        const asked = parallel.COMPLETION_STATUS_KHR;
        await until(
          () =>
            this.#disposed ||
            gl.isContextLost() ||
            gl.getProgramParameter(program, asked),
        );
      } else {
        await turn();
      }
      this.#checkAlive();
      if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
        throw this.#refusal(this.#plan.programs[index].file, program, fragments[index]);
      }
      onProgress?.({ phase: "compile", done: index + 1, total });
    }
    for (const shader of [vertex, ...fragments]) {
      ledger.free("Shader", shader); // the programs keep what they need
    }
    return programs.map((program, index) => {
      gl.useProgram(program);
      for (let unit = 0; unit < this.#plan.programs[index].samplers; ++unit) {
        gl.uniform1i(gl.getUniformLocation(program, `t${unit}`), unit);
      }
      for (let slot = 0; slot < this.#plan.programs[index].blocks; ++slot) {
        const block = gl.getUniformBlockIndex(program, `K${slot}`);
        gl.uniformBlockBinding(program, block, slot);
      }
      const [first, moment, origin, sizes] = UNIFORMS.map((name) =>
        gl.getUniformLocation(program, name),
      );
      return { program, first, moment, origin, sizes };
    });
  }

  #shader(type, text) {
    const gl = this.#gl;
    const shader = this.#ledger.create("Shader", type);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    return shader;
  }

  #refusal(file, program, fragment) {
    const gl = this.#gl;
    if (gl.isContextLost()) {
      return new DeviceError(`the GPU was lost while it compiled ${file}`);
    }
    const log = gl.getShaderInfoLog(fragment) || gl.getProgramInfoLog(program);
    return new DeviceError(`${file} doesn't compile here: ${log.trim()}`);
  }

  #texture([width, height, layers, kind]) {
    const gl = this.#gl;
    const { internal, Texels } = FORMATS[kind];
    const texture = this.#ledger.create("Texture");
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
    gl.texStorage3D(gl.TEXTURE_2D_ARRAY, 1, gl[internal], width, height, layers);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
      gl.texParameteri(gl.TEXTURE_2D_ARRAY, filter, gl.NEAREST);
    }
    for (const wrap of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) {
      gl.texParameteri(gl.TEXTURE_2D_ARRAY, wrap, gl.CLAMP_TO_EDGE);
    }
    if (gl.getError() === gl.OUT_OF_MEMORY) {
      const texel = LANES * Texels.BYTES_PER_ELEMENT;
      const megabytes = (width * height * layers * texel) / 2 ** 20;
      throw new DeviceError(
        `the GPU has no room for a texture of ${megabytes.toFixed(0)} MB`,
      );
    }
    return texture;
  }

  /** Return room for uniform blocks, each at an offset that can be bound. */
  #buffer(entry) {
    const gl = this.#gl;
    const { block, blocks } = entry;
    const buffer = this.#ledger.create("Buffer");
    const alignment = gl.getParameter(gl.UNIFORM_BUFFER_OFFSET_ALIGNMENT);
    const stride = Math.ceil(block / alignment) * alignment;
    const bytes = new Packing(entry).length * Float32Array.BYTES_PER_ELEMENT;
    gl.bindBuffer(gl.UNIFORM_BUFFER, buffer);
    gl.bufferData(gl.UNIFORM_BUFFER, (bytes / block) * stride, gl.STATIC_DRAW);
    gl.bindBuffer(gl.UNIFORM_BUFFER, null);
    return { buffer, stride, size: block, blocks };
  }

  /** Write weights into their uniform blocks. */
  #fillBuffer({ buffer, stride }, entry, tensor) {
    const gl = this.#gl;
    const packing = new Packing(entry);
    const numbers = new Float32Array(packing.length);
    packing.pack(numbersOf(tensor), numbers, 0, 1);
    const size = entry.block / numbers.BYTES_PER_ELEMENT;
    gl.bindBuffer(gl.UNIFORM_BUFFER, buffer);
    for (let k = 0; k < numbers.length / size; ++k) {
      gl.bufferSubData(gl.UNIFORM_BUFFER, k * stride, numbers, k * size, size);
    }
    gl.bindBuffer(gl.UNIFORM_BUFFER, null);
  }

  /** What is uploaded is taken as it is, and not from a buffer. */
  #unpackPlainly() {
    const gl = this.#gl;
    gl.bindBuffer(gl.PIXEL_UNPACK_BUFFER, null);
    for (const state of [gl.UNPACK_FLIP_Y_WEBGL, gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL]) {
      gl.pixelStorei(state, false);
    }
  }

  #write(texture, { width, height, layers }, texels, { format, type }) {
    const gl = this.#gl;
    const target = gl.TEXTURE_2D_ARRAY;
    this.#unpackPlainly();
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(target, texture);
    const box = [0, 0, 0, width, height, layers];
    gl.texSubImage3D(target, 0, ...box, gl[format], gl[type], texels);
  }

  /** Return every step's draws; states are read and written in turn. */
  #loop({ steps, reverse, states, body }) {
    const exchange = new Map(
      states.flatMap(([a, b]) => [
        [a, b],
        [b, a],
      ]),
    );
    return Array.from({ length: steps }, (_, count) => {
      const moment = reverse ? steps - 1 - count : count;
      const swap = count % 2 === 1 ? exchange : new Map();
      return body.flatMap((entry) => this.#draws(entry, moment, swap));
    }).flat();
  }

  /** Return the draws of a stage, each as what it needs: see #needs. */
  #draws(entry, moment, swap) {
    const program = this.#programs[entry.program];
    const { outputs } = this.#plan.programs[entry.program];
    const [x, y, layer] = entry.origins?.[moment] ?? [0, 0, 0];
    const [, height, width] = entry.size;
    const other = (index) => swap.get(index) ?? index;
    const textures = entry.textures.map((index) => this.#textures[other(index)]);
    // Of each target, the texture and the layer where this step begins.
    const targets = (entry.targets ?? [[entry.texture, 0]]).map(([texture, pace]) => [
      other(texture),
      layer + pace * moment,
    ]);
    const sizes = Int32Array.from(entry.sizes);
    const weights = "buffer" in entry ? this.#buffers[entry.buffer] : NO_WEIGHTS;
    const strips = entry.strips ?? [[0, height]];
    return entry.draws.flatMap(([first, count], index) => {
      const layers = targets.flatMap(([texture, start]) =>
        Array.from({ length: count }, (_, k) => [texture, start + first + k]),
      );
      const framebuffer = this.#framebuffer(layers, outputs);
      const offsets = Array.from(
        { length: weights.blocks },
        (_, slot) => (index * weights.blocks + slot) * weights.stride,
      );
      const target = { framebuffer, targets: layers.length };
      const objects = { program, sizes, textures, weights, offsets, ...target };
      const values = { first, moment, corner: [x, y] };
      return strips.map(([start, rows]) =>
        this.#needs({ ...objects, ...values, viewport: [x, y + start, width, rows] }),
      );
    });
  }

  /** Return what a draw needs, as `[what is set, to what, the call that sets it]`. */
  #needs({ program, textures, weights, offsets, framebuffer, sizes, ...values }) {
    const gl = this.#gl;
    const { first, moment, corner, viewport, targets } = values;
    const { buffer, size } = weights;
    const use = () => gl.useProgram(program.program);
    const units = textures.map((texture, unit) => {
      const bind = () => {
        gl.activeTexture(gl.TEXTURE0 + unit);
        gl.bindTexture(gl.TEXTURE_2D_ARRAY, texture);
      };
      return [`unit ${unit}`, [texture], bind];
    });
    const blocks = offsets.map((offset, slot) => {
      const bind = () =>
        gl.bindBufferRange(gl.UNIFORM_BUFFER, slot, buffer, offset, size);
      return [`block ${slot}`, [buffer, offset, size], bind];
    });
    // Locations are objects, each of one program.
    const uniforms = [
      [program.first, [first], () => gl.uniform1i(program.first, first)],
      [program.moment, [moment], () => gl.uniform1i(program.moment, moment)],
      [program.sizes, [...sizes], () => gl.uniform1iv(program.sizes, sizes)],
      [program.origin, corner, () => gl.uniform2i(program.origin, ...corner)],
    ];
    const target = () => gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
    return [
      ["program", [program.program], use],
      ...units,
      ...blocks,
      ...uniforms.filter(([location]) => location !== null),
      ["viewport", viewport, () => gl.viewport(...viewport)],
      ["framebuffer", [framebuffer, targets], target],
    ];
  }

  /**
   * Return the calls of *draws*, less those that change nothing.
   *
   * Nothing is known of the state before the first draw.
   */
  #changes(draws) {
    const gl = this.#gl;
    const known = new Map();
    const triangle = () => gl.drawArrays(gl.TRIANGLES, 0, 3);
    return draws.flatMap((needs) => {
      const changed = needs.filter(([key, values]) => {
        const before = known.get(key);
        known.set(key, values);
        return !before?.every((value, index) => value === values[index]);
      });
      return [...changed.map(([, , call]) => call), triangle];
    });
  }

  /** Return a framebuffer with *layers*, as `[texture, layer]`, attached. */
  #framebuffer(layers, outputs) {
    const key = `${layers.join(" ")} of ${outputs}`;
    if (this.#framebuffers.has(key)) {
      return this.#framebuffers.get(key);
    }
    const gl = this.#gl;
    const framebuffer = this.#ledger.create("Framebuffer");
    gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
    const targets = new Array(outputs).fill(gl.NONE);
    for (const [k, [index, layer]] of layers.entries()) {
      const texture = this.#textures[index];
      targets[k] = gl.COLOR_ATTACHMENT0 + k;
      gl.framebufferTextureLayer(gl.FRAMEBUFFER, targets[k], texture, 0, layer);
    }
    gl.drawBuffers(targets);
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE) {
      throw new DeviceError(`this GPU can't render to ${layers.length} float textures at once`);
    }
    this.#framebuffers.set(key, framebuffer);
    return framebuffer;
  }

  /** Return what reading a tensor takes: a framebuffer per layer, and buffers. */
  #reader(entry) {
    const gl = this.#gl;
    const packing = new Packing(entry);
    const buffer = this.#ledger.create("Buffer");
    const layers = Array.from({ length: packing.layers }, (_, layer) =>
      this.#framebuffer([[entry.texture, layer]], 1),
    );
    return { packing, buffer, layers, texels: new Float32Array(packing.length) };
  }

  #upload(inputs, start, n) {
    for (const [index, input] of this.#inputs.entries()) {
      const { texture, packing, texels } = input;
      let given = inputs[index];
      if (given instanceof Images && this.#paints) {
        input.painter ??= this.#painter(input.entry, given);
        this.#paint(input, given, start, n);
        continue;
      }
      given = given instanceof Images ? given.numbers() : given;
      packing.pack(given, texels, start * packing.count, n);
      this.#write(texture, packing, texels, FORMATS.F32);
    }
  }

  /** Return what writes pictures into an input: a program, and where they are put. */
  #painter(entry, images) {
    const gl = this.#gl;
    const program = this.#ledger.create("Program");
    const shaders = [
      this.#shader(gl.VERTEX_SHADER, VERTEX),
      this.#shader(gl.FRAGMENT_SHADER, HEADER + paintShader(entry, images)),
    ];
    shaders.forEach((shader) => gl.attachShader(program, shader));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      throw this.#refusal("the shader for pictures", program, shaders[1]);
    }
    shaders.forEach((shader) => this.#ledger.free("Shader", shader));
    const names = ["pictures", "layer", "count", "levels"];
    const places = names.map((name) => [name, gl.getUniformLocation(program, name)]);
    const size = [images.width, images.height, this.#plan.batch];
    const pictures = this.#texture([...size, "RGBA8"]);
    return { program, pictures, ...Object.fromEntries(places.slice(1)) };
  }

  /** Draw *n* pictures from *start* on into an input's texture. */
  #paint({ entry, packing, painter }, images, start, n) {
    const gl = this.#gl;
    this.#unpackPlainly();
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D_ARRAY, painter.pictures);
    for (let k = 0; k < n; ++k) {
      const picture = images.picture(start + k);
      const box = [0, 0, k, images.width, images.height, 1];
      const source = picture.data ?? picture;
      const format = [gl.RGBA, gl.UNSIGNED_BYTE];
      gl.texSubImage3D(gl.TEXTURE_2D_ARRAY, 0, ...box, ...format, source);
    }
    gl.useProgram(painter.program);
    gl.uniform1i(painter.count, n);
    gl.uniform2f(painter.levels, images.scale, images.offset);
    gl.viewport(0, 0, packing.width, packing.height);
    for (let layer = 0; layer < packing.layers; ++layer) {
      gl.uniform1i(painter.layer, layer);
      const framebuffer = this.#framebuffer([[entry.texture, layer]], 1);
      gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    }
  }

  #prepare() {
    const gl = this.#gl;
    for (const state of [gl.BLEND, gl.DEPTH_TEST, gl.CULL_FACE, gl.SCISSOR_TEST]) {
      gl.disable(state);
    }
    gl.disable(gl.STENCIL_TEST);
    gl.disable(gl.RASTERIZER_DISCARD);
    gl.colorMask(true, true, true, true);
    gl.bindVertexArray(null);
  }

  /** Draw, whatever was drawn before. */
  #draw(needs) {
    const gl = this.#gl;
    for (const [, , call] of needs) {
      call();
    }
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  #drawAll() {
    for (const call of this.#calls) {
      call();
    }
  }

  /** Draw as above, but give the page a turn whenever *sliceMs* have passed. */
  async #drawInSlices({ sliceMs, signal, onProgress }) {
    let start = performance.now();
    const total = this.#stages.length;
    for (const [done, { draws }] of this.#stages.entries()) {
      for (const draw of draws) {
        this.#draw(draw);
        if (performance.now() - start >= sliceMs) {
          await this.#finished();
          signal?.throwIfAborted();
          this.#prepare();
          start = performance.now();
        }
      }
      onProgress?.({ phase: "predict", done: done + 1, total });
    }
  }

  /** Return when the GPU has done what it was given so far. */
  async #finished() {
    await this.#fenced(until);
  }

  /**
   * Return when the GPU is done or soon will be: the rest may be waited for.
   *
   * *start* is when the run began. Earlier runs tell how long it will take. What nobody
   * looks at needs no turns; its timers would be slow.
   */
  async #nearlyFinished(start) {
    await this.#fenced(async (done) => {
      const rest = this.#likely - HALF_FRAME_MS;
      const step = rest === Infinity ? 1 : Math.max(1, rest / PAUSES);
      while (
        !globalThis.document?.hidden &&
        performance.now() - start < rest &&
        !done()
      ) {
        await pause(step);
      }
    });
  }

  /** Put a fence behind what the GPU was given; *wait* is told how to ask for it. */
  async #fenced(wait) {
    const gl = this.#gl;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    if (fence === null) {
      return; // the context is lost
    }
    this.#ledger.add("Sync", fence);
    gl.flush();
    await wait(() => gl.clientWaitSync(fence, 0, 0) !== gl.TIMEOUT_EXPIRED);
    this.#ledger.free("Sync", fence);
  }

  /** Ask for texels; they are there when the GPU is done. */
  #ask({ packing, buffer, layers, texels }) {
    const gl = this.#gl;
    const { width, height } = packing;
    gl.bindBuffer(gl.PIXEL_PACK_BUFFER, buffer);
    // Chrome copies ahead what a fence guards, but warns of buffers that are used again.
    gl.bufferData(gl.PIXEL_PACK_BUFFER, texels.byteLength, gl.STREAM_READ);
    for (const [layer, framebuffer] of layers.entries()) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
      const offset = layer * width * height * BYTES_PER_TEXEL;
      gl.readPixels(0, 0, width, height, gl.RGBA, gl.FLOAT, offset);
    }
    gl.bindBuffer(gl.PIXEL_PACK_BUFFER, null);
  }

  #take({ packing, buffer, texels }, target, start, n) {
    const gl = this.#gl;
    gl.bindBuffer(gl.PIXEL_PACK_BUFFER, buffer);
    gl.getBufferSubData(gl.PIXEL_PACK_BUFFER, 0, texels);
    gl.bindBuffer(gl.PIXEL_PACK_BUFFER, null);
    packing.unpack(texels, target, start * packing.count, n);
  }

  /**
   * Return the outputs for *n* samples of each input, both in the model's order.
   *
   * With *places* only those outputs are read. With *sliceMs* the page gets a turn whenever so many milliseconds have passed;
   * then, and between batches, *signal* may abort.
   */
  run(inputs, n, options = {}) {
    return this.#queued(() => this.#predict(inputs, n, options));
  }

  /**
   * Return `[name, shape, numbers]` of stages for the first batch of *inputs*.
   *
   * Those of *names*, or all; loops have states, but no result of their own.
   */
  stages(inputs, n, names) {
    const count = Math.min(n, this.#plan.batch);
    return this.#queued(() => this.#inspect(inputs, count, names));
  }

  /** Run *task* after those before it; anew if the context is lost on the way. */
  #queued(task) {
    const result = this.#last.then(async () => {
      for (let attempt = 1; ; ++attempt) {
        await this.#recover();
        try {
          const value = await task();
          if (this.#intact()) {
            return value;
          }
        } catch (error) {
          if (this.#intact()) {
            throw error;
          }
        }
        if (attempt === ATTEMPTS) {
          throw new DeviceError(AGAIN);
        }
      }
    });
    this.#last = result.catch(() => {});
    return result;
  }

  #intact() {
    return this.#builtAfter === this.#losses && !this.#gl.isContextLost();
  }

  /** Return when the context is there, with everything on it. */
  async #recover() {
    this.#checkAlive();
    while (this.#gl.isContextLost()) {
      await new Promise((resolve, reject) => {
        const late = () =>
          reject(new DeviceError("the browser took the GPU away and kept it"));
        const timer = setTimeout(late, RESTORATION_MS);
        this.#restorations.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    if (!this.#intact()) {
      await this.#build({});
    }
  }

  async #predict(inputs, n, { places, signal, sliceMs, onProgress }) {
    const outputs = places?.map((place) => this.#outputs[place]) ?? this.#outputs;
    const results = outputs.map(
      ({ packing }) => new Float32Array(n * packing.count),
    );
    const stats = { ...this.stats, upload: 0, draws: 0, readback: 0 };
    const { batch } = this.#plan;
    for (let start = 0; start < n; start += batch) {
      signal?.throwIfAborted();
      const count = Math.min(batch, n - start);
      const times = [performance.now()];
      this.#prepare();
      this.#upload(inputs, start, count);
      times.push(performance.now());
      if (sliceMs === undefined) {
        this.#drawAll();
      } else {
        await this.#drawInSlices({ sliceMs, signal, onProgress });
      }
      times.push(performance.now());
      outputs.forEach((output) => this.#ask(output));
      await this.#nearlyFinished(times[0]);
      outputs.forEach((output, index) =>
        this.#take(output, results[index], start, count),
      );
      times.push(performance.now());
      this.#likely = Math.min(times[3] - times[0], SLOWER * this.#likely);
      stats.upload += times[1] - times[0];
      stats.draws += times[2] - times[1];
      stats.readback += times[3] - times[2];
    }
    this.stats = stats;
    return results;
  }

  #inspect(inputs, n, names) {
    const results = [];
    this.#prepare();
    this.#upload(inputs, 0, n);
    for (const stage of this.#stages) {
      stage.draws.forEach((draw) => this.#draw(draw));
      if (stage.result !== null && (names?.includes(stage.name) ?? true)) {
        const packing = new Packing(stage.result);
        const numbers = new Float32Array(n * packing.count);
        packing.unpack(this.#texels(stage.result, packing), numbers, 0, n);
        results.push([stage.name, stage.result.shape, numbers]);
      }
    }
    return results;
  }

  /** Return the texels of a stage's result, read while the page waits. */
  #texels({ texture, origins }, { layers, width, height, length }) {
    const gl = this.#gl;
    const texels = new Float32Array(length);
    const [x, y, first] = origins?.[0] ?? [0, 0, 0];
    for (let layer = 0; layer < layers; ++layer) {
      const framebuffer = this.#framebuffer([[texture, first + layer]], 1);
      gl.bindFramebuffer(gl.FRAMEBUFFER, framebuffer);
      const offset = layer * width * height * LANES;
      gl.readPixels(x, y, width, height, gl.RGBA, gl.FLOAT, texels, offset);
    }
    return texels;
  }

  /** Free what was created; runs that wait fail. */
  dispose() {
    const { canvas } = this.#gl;
    canvas.removeEventListener("webglcontextlost", this.#lost);
    canvas.removeEventListener("webglcontextrestored", this.#restored);
    this.#disposed = true;
    this.#ledger.freeAll();
  }
}

/** Let *gl* render to what *plan* draws on; return whether it can. */
function renderFloats(gl, { textures, steps }) {
  const stages = steps.flatMap((step) => step.body ?? [step]);
  const whole = stages.every(({ texture }) => textures[texture][3] === "F16");
  return (
    gl.getExtension("EXT_color_buffer_float") !== null ||
    (whole && gl.getExtension("EXT_color_buffer_half_float") !== null)
  );
}

/**
 * Return the plan with the highest limits that *gl* satisfies; throw DeviceError.
 *
 * *read* returns a plan by its file's name, in a promise. plan.json has the lowest
 * limits, and names the others. No plan for more than *maxTextureSize* is taken.
 */
export async function choosePlan(gl, read, maxTextureSize = Infinity) {
  const lowest = await read("plan.json");
  if (!renderFloats(gl, lowest)) {
    throw new DeviceError("this GPU can't render to float textures");
  }
  for (const name of lowest.higher) {
    const plan = await read(name);
    const { texture_size: limit } = plan.limits;
    if (limit <= maxTextureSize && lacking(gl, plan, maxTextureSize).length === 0) {
      return plan;
    }
  }
  const reasons = lacking(gl, lowest, maxTextureSize);
  if (reasons.length > 0) {
    throw new DeviceError(
      `this GPU is too small for the package: ${reasons.join("; ")}`,
    );
  }
  return lowest;
}

/** Return the limits of *gl* that are below what *plan* needs. */
function lacking(gl, plan, maxTextureSize) {
  const most = (numbers) => numbers.reduce((a, b) => Math.max(a, b), 0);
  const sizes = plan.textures;
  const needed = {
    MAX_TEXTURE_SIZE: most(sizes.map(([width, height]) => Math.max(width, height))),
    MAX_ARRAY_TEXTURE_LAYERS: most(sizes.map(([, , layers]) => layers)),
    MAX_DRAW_BUFFERS: most(plan.programs.map(({ outputs }) => outputs)),
    MAX_TEXTURE_IMAGE_UNITS: most(plan.programs.map(({ samplers }) => samplers)),
    MAX_FRAGMENT_UNIFORM_BLOCKS: most(plan.programs.map(({ blocks }) => blocks)),
    MAX_UNIFORM_BLOCK_SIZE: most(plan.buffers.map(({ block }) => block)),
  };
  const given = (name) => {
    const value = gl.getParameter(gl[name]);
    return name === "MAX_TEXTURE_SIZE" ? Math.min(value, maxTextureSize) : value;
  };
  return Object.entries(needed)
    .filter(([name, need]) => given(name) < need)
    .map(([name, need]) => `${name} is ${given(name)}, needed ${need}`);
}
