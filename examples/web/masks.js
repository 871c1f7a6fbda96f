import { bars, newest, openModel, showDiagram } from "./demo.js";
import { PictureSource, drawOverlay } from "./picture.js";

const ANSWERS = ["mask", "no mask"];
// Levels from 0 to 255 become -1 to 1.
const READING = { fit: "fill", scale: 1 / 127.5, offset: -1 };

const face = document.querySelector("#face");
const answer = document.querySelector("#answer");
const opacity = document.querySelector("#opacity");
const shown = document.querySelector("#shown");
const showBars = bars(document.querySelector("#bars"), ANSWERS);
const picture = document.createElement("canvas");
picture.width = face.width;
picture.height = face.height;
// Drawn in units of the 224 pixels that the network sees.
const paint = picture.getContext("2d");
paint.scale(face.width / 224, face.height / 224);

let session;
let heat = null;

function ellipse(x, y, width, height, colour) {
  paint.fillStyle = colour;
  paint.beginPath();
  paint.ellipse(x, y, width, height, 0, 0, 2 * Math.PI);
  paint.fill();
}

/** Draw a face; *mask* is the colour of what it wears, or "none". */
function drawFace(mask) {
  paint.fillStyle = "#8a97a3";
  paint.fillRect(0, 0, 224, 224);
  ellipse(112, 88, 88, 98, "#33241a");
  paint.fillStyle = "#b98a6c";
  paint.fillRect(84, 190, 56, 34);
  const skin = paint.createRadialGradient(104, 100, 20, 112, 126, 105);
  skin.addColorStop(0, "#efc9ad");
  skin.addColorStop(1, "#b07f60");
  ellipse(112, 126, 72, 94, skin);
  for (const side of [-1, 1]) {
    const x = 112 + side * 30;
    ellipse(x, 84, 18, 4, "#33241a");
    ellipse(x, 104, 13, 7, "#f7f5f2");
    ellipse(x, 104, 6, 6, "#2c1f18");
  }
  ellipse(112, 138, 12, 9, "#b5846a");
  if (mask === "none") {
    ellipse(112, 174, 26, 9, "#a8484a");
    ellipse(112, 171, 20, 4, "#f1eeea");
  } else {
    drawMask(mask);
  }
  heat = null;
  read();
}

/** Draw a mask from the bridge of the nose down, with pleats and loops. */
function drawMask(colour) {
  paint.save();
  paint.beginPath();
  paint.ellipse(112, 126, 72, 94, 0, 0, 2 * Math.PI);
  paint.clip();
  paint.strokeStyle = "#e6e6e6";
  paint.lineWidth = 3;
  for (const side of [-1, 1]) {
    paint.beginPath();
    paint.moveTo(112 + side * 58, 142);
    paint.lineTo(112 + side * 74, 112);
    paint.stroke();
  }
  const cloth = paint.createLinearGradient(48, 0, 176, 0);
  cloth.addColorStop(0, "#5c6670");
  cloth.addColorStop(0.2, colour);
  cloth.addColorStop(0.8, colour);
  cloth.addColorStop(1, "#5c6670");
  paint.fillStyle = cloth;
  paint.beginPath();
  paint.moveTo(48, 140);
  paint.quadraticCurveTo(112, 108, 176, 140);
  paint.lineTo(168, 186);
  paint.quadraticCurveTo(112, 226, 56, 186);
  paint.fill();
  paint.strokeStyle = "#00000030";
  paint.lineWidth = 2;
  for (const y of [150, 168, 186]) {
    paint.beginPath();
    paint.moveTo(50, y);
    paint.quadraticCurveTo(112, y + 10, 174, y);
    paint.stroke();
  }
  paint.restore();
}

const read = newest(async () => {
  show();
  if (session === undefined) {
    return;
  }
  const { model, refresh } = session;
  const probabilities = await model.predict(picture, READING);
  const best = probabilities.indexOf(Math.max(...probabilities));
  showBars(probabilities);
  answer.textContent = ANSWERS[best];
  refresh();
  const classIndex = shown.value === "" ? best : Number(shown.value);
  heat = await model.classActivationMap(picture, { ...READING, classIndex });
  show();
  face.dataset.shown = classIndex;
});

function show() {
  drawOverlay(face, picture, heat, Number(opacity.value));
}

const source = new PictureSource(
  {
    picture,
    camera: document.querySelector("#camera"),
    file: document.querySelector("#file"),
    problem: document.querySelector("#problem"),
  },
  read,
);
for (const button of document.querySelectorAll("[data-mask]")) {
  button.addEventListener("click", () => {
    source.stop();
    drawFace(button.dataset.mask);
  });
}
opacity.addEventListener("input", show);
shown.addEventListener("change", read);

drawFace("#7fb4d8");
session = await openModel(
  "masks",
  document.querySelector("#panel"),
  async (model) => {
    showDiagram(document.querySelector("#diagram"), model);
    await model.predict(picture, READING);
  },
);
read();
