import { bars, drawChannel, newest, openModel, showDiagram, showMaps } from "./demo.js";

const SIZE = 28;
// MNIST: the digit fills a box of 20 pixels, its centre of mass in the middle.
const BOX = 20;
const PEN = 22;
const STEP = 8;

const pad = document.querySelector("#pad");
const seen = document.querySelector("#seen");
const answer = document.querySelector("#answer");
const maps = document.querySelector("#maps");
const ink = pad.getContext("2d", { willReadFrequently: true });
const show = bars(document.querySelector("#bars"), [..."0123456789"]);
const small = document.createElement("canvas");
const smallInk = small.getContext("2d", { willReadFrequently: true });

let session;

ink.lineCap = "round";
ink.lineJoin = "round";
ink.lineWidth = PEN;
ink.strokeStyle = "#fff";

/** Return the drawing as MNIST would have it, or null if there is none. */
function digit() {
  const { width, height } = pad;
  const { data } = ink.getImageData(0, 0, width, height);
  let [left, top, right, bottom] = [width, height, -1, -1];
  let [mass, x, y] = [0, 0, 0];
  for (let i = 0; i < width * height; ++i) {
    const level = data[4 * i];
    if (level > 0) {
      const [column, row] = [i % width, Math.floor(i / width)];
      left = Math.min(left, column);
      right = Math.max(right, column);
      top = Math.min(top, row);
      bottom = Math.max(bottom, row);
      mass += level;
      x += level * column;
      y += level * row;
    }
  }
  if (mass === 0) {
    return null;
  }
  const scale = BOX / Math.max(right - left + 1, bottom - top + 1);
  small.width = SIZE;
  small.height = SIZE;
  smallInk.fillRect(0, 0, SIZE, SIZE);
  smallInk.imageSmoothingQuality = "high";
  const place = [SIZE / 2 - (x / mass) * scale, SIZE / 2 - (y / mass) * scale];
  smallInk.drawImage(pad, ...place, width * scale, height * scale);
  const pixels = smallInk.getImageData(0, 0, SIZE, SIZE).data;
  return Float32Array.from({ length: SIZE * SIZE }, (_, i) => pixels[4 * i] / 255);
}

const read = newest(async () => {
  const pixels = digit();
  if (session === undefined || pixels === null) {
    return;
  }
  drawChannel(seen, { data: pixels, shape: [SIZE, SIZE, 1] }, 0, 0, 1);
  const probabilities = await session.model.predict(pixels);
  show(probabilities);
  answer.textContent = probabilities.indexOf(Math.max(...probabilities));
  session.refresh();
  const layers = session.model.taps.map(({ name }) => name);
  showMaps(maps, await session.model.layerOutputs(pixels, layers));
});

function clear() {
  ink.fillRect(0, 0, pad.width, pad.height);
  seen.getContext("2d").clearRect(0, 0, SIZE, SIZE);
  answer.textContent = "–";
  maps.replaceChildren();
  show(new Array(10).fill(0));
}

function stroke(from, to) {
  ink.beginPath();
  ink.moveTo(...from);
  ink.lineTo(...to);
  ink.stroke();
  read();
}

let last = null;

function position(event) {
  const { left, top, width, height } = pad.getBoundingClientRect();
  return [
    ((event.clientX - left) * pad.width) / width,
    ((event.clientY - top) * pad.height) / height,
  ];
}

pad.addEventListener("pointerdown", (event) => {
  pad.setPointerCapture(event.pointerId);
  last = position(event);
  stroke(last, last);
});
pad.addEventListener("pointermove", (event) => {
  if (last !== null) {
    const next = position(event);
    stroke(last, next);
    last = next;
  }
});
for (const end of ["pointerup", "pointercancel"]) {
  pad.addEventListener(end, () => {
    last = null;
  });
}

const MOVES = {
  ArrowLeft: [-STEP, 0],
  ArrowRight: [STEP, 0],
  ArrowUp: [0, -STEP],
  ArrowDown: [0, STEP],
};
let pen = [pad.width / 2, pad.height / 4];
let lowered = true;

pad.addEventListener("keydown", (event) => {
  if (event.key === " ") {
    lowered = !lowered;
  } else if (event.key === "Delete") {
    clear();
  } else if (event.key in MOVES) {
    const inside = (value, most) => Math.min(Math.max(value, PEN), most - PEN);
    const [dx, dy] = MOVES[event.key];
    const next = [inside(pen[0] + dx, pad.width), inside(pen[1] + dy, pad.height)];
    if (lowered) {
      stroke(pen, next);
    }
    pen = next;
  } else {
    return;
  }
  event.preventDefault();
});
document.querySelector("#clear").addEventListener("click", clear);

clear();
session = await openModel("digits", document.querySelector("#panel"), async (model) => {
  showDiagram(document.querySelector("#diagram"), model);
  await model.predict(new Float32Array(SIZE * SIZE));
});
read();
