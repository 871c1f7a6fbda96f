import { openModel, showDiagram } from "./demo.js";

const TILE = 64;
const FACTOR = 4;
// Tiles overlap: what lies near an edge is thrown away.
const MARGIN = 8;
const STEP = TILE - 2 * MARGIN;
const TILES = 2;
const SIDE = STEP * TILES + 2 * MARGIN;

const before = document.querySelector("#before");
const after = document.querySelector("#after");
const split = document.querySelector("#split");
const tiles = document.querySelector("#tiles");
const problem = document.querySelector("#problem");
const source = document.createElement("canvas");
source.width = SIDE;
source.height = SIDE;
const paint = source.getContext("2d", { willReadFrequently: true });
for (const canvas of [before, after]) {
  canvas.width = SIDE * FACTOR;
  canvas.height = SIDE * FACTOR;
}

let session;
let running = null;

/** Draw a small landscape, with edges and letters to sharpen. */
function drawLandscape() {
  const sky = paint.createLinearGradient(0, 0, 0, SIDE);
  sky.addColorStop(0, "#27507f");
  sky.addColorStop(0.65, "#f2c48b");
  paint.fillStyle = sky;
  paint.fillRect(0, 0, SIDE, SIDE);
  paint.fillStyle = "#fff3cf";
  paint.beginPath();
  paint.arc(80, 40, 11, 0, 2 * Math.PI);
  paint.fill();
  const ridges = [
    ["#5d6d86", [0, 70, 25, 40, 45, 62, 70, 34, 112, 72]],
    ["#39475a", [0, 84, 34, 60, 60, 82, 88, 58, 112, 80]],
    ["#1f2a33", [0, 98, 40, 88, 76, 98, 112, 86]],
  ];
  for (const [color, points] of ridges) {
    paint.fillStyle = color;
    paint.beginPath();
    paint.moveTo(0, SIDE);
    for (let i = 0; i < points.length; i += 2) {
      paint.lineTo(points[i], points[i + 1]);
    }
    paint.lineTo(SIDE, SIDE);
    paint.fill();
  }
  paint.fillStyle = "#f7efe2";
  paint.font = "bold 13px sans-serif";
  paint.fillText("KERAMOS", 22, 107);
}

/** Return the pixels of a tile, 0 to 255, as the model wants them. */
function tile(x, y) {
  const { data } = paint.getImageData(x, y, TILE, TILE);
  const pixels = new Float32Array(TILE * TILE * 3);
  for (let i = 0; i < TILE * TILE; ++i) {
    pixels.set([data[4 * i], data[4 * i + 1], data[4 * i + 2]], 3 * i);
  }
  return pixels;
}

/** Draw the inner part of an enlarged tile, and what lies at the picture's edge. */
function drawTile(pixels, x, y) {
  const size = TILE * FACTOR;
  const image = new ImageData(size, size);
  for (let i = 0; i < size * size; ++i) {
    const [red, green, blue] = pixels.subarray(3 * i, 3 * i + 3);
    image.data.set([red, green, blue, 255], 4 * i);
  }
  const margin = MARGIN * FACTOR;
  const last = STEP * (TILES - 1);
  const [left, top] = [x, y].map((start) => (start === 0 ? 0 : margin));
  const [right, bottom] = [x, y].map((start) => size - (start === last ? 0 : margin));
  const inner = [left, top, right - left, bottom - top];
  after.getContext("2d").putImageData(image, x * FACTOR, y * FACTOR, ...inner);
}

/** Stretch the picture, then enlarge it tile by tile. */
async function enlarge() {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  for (const canvas of [before, after]) {
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(source, 0, 0, canvas.width, canvas.height);
  }
  if (session === undefined) {
    return;
  }
  tiles.value = 0;
  try {
    for (let y = 0; y < TILES; ++y) {
      for (let x = 0; x < TILES; ++x) {
        const place = [x * STEP, y * STEP];
        const options = { signal, sliceMs: 12 };
        drawTile(await session.model.predict(tile(...place), options), ...place);
        tiles.value += 1 / TILES ** 2;
        session.refresh();
      }
    }
    document.documentElement.dataset.enlarged = "";
  } catch (error) {
    if (!signal.aborted) {
      problem.textContent = error.message;
    }
  }
}

split.addEventListener("input", () => {
  after.style.clipPath = `inset(0 0 0 ${split.value}%)`;
});
document.querySelector("#file").addEventListener("change", async ({ target }) => {
  if (target.files.length === 0) {
    return; // the dialogue was left without a choice
  }
  problem.textContent = "";
  try {
    const image = await createImageBitmap(target.files[0]);
    const side = Math.min(image.width, image.height);
    const corner = [(image.width - side) / 2, (image.height - side) / 2];
    paint.imageSmoothingQuality = "high";
    paint.drawImage(image, ...corner, side, side, 0, 0, SIDE, SIDE);
    enlarge();
  } catch {
    problem.textContent = "This file isn't a picture that the browser can read.";
  }
});

drawLandscape();
enlarge();
split.dispatchEvent(new Event("input"));
session = await openModel("upscale", document.querySelector("#panel"), (model) => {
  showDiagram(document.querySelector("#diagram"), model);
});
enlarge();
