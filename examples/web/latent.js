import { drawChannel, newest, openModel, showDiagram, showMaps } from "./demo.js";

const SIZE = 28;
const GRID = 15;
// Two dimensions, normally distributed: nearly all digits lie within.
const REACH = 3;
const STEP = 0.05;
const LARGE_STEP = 0.5;

const plane = document.querySelector("#plane");
const digit = document.querySelector("#digit");
const point = document.querySelector("#point");
const maps = document.querySelector("#maps");
const context = plane.getContext("2d");
const backdrop = document.createElement("canvas");
backdrop.width = GRID * SIZE;
backdrop.height = GRID * SIZE;

let session;
let chosen = [0.5, -0.5];

/** Draw the digits of a grid of points behind the plane. */
async function drawBackdrop(model) {
  const points = [];
  for (let row = 0; row < GRID; ++row) {
    for (let column = 0; column < GRID; ++column) {
      points.push(coordinate(column), -coordinate(row));
    }
  }
  const pixels = await model.predict(points, { sliceMs: 12 });
  const one = document.createElement("canvas");
  const size = SIZE * SIZE;
  for (let k = 0; k < GRID * GRID; ++k) {
    const data = pixels.subarray(k * size, (k + 1) * size);
    drawChannel(one, { data, shape: [SIZE, SIZE, 1] }, 0, 0, 1);
    const place = [(k % GRID) * SIZE, Math.floor(k / GRID) * SIZE];
    backdrop.getContext("2d").drawImage(one, ...place);
  }
}

function coordinate(index) {
  return (((index + 0.5) / GRID) * 2 - 1) * REACH;
}

function drawPlane() {
  const { width, height } = plane;
  context.globalAlpha = 1;
  context.fillRect(0, 0, width, height);
  context.globalAlpha = 0.45;
  context.drawImage(backdrop, 0, 0, width, height);
  context.globalAlpha = 1;
  const x = (chosen[0] / REACH / 2 + 0.5) * width;
  const y = (0.5 - chosen[1] / REACH / 2) * height;
  context.strokeStyle = "#ff9a6b";
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(x, 0);
  context.lineTo(x, height);
  context.moveTo(0, y);
  context.lineTo(width, y);
  context.stroke();
  context.beginPath();
  context.arc(x, y, 9, 0, 2 * Math.PI);
  context.stroke();
  point.textContent = `z = (${chosen.map((z) => z.toFixed(2)).join(", ")})`;
}

const decode = newest(async () => {
  if (session === undefined) {
    return;
  }
  const pixels = await session.model.predict(chosen);
  drawChannel(digit, { data: pixels, shape: [SIZE, SIZE, 1] }, 0, 0, 1);
  session.refresh();
  showMaps(maps, await session.model.layerOutputs(chosen));
});

function choose(point) {
  chosen = point.map((z) => Math.min(Math.max(z, -REACH), REACH));
  drawPlane();
  decode();
}

function follow(event) {
  const { left, top, width, height } = plane.getBoundingClientRect();
  choose([
    ((event.clientX - left) / width - 0.5) * 2 * REACH,
    (0.5 - (event.clientY - top) / height) * 2 * REACH,
  ]);
}

plane.addEventListener("pointerdown", (event) => {
  plane.setPointerCapture(event.pointerId);
  follow(event);
});
plane.addEventListener("pointermove", (event) => {
  if (plane.hasPointerCapture(event.pointerId)) {
    follow(event);
  }
});

const MOVES = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
};
plane.addEventListener("keydown", (event) => {
  const move = MOVES[event.key];
  if (move !== undefined) {
    event.preventDefault();
    const step = event.shiftKey ? LARGE_STEP : STEP;
    choose(chosen.map((z, axis) => z + move[axis] * step));
  }
});

drawPlane();
session = await openModel(
  "vae_decoder",
  document.querySelector("#panel"),
  async (model) => {
    showDiagram(document.querySelector("#diagram"), model);
    await drawBackdrop(model);
  },
);
choose(chosen);
