// Pictures as inputs: on the GPU they become an input's texture without a trip through
// arrays; on the CPU a canvas tells their pixels.

const CHANNELS = [1, 3, 4];
const RGBA = 4;
const FITS = ["fill", "cover"];
// ITU-R BT.601 in units of 2^-16, rounded: what Pillow, hence Keras, takes for grey.
const LUMA = [19595, 38470, 7471];
const HALF = 32768;
const SHIFT = 16;

const SOURCES = [
  "HTMLCanvasElement",
  "HTMLImageElement",
  "HTMLVideoElement",
  "ImageBitmap",
  "OffscreenCanvas",
  "VideoFrame",
];

/** Return whether *value* is a picture: an element, a bitmap, or pixels with a size. */
export function isImage(value) {
  if (value === null || typeof value !== "object") {
    return false;
  }
  const known = (name) => globalThis[name] && value instanceof globalThis[name];
  return hasPixels(value) || SOURCES.some(known);
}

/** Return whether *value* is an ImageData, or what Node's decoders give in its place. */
function hasPixels({ data, width, height }) {
  const bytes = data instanceof Uint8ClampedArray || data instanceof Uint8Array;
  return bytes && data.length === RGBA * width * height;
}

/** The size of a picture as it is, not as it is shown. */
function sizeOf(image) {
  return [
    image.videoWidth ?? image.naturalWidth ?? image.displayWidth ?? image.width,
    image.videoHeight ?? image.naturalHeight ?? image.displayHeight ?? image.height,
  ];
}

/** A picture for each sample of an input. */
export class Images {
  #pictures;

  /**
   * *port* is the input, (h, w), or (h, w, c) with 1, 3 or 4 channels.
   *
   * Levels from 0 to 255 are multiplied by *scale*, then *offset* is added. Pictures of
   * another size are resized if *fit* says how. Throws TypeError.
   */
  constructor(pictures, { name, shape }, { fit, scale = 1, offset = 0 } = {}) {
    const [height, width, channels = 1] = shape;
    const whole = shape.length === 2 || shape.length === 3;
    if (!whole || !CHANNELS.includes(channels)) {
      throw new TypeError(
        `input "${name}" is (${shape.join(", ")}); pictures need (h, w, 1, 3 or 4)`,
      );
    }
    if (fit !== undefined && !FITS.includes(fit)) {
      throw new TypeError(`fit must be ${FITS.join(" or ")}, not ${fit}`);
    }
    for (const [w, h] of pictures.map(sizeOf)) {
      if (fit === undefined && (w !== width || h !== height)) {
        throw new TypeError(
          `the picture for input "${name}" is ${w} x ${h}, not ${width} x ${height}; ` +
            'fit: "fill" or "cover" resizes it',
        );
      }
    }
    this.#pictures = pictures;
    Object.assign(this, { width, height, channels, fit, scale, offset });
    this.length = pictures.length;
  }

  /**
   * Return a picture of the input's size: as it is, or drawn on a canvas.
   *
   * Canvases whose pixels are *read* aren't kept on the GPU.
   */
  picture(index, { read = false } = {}) {
    const picture = this.#pictures[index];
    const [w, h] = sizeOf(picture);
    const { width, height } = this;
    return w === width && h === height ? picture : this.#fitted(picture, w, h, read);
  }

