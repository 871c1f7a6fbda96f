// Compare what each stage gives on this machine with what it should give.

const SAMPLES = 16;
const NORM = 3;
const TOLERANCE = 1e-4;
// One half and the next: what devices make of the same number may be that far apart.
const HALF_STEP = 2 ** -10;

/** The model doesn't compute here what it was compiled to compute. */
export class VerificationError extends Error {
  name = "VerificationError";
}

/** Return the minimum, maximum, mean, L2 norm and 16 samples of *values*. */
export function digest(values) {
  const result = new Float32Array(4 + SAMPLES);
  if (values.length === 0) {
    return result;
  }
  let [least, most, sum, squares] = [Infinity, -Infinity, 0, 0];
  for (let i = 0; i < values.length; ++i) {
    const value = values[i];
    least = Math.min(least, value);
    most = Math.max(most, value);
    sum += value;
    squares += value * value;
  }
  result.set([least, most, sum / values.length, Math.sqrt(squares)]);
  for (let k = 0; k < SAMPLES; ++k) {
    result[4 + k] = values[Math.floor((k * (values.length - 1)) / (SAMPLES - 1))];
  }
  return result;
}

/**
 * Return how far *found* is from *expected*, relative to its largest value.
 *
 * Infinite where one has a NaN or an infinity and the other doesn't.
 */
function difference(expected, found) {
  let [scale, error] = [0, 0];
  for (let i = 0; i < expected.length; ++i) {
    const [wanted, value] = [expected[i], found[i]];
    if (Number.isFinite(wanted)) {
      scale = Math.max(scale, Math.abs(wanted));
    }
    if (!Object.is(wanted + 0, value + 0)) {
      const distance = Math.abs(wanted - value);
      error = Math.max(error, Number.isNaN(distance) ? Infinity : distance);
    }
  }
  return error === 0 ? 0 : error / scale;
}

/** Return the difference of two digests; the norm counts on its own. */
function distance(expected, found) {
  const rest = (numbers) => numbers.filter((_, index) => index !== NORM);
  return Math.max(
    difference([expected[NORM]], [found[NORM]]),
    difference(rest(expected), rest(found)),
  );
}

/**
 * Compare *stages* and *outputs*, `[name, numbers]` each, with those of *sample*.
 *
 * Where results are stored as halves on the GPU, the sample has what is expected then,
 * and devices, which round differently, may differ by as much as rounding costs.
 * Returns `{device, stages, error, allowed}`; throws VerificationError at the first
 * difference.
 */
export function check(device, sample, stages, outputs) {
  const known = stages.filter(([name]) => sample.has(`stage.${name}`));
  const half = (name) =>
    device === "webgl2" ? sample.get(`half.${name}`)?.data : undefined;
  const cost = (exact, expected, apart) =>
    expected === exact ? TOLERANCE : TOLERANCE + HALF_STEP + apart(exact, expected);
  let [worst, allowed] = [0, TOLERANCE];
  for (const [index, [name, numbers]] of known.entries()) {
    const exact = sample.get(`stage.${name}`).data;
    const expected = half(`stage.${name}`) ?? exact;
    allowed = Math.max(allowed, cost(exact, expected, distance));
    const error = distance(expected, digest(numbers));
    worst = Math.max(worst, error);
    if (!(error <= allowed)) {
      throw new VerificationError(
        `stage "${name}" (${index + 1} of ${known.length}) is the first that ` +
          `differs on ${device}: ${amount(error, allowed)}`,
      );
    }
  }
  for (const [name, numbers] of outputs) {
    const exact = sample.get(`output.${name}`).data;
    const expected = half(`output.${name}`) ?? exact;
    const most = cost(exact, expected, difference);
    const error = difference(expected, numbers);
    worst = Math.max(worst, error);
    if (!(error <= most)) {
      throw new VerificationError(
        `output "${name}" differs on ${device}: ${amount(error, most)}`,
      );
    }
  }
  return { device, stages: known.length, error: worst, allowed };
}

function amount(error, allowed) {
  return (
    `by ${error.toExponential(1)} of its largest value, where ` +
    `${allowed.toExponential(0)} is allowed`
  );
}
