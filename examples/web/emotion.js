import { bars, newest, openModel, showDiagram } from "./demo.js";
import { PictureSource, drawOverlay } from "./picture.js";

const EMOTIONS = [
  "angry",
  "disgusted",
  "afraid",
  "happy",
  "sad",
  "surprised",
  "neutral",
];
// Levels from 0 to 255 become -1 to 1.
const READING = { fit: "fill", scale: 1 / 127.5, offset: -1 };

const face = document.querySelector("#face");
const answer = document.querySelector("#answer");
const opacity = document.querySelector("#opacity");
const problem = document.querySelector("#problem");
const camera = document.querySelector("#camera");
const file = document.querySelector("#file");
const showBars = bars(document.querySelector("#bars"), EMOTIONS);
const picture = document.createElement("canvas");
picture.width = face.width;
picture.height = face.height;
const paint = picture.getContext("2d");

let session;
let heat = null;

/** Draw a face: *mood* bends mouth and brows from sad (-1) to happy (1). */
function drawFace(mood) {
  const { width, height } = picture;
  const shade = paint.createRadialGradient(120, 100, 20, 128, 128, 150);
  shade.addColorStop(0, "#f0cdb4");
  shade.addColorStop(1, "#a97b5f");
  paint.fillStyle = "#4a5560";
  paint.fillRect(0, 0, width, height);
  paint.fillStyle = shade;
  paint.beginPath();
  paint.ellipse(128, 132, 92, 116, 0, 0, 2 * Math.PI);
  paint.fill();
  paint.fillStyle = "#2c211b";
  paint.beginPath();
  paint.ellipse(128, 40, 98, 46, 0, Math.PI, 2 * Math.PI);
  paint.fill();
  paint.lineCap = "round";
  for (const side of [-1, 1]) {
    const x = 128 + side * 38;
    paint.fillStyle = "#fff";
    paint.beginPath();
    paint.ellipse(x, 108, 17, 9 - Math.max(mood, 0) * 3, 0, 0, 2 * Math.PI);
    paint.fill();
    paint.fillStyle = "#2c211b";
    paint.beginPath();
    paint.arc(x, 108, 6, 0, 2 * Math.PI);
    paint.fill();
    paint.strokeStyle = "#2c211b";
    paint.lineWidth = 6;
    paint.beginPath();
    paint.moveTo(x - side * 20, 88 + mood * 4 - (mood < 0 ? 12 : 0));
    paint.quadraticCurveTo(x, 78, x + side * 20, 88 + (mood < 0 ? 8 : 0));
    paint.stroke();
  }
  paint.strokeStyle = "#8a5d45";
  paint.lineWidth = 5;
  paint.beginPath();
  paint.moveTo(128, 112);
  paint.lineTo(118, 152);
  paint.lineTo(134, 156);
  paint.stroke();
  drawMouth(mood);
  read();
}

function drawMouth(mood) {
  const bend = 190 + 34 * mood;
  paint.fillStyle = mood > 0 ? "#fff" : "#8f3d3d";
  paint.strokeStyle = "#8f3d3d";
  paint.lineWidth = 7;
  paint.beginPath();
  paint.moveTo(84, 186 - 8 * mood);
  paint.quadraticCurveTo(128, bend, 172, 186 - 8 * mood);
  if (mood > 0) {
    paint.quadraticCurveTo(128, 196, 84, 186 - 8 * mood);
    paint.fill();
  }
  paint.stroke();
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
  answer.textContent = EMOTIONS[best];
  refresh();
  heat = await model.classActivationMap(picture, { ...READING, classIndex: best });
  show();
});

function show() {
  drawOverlay(face, picture, heat, Number(opacity.value));
}

const elements = { picture, camera, file, problem };
const source = new PictureSource(elements, read);
for (const button of document.querySelectorAll("[data-mood]")) {
  button.addEventListener("click", () => {
    source.stop();
    drawFace(Number(button.dataset.mood));
  });
}
opacity.addEventListener("input", show);

drawFace(1);
session = await openModel(
  "emotion",
  document.querySelector("#panel"),
  async (model) => {
    showDiagram(document.querySelector("#diagram"), model);
    await model.predict(picture, READING);
  },
);
read();
