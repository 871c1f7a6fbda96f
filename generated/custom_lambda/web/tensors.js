// Read a safetensors file: 8 bytes of header length, a JSON header, raw numbers.

const ARRAYS = {
  F32: Float32Array,
  F16: Uint16Array,
  U8: Uint8Array,
  I32: Int32Array,
  BOOL: Uint8Array,
};
const LENGTH_BYTES = 8;
// The byte that stands for zero.
export const MIDDLE = 128;

/**
 * Return the tensors of *buffer* by name, each `{dtype, shape, data}`.
 *
 * The numbers are views of *buffer*. Throws RangeError where it is damaged.
 */
export function readTensors(buffer) {
  if (buffer.byteLength < LENGTH_BYTES) {
    throw new RangeError("the weights file is cut off");
  }
  const start = LENGTH_BYTES + new DataView(buffer).getUint32(0, true);
  if (start > buffer.byteLength) {
    throw new RangeError("the header of the weights file is cut off");
  }
  const text = new TextDecoder().decode(
    new Uint8Array(buffer, LENGTH_BYTES, start - LENGTH_BYTES),
  );
  const tensors = new Map();
  for (const [name, entry] of Object.entries(JSON.parse(text))) {
    if (name !== "__metadata__") {
      tensors.set(name, tensor(buffer, start, name, entry));
    }
  }
  return tensors;
}

function tensor(buffer, start, name, { dtype, shape, data_offsets: [begin, end] }) {
  if (start + end > buffer.byteLength) {
    throw new RangeError(`the numbers of ${name} are cut off`);
  }
  const Numbers = ARRAYS[dtype];
  if (Numbers === undefined) {
    throw new RangeError(`${name} has the unknown type ${dtype}`);
  }
  const offset = start + begin;
  const length = (end - begin) / Numbers.BYTES_PER_ELEMENT;
  const data =
    offset % Numbers.BYTES_PER_ELEMENT === 0
      ? new Numbers(buffer, offset, length)
      : new Numbers(buffer.slice(offset, start + end));
  return { dtype, shape, data };
}

/** Return the numbers of a tensor, halves and bytes (less 128) as floats. */
export function numbersOf({ dtype, data }) {
  switch (dtype) {
    case "F16":
      return Float32Array.from(data, floatOf);
    case "U8":
      return Float32Array.from(data, (byte) => byte - MIDDLE);
    default:
      return data;
  }
}

/** Return the tensors' numbers by name; bytes become `(byte - 128) * scale`. */
export function decoded(tensors) {
  const result = new Map();
  for (const [name, tensor] of tensors) {
    const numbers = numbersOf(tensor);
    const scale = tensors.get(`${name}.scale`)?.data;
    if (tensor.dtype === "U8" && scale !== undefined) {
      for (let i = 0; i < numbers.length; ++i) {
        numbers[i] *= scale[i % scale.length];
      }
    }
    result.set(name, numbers);
  }
  return result;
}

/** Return the number whose half-precision bits are *half*. */
function floatOf(half) {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) {
    return fraction === 0 ? sign * Infinity : NaN;
  }
  const mantissa = exponent === 0 ? fraction : 0x400 + fraction;
  return sign * mantissa * 2 ** (Math.max(exponent, 1) - 25);
}
