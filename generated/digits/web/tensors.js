// Read a safetensors file: 8 bytes of header length, a JSON header, raw numbers.

const ARRAYS = { F32: Float32Array, I32: Int32Array, BOOL: Uint8Array, U8: Uint8Array };
const LENGTH_BYTES = 8;

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