  #fitted(picture, w, h, read) {
    const { width, height } = this;
    const paint = context(width, height, { read });
    const source = hasPixels(picture) ? painted(picture) : picture;
    const cover = this.fit === "cover" ? Math.max(width / w, height / h) : 0;
    const [sw, sh] = cover > 0 ? [width / cover, height / cover] : [w, h];
    const corner = [(w - sw) / 2, (h - sh) / 2];
    paint.imageSmoothingQuality = "high";
    paint.drawImage(source, ...corner, sw, sh, 0, 0, width, height);
    return paint.canvas;
  }

  /** Return the numbers of all samples. */
  numbers() {
    const { width, height, channels, scale, offset, length } = this;
    const size = width * height * channels;
    const result = new Float32Array(length * size);
    for (let sample = 0; sample < length; ++sample) {
      const picture = this.picture(sample, { read: true });
      const { data } = hasPixels(picture) ? picture : pixelsOf(picture, width, height);
      for (let i = 0; i < size; ++i) {
        const texel = RGBA * Math.floor(i / channels);
        const level = channels === 1 ? grey(data, texel) : data[texel + (i % channels)];
        result[sample * size + i] = level * scale + offset;
      }
    }
    return result;
  }
}

function grey(data, texel) {
  const sum = LUMA.reduce((total, share, c) => total + share * data[texel + c], HALF);
  return sum >> SHIFT;
}

function context(width, height, { read = true } = {}) {
  let canvas;
  if (typeof OffscreenCanvas !== "undefined") {
    canvas = new OffscreenCanvas(width, height);
  } else if (typeof document !== "undefined") {
    canvas = Object.assign(document.createElement("canvas"), { width, height });
  } else {
    throw new TypeError("there is no canvas here to read the picture with");
  }
  return canvas.getContext("2d", { willReadFrequently: read });
}

/** Return a canvas that shows pixels. */
function painted({ data, width, height }) {
  const paint = context(width, height);
  paint.putImageData(new ImageData(new Uint8ClampedArray(data), width, height), 0, 0);
  return paint.canvas;
}

function pixelsOf(picture, width, height) {
  const paint = context(width, height);
  paint.drawImage(picture, 0, 0);
  return paint.getImageData(0, 0, width, height);
}

/**
 * Return the program that writes pictures into an input's texture.
 *
 * *entry* is the input in the plan. A texel's place, as digits in mixed radix, says
 * which four elements it holds; an element's index says which pixel and channel it is.
 */
export function paintShader({ view, padded, split, order, size }, images) {
  const [, height, width] = size;
  const axes = [];
  let digit = 0;
  for (const [axis, length] of view.entries()) {
    const first = digit;
    for (let radix = 1; radix < padded[axis]; ++digit) {
      radix *= split[digit];
    }
    const names = split.slice(first, digit).map((_, k) => first + k);
    const index = names.reduce((text, k) => `(${text} * ${split[k]} + d${k})`, "0");
    axes.push({ index, length });
  }
  const digits = [...order]
    .reverse()
    .map((k) => `int d${k} = rest % ${split[k]}; rest /= ${split[k]};`);
  const [sample, ...inner] = axes;
  const element = inner.reduce(
    (text, { index, length }) => `(${text} * ${length} + ${index})`,
    "0",
  );
  const outside = inner.map(({ index, length }) => `${index} >= ${length}`);
  const { channels } = images;
  const luma = LUMA.map((share, c) => `level[${c}] * ${share}`).join(" + ");
  const level = channels === 1 ? `(${luma} + ${HALF}) >> ${SHIFT}` : "level[channel]";
  return `precision highp float;
precision highp int;
precision highp sampler2DArray;
uniform sampler2DArray pictures;
uniform int layer;
uniform int count;
uniform vec2 levels;
out vec4 texel;

float element(int rest) {
  ${digits.join("\n  ")}
  int n = ${sample.index};
  if (n >= count || ${["false", ...outside].join(" || ")}) {
    return 0.0;
  }
  int place = ${element};
  int channel = place % ${channels};
  int pixel = place / ${channels};
  ivec3 at = ivec3(pixel % ${images.width}, pixel / ${images.width}, n);
  ivec4 level = ivec4(texelFetch(pictures, at, 0) * 255.0 + 0.5);
  return float(${level}) * levels.x + levels.y;
}

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int first = ((layer * ${height} + at.y) * ${width} + at.x) * 4;
  texel = vec4(
    element(first), element(first + 1), element(first + 2), element(first + 3));
}
`;
}
