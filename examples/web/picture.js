// What pages with a photo share: files, the camera, and a map over the picture.

/** Let *file* and the button *camera* fill the canvas *picture*; *read* is told. */
export class PictureSource {
  #elements;
  #read;
  #video = null;

  constructor(elements, read) {
    this.#elements = elements;
    this.#read = read;
    elements.camera.addEventListener("click", () => this.#toggle());
    elements.file.addEventListener("change", ({ target }) => this.#open(target.files[0]));
  }

  /** Let go of the camera, and of what went wrong. */
  stop() {
    const { camera, problem } = this.#elements;
    for (const track of this.#video?.srcObject?.getTracks() ?? []) {
      track.stop();
    }
    this.#video = null;
    camera.textContent = "Camera";
    problem.textContent = "";
  }

  /** Draw the middle square of a photo or a video's frame. */
  #draw(source, width, height) {
    const { picture } = this.#elements;
    const side = Math.min(width, height);
    const corner = [(width - side) / 2, (height - side) / 2];
    const whole = [0, 0, picture.width, picture.height];
    const context = picture.getContext("2d");
    context.save();
    context.resetTransform();
    context.imageSmoothingQuality = "high";
    context.drawImage(source, ...corner, side, side, ...whole);
    context.restore();
    return this.#read();
  }

  async #open(file) {
    if (file === undefined) {
      return; // the dialogue was left without a choice
    }
    this.stop();
    try {
      const image = await createImageBitmap(file);
      await this.#draw(image, image.width, image.height);
    } catch {
      this.#elements.problem.textContent =
        "This file isn't a picture that the browser can read.";
    }
  }

  async #toggle() {
    const { camera, problem } = this.#elements;
    if (this.#video !== null) {
      this.stop();
      return;
    }
    problem.textContent = "";
    camera.disabled = true;
    try {
      await this.#start();
    } catch (error) {
      problem.textContent = `There is no camera to use: ${error.message}`;
    } finally {
      camera.disabled = false;
    }
  }

  async #start() {
    const wanted = { video: { facingMode: "user" } };
    const video = document.createElement("video");
    video.srcObject = await navigator.mediaDevices.getUserMedia(wanted);
    video.muted = true;
    video.playsInline = true;
    this.#video = video;
    await video.play();
    this.#elements.camera.textContent = "Stop";
    const step = async () => {
      if (this.#video === video) {
        await this.#draw(video, video.videoWidth, video.videoHeight);
        requestAnimationFrame(step);
      }
    };
    step();
  }
}

/** Draw *picture* on *canvas*, and over it *heat*, a map from 0 to 1, or null. */
export function drawOverlay(canvas, picture, heat, opacity) {
  const context = canvas.getContext("2d");
  context.globalAlpha = 1;
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  if (heat === null) {
    return;
  }
  const [height, width] = heat.shape;
  const map = document.createElement("canvas");
  Object.assign(map, { width, height });
  const image = new ImageData(width, height);
  for (const [i, level] of heat.data.entries()) {
    image.data.set([255, 120 * (1 - level), 0, 255 * level], 4 * i);
  }
  map.getContext("2d").putImageData(image, 0, 0);
  context.globalAlpha = opacity;
  context.imageSmoothingQuality = "high";
  context.drawImage(map, 0, 0, canvas.width, canvas.height);
}
