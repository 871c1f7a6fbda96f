// What the tests call in the page, and what it notes for them.

window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});

// Every shader text that the browser was given, and how many GPU objects live.
window.sources = [];
window.living = {};
const gl = WebGL2RenderingContext.prototype;
const { shaderSource } = gl;
gl.shaderSource = function (shader, text) {
  window.sources.push(text);
  return shaderSource.call(this, shader, text);
};
for (const kind of ["Texture", "Framebuffer", "Program", "Shader", "Buffer", "Sync"]) {
  const made = kind === "Sync" ? "fenceSync" : `create${kind}`;
  const { [made]: create, [`delete${kind}`]: free } = gl;
  window.living[kind] = 0;
  gl[made] = function (...details) {
    window.living[kind] += 1;
    return create.apply(this, details);
  };
  gl[`delete${kind}`] = function (object) {
    window.living[kind] -= 1;
    return free.call(this, object);
  };
}

const numbers = (output) =>
  ArrayBuffer.isView(output)
    ? [Array.from(output)]
    : Object.values(output).map((y) => Array.from(y));

window.harness = {
  models: {},

  async load(folder, options) {
    const { load } = await import(`./${folder}/web/model.js`);
    return load({ device: "webgl2", ...options });
  },

  async predict(folder, input, options) {
    const model = await window.harness.load(folder, options);
    try {
      return numbers(await model.predict(input));
    } finally {
      model.dispose();
    }
  },

  /** Do the same in a module worker; without *input*, verify the package there. */
  predictInWorker(folder, input, options) {
    const worker = new Worker("worker.js", { type: "module" });
    return new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
      worker.postMessage({ folder, input, options });
    }).finally(() => worker.terminate());
  },

  numbers,
};
