// What users pass to a model, as flat arrays; what it gives, by name.

import { Images, isImage } from "./images.js";

/**
 * Return a flat array, or Images, per port, and the number of samples; throw TypeError.
 *
 * *options* say how pictures are read.
 */
export function readInputs(value, ports, options) {
  const given = values(value, ports).map((x, index) =>
    flat(x, ports[index], options),
  );
  const [{ n }] = given;
  const other = given.findIndex((x) => x.n !== n);
  if (other > 0) {
    throw new TypeError(
      `input ${quoted(ports[other])} holds ${given[other].n} samples, ` +
        `but ${quoted(ports[0])} holds ${n}`,
    );
  }
  return { arrays: given.map(({ array }) => array), n };
}

const ARRAYS = { float32: Float32Array, int32: Int32Array, bool: Uint8Array };

/** Return the only result, or all of them by name, in the outputs' types. */
export function namedOutputs(results, ports) {
  const typed = ports.map(({ dtype }, index) => {
    const result = results[index];
    return result instanceof ARRAYS[dtype] ? result : ARRAYS[dtype].from(result);
  });
  if (ports.length === 1) {
    return typed[0];
  }
  return Object.fromEntries(ports.map(({ name }, index) => [name, typed[index]]));
}

function values(value, ports) {
  const isObject = value !== null && typeof value === "object";
  if (isObject && !isArray(value) && !isImage(value)) {
    return byName(value, ports);
  }
  if (ports.length === 1) {
    return [value];
  }
  if (!Array.isArray(value) || value.length !== ports.length) {
    throw new TypeError(`expected the inputs ${ports.map(quoted).join(", ")} by name`);
  }
  return value;
}

function byName(value, ports) {
  const known = new Set(ports.map(({ name }) => name));
  const unknown = Object.keys(value).find((name) => !known.has(name));
  const missing = ports.find(({ name }) => !Object.hasOwn(value, name));
  if (unknown === undefined && missing === undefined) {
    return ports.map(({ name }) => value[name]);
  }
  const problem =
    unknown === undefined
      ? `the input ${quoted(missing)} is missing`
      : `there is no input ${JSON.stringify(unknown)}`;
  throw new TypeError(`${problem}; the inputs are ${ports.map(quoted).join(", ")}`);
}

function isArray(value) {
  return Array.isArray(value) || ArrayBuffer.isView(value);
}

function flat(value, port, options) {
  const pictures = Array.isArray(value) ? value : [value];
  if (pictures.length > 0 && pictures.every(isImage)) {
    return { array: new Images(pictures, port, options), n: pictures.length };
  }
  if (Array.isArray(value) && typeof value[0] !== "number") {
    return nested(value, port);
  }
  const numbers = Array.isArray(value) || typeof value?.[0] === "number";
  if (!numbers && !(ArrayBuffer.isView(value) && value.length === 0)) {
    const found = value?.constructor?.name ?? String(value);
    throw new TypeError(
      `input ${quoted(port)} must be a Float32Array, nested arrays or a picture, not ${found}`,
    );
  }
  const size = count(port.shape);
  if (value.length % size !== 0) {
    throw new TypeError(
      `input ${quoted(port)} holds ${value.length} numbers, which isn't a multiple ` +
        `of ${size}, the size of one sample ${shapeText(port.shape)}`,
    );
  }
  return { array: value, n: value.length / size };
}

function nested(value, port) {
  const wanted = [value.length, ...port.shape];
  const array = new Float32Array(count(wanted));
  let length = 0;
  const visit = (part, axis) => {
    if (axis === wanted.length && typeof part === "number") {
      array[length++] = part;
      return;
    }
    if (!isArray(part) || part.length !== wanted[axis]) {
      throw new TypeError(
        `input ${quoted(port)} must have the shape ${shapeText(["n", ...port.shape])}`,
      );
    }
    for (const element of part) {
      visit(element, axis + 1);
    }
  };
  visit(value, 0);
  return { array, n: value.length };
}

function count(shape) {
  return shape.reduce((a, b) => a * b, 1);
}

function quoted({ name }) {
  return JSON.stringify(name);
}

function shapeText(shape) {
  return `(${shape.join(", ")})`;
}
