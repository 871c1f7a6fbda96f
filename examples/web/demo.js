// What the pages share: a panel that loads a model, bars, feature maps, a diagram.

const SVG = "http://www.w3.org/2000/svg";
const BOX = { width: 230, height: 40, gap: 26 };
// So many letters fit into a box.
const LABEL = 30;
// Diagrams shrink so far, then they scroll.
const SMALLEST = 0.55;
// More maps than this say no more.
const MOST_MAPS = 64;

/** Return a new element with attributes and children. */
export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

/** Return a function that runs *task* with the newest arguments, one at a time. */
export function newest(task) {
  let waiting = null;
  let running = false;
  return async (...details) => {
    waiting = details;
    if (running) {
      return;
    }
    running = true;
    try {
      while (waiting !== null) {
        const current = waiting;
        waiting = null;
        await task(...current);
      }
    } finally {
      running = false;
    }
  };
}

/**
 * Fill *panel* with progress, devices and timings of the package *name*.
 *
 * *onReady* is called with the model once it is there, and after each change of device;
 * the first device is the one that the address asks for, else *preferred*.
 */
export async function openModel(name, panel, onReady, preferred = "auto") {
  const bar = element("progress", { "aria-label": "Loading", max: "1", value: "0" });
  const message = element("p", { class: "hint", role: "status" }, "Loading");
  const devices = element(
    "select",
    { disabled: "" },
    element("option", { value: "auto" }, "first that works"),
    element("option", { value: "webgl2" }, "WebGL 2"),
    element("option", { value: "cpu" }, "JavaScript"),
  );
  const facts = element("dl", { class: "facts" });
  const choice = element("label", {}, "Device ", devices);
  panel.append(element("h2", {}, "Model"), bar, message, choice, facts);

  const onProgress = ({ phase, done, total }) => {
    if (bar.hidden) {
      return; // what is fetched later isn't waited for
    }
    bar.value = done / total;
    message.textContent = { download: "Downloading", compile: "Compiling" }[phase];
  };
  const failed = (error) => {
    bar.hidden = true;
    message.className = "error";
    message.textContent = error.message;
  };
  let model;
  try {
    const { load } = await import(`./packages/${name}/web/model.js`);
    model = await load({ device: wantedDevice() ?? preferred, onProgress });
  } catch (error) {
    failed(error);
    throw error;
  }
  const ready = async () => {
    bar.hidden = true;
    message.textContent = model.fallback ?? "";
    devices.disabled = false;
    devices.value = model.device;
    await onReady(model);
    showFacts(facts, model);
  };
  devices.addEventListener("change", async () => {
    devices.disabled = true;
    await model.use(devices.value).then(ready, failed);
  });
  await ready();
  document.documentElement.dataset.ready = "";
  return { model, refresh: () => showFacts(facts, model) };
}

/** The device that the address asks for (`?device=cpu`). */
function wantedDevice() {
  return new URLSearchParams(location.search).get("device");
}

function showFacts(list, model) {
  const milliseconds = (value) => `${value.toFixed(1)} ms`;
  const { load, upload, draws, readback } = model.stats;
  const rows = { Runs: model.renderer, "Load and build": milliseconds(load) };
  if (draws !== undefined) {
    rows.Prediction = milliseconds(upload + draws + readback);
  }
  if (model.device === "webgl2") {
    rows.Upload = milliseconds(upload);
    rows.Draws = milliseconds(draws);
    rows.Readback = milliseconds(readback);
  }
  list.replaceChildren(
    ...Object.entries(rows).flatMap(([name, text]) => [
      element("dt", {}, name),
      element("dd", {}, text),
    ]),
  );
}

/** Fill *container* with a bar for each of *labels*; return what sets them. */
export function bars(container, labels) {
  container.className = "bars";
  const rows = labels.map((label) => {
    const name = element("span", {}, label);
    const meter = element("meter", { "aria-label": label, max: "1" });
    const output = element("output");
    container.append(name, meter, output);
    return { name, meter, output };
  });
  return (values) => {
    const best = values.indexOf(Math.max(...values));
    for (const [index, { name, meter, output }] of rows.entries()) {
      meter.value = values[index];
      output.textContent = `${(100 * values[index]).toFixed(1)} %`;
      name.classList.toggle("best", index === best && values[best] > 0);
    }
  };
}

/** Draw channel *c* of an image `(h, w, channels)` in grey, from *low* to *high*. */
export function drawChannel(canvas, { data, shape: [h, w, channels] }, c, low, high) {
  canvas.width = w;
  canvas.height = h;
  const context = canvas.getContext("2d");
  const image = context.createImageData(w, h);
  const scale = high > low ? 255 / (high - low) : 0;
  for (let i = 0; i < h * w; ++i) {
    const level = (data[i * channels + c] - low) * scale;
    image.data.set([level, level, level, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

/** Show what each stage gives: images for maps, a strip of pixels for vectors. */
export function showMaps(container, outputs) {
  container.replaceChildren(
    ...Object.entries(outputs).map(([name, output]) => {
      const shape = asImage(output.shape);
      const caption = `${name} (${output.shape.join(" × ")})`;
      return element(
        "figure",
        {},
        element("figcaption", {}, caption),
        ...mapsOf({ data: output.data, shape }),
      );
    }),
  );
}

/** Vectors become rows of at most 64 pixels. */
function asImage(shape) {
  if (shape.length === 3) {
    return shape;
  }
  const size = shape.reduce((a, b) => a * b, 1);
  const width = Math.min(size, 64);
  return [Math.ceil(size / width), width, 1];
}

function mapsOf(output) {
  const [h, w, channels] = output.shape;
  let [low, high] = [Infinity, -Infinity];
  for (const value of output.data.subarray(0, h * w * channels)) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const width = channels === 1 ? 8 * w : Math.max(2 * w, 40);
  return Array.from({ length: Math.min(channels, MOST_MAPS) }, (_, c) => {
    const canvas = element("canvas", { "aria-hidden": "true" });
    drawChannel(canvas, output, c, low, high);
    canvas.style.width = `${Math.min(width, 320)}px`;
    return canvas;
  });
}

/** Draw the model's stages as boxes, what they read as lines. */
export function showDiagram(container, { inputs, stages }) {
  const nodes = [
    ...inputs.map(({ name, shape }) => ({ name, layers: "input", inputs: [], shape })),
    ...stages,
  ];
  const depths = new Map();
  const columns = new Map();
  const counts = [];
  for (const { name, inputs: read } of nodes) {
    const depth = Math.max(-1, ...read.map((source) => depths.get(source))) + 1;
    depths.set(name, depth);
    columns.set(name, counts[depth] ?? 0);
    counts[depth] = (counts[depth] ?? 0) + 1;
  }
  const step = { x: BOX.width + BOX.gap, y: BOX.height + BOX.gap };
  const width = Math.max(...counts) * step.x + 2 * BOX.gap;
  const height = counts.length * step.y;
  const place = (name) => {
    const depth = depths.get(name);
    const left = (width - counts[depth] * step.x) / 2 + BOX.gap / 2;
    return [left + columns.get(name) * step.x, depth * step.y + 1];
  };
  const svg = drawing("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
  svg.style.minWidth = `${Math.round(width * SMALLEST)}px`;
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${nodes.length} stages`);
  for (const { name, inputs: read } of nodes) {
    for (const source of read) {
      const far = depths.get(name) - depths.get(source) > 1;
      svg.append(drawing("path", { d: line(place(source), place(name), far) }));
    }
  }
  svg.append(...nodes.map((node) => box(node, place(node.name))));
  container.classList.add("diagram");
  container.tabIndex = 0; // else keys can't scroll it
  container.replaceChildren(svg);
}

/** A line to the next row; one around the boxes to a row further down. */
function line([x1, y1], [x2, y2], far) {
  const [bottom, top] = [y1 + BOX.height, y2];
  if (!far) {
    const [from, to] = [x1 + BOX.width / 2, x2 + BOX.width / 2];
    const middle = (bottom + top) / 2;
    return `M${from} ${bottom} C${from} ${middle} ${to} ${middle} ${to} ${top}`;
  }
  const [right, end] = [x1 + BOX.width, x2 + BOX.width];
  const side = Math.max(right, end) + BOX.gap;
  const [from, to] = [y1 + BOX.height / 2, y2 + BOX.height / 2];
  return `M${right} ${from} C${side} ${from} ${side} ${to} ${end} ${to}`;
}

function box({ name, layers, inputs, shape }, [x, y]) {
  const group = drawing("g", { transform: `translate(${x} ${y})` });
  if (inputs.length === 0) {
    group.setAttribute("class", "port");
  }
  const { width, height } = BOX;
  const center = width / 2;
  const title = drawing("title", {}, `${name}: ${layers}`);
  const label = drawing("text", { x: center, y: 16 }, shortened(layers));
  const size = ` (${shape.join(" × ")})`;
  // Names of layers of a kind differ in their ends.
  const detail = shortened(name, LABEL - size.length, 4) + size;
  group.append(
    title,
    drawing("rect", { width, height, rx: 5 }),
    label,
    drawing("text", { x: center, y: 32, class: "detail" }, detail),
  );
  return group;
}

function shortened(text, most = LABEL, end = 0) {
  if (text.length <= most) {
    return text;
  }
  return `${text.slice(0, most - 1 - end)}…${text.slice(text.length - end)}`;
}

function drawing(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}
