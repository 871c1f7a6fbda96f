// Kernels in WebAssembly, where there is SIMD and the page's policy allows them.

const FILE = "web/cpu.wasm";
const ALLOWING = ["'unsafe-eval'", "'wasm-unsafe-eval'"];

/**
 * Return the exports of the package's kernels; undefined where they can't run.
 *
 * *wanted* is true to try without asking the policy, which then reports a violation
 * where it forbids them, and false for undefined.
 */
export async function kernelsOf(files, wanted) {
  if (!files.has(FILE) || wanted === false || globalThis.WebAssembly === undefined) {
    return undefined;
  }
  if (wanted !== true && !(await allowed())) {
    return undefined;
  }
  const bytes = await files.read(FILE);
  if (!WebAssembly.validate(bytes)) {
    return undefined; // no SIMD
  }
  try {
    return (await WebAssembly.instantiate(bytes)).instance.exports;
  } catch (error) {
    const refused = error instanceof WebAssembly.CompileError; // by the policy
    if (refused || error instanceof RangeError) {
      return undefined;
    }
    throw error;
  }
}

/**
 * Return whether the policy of this page or worker allows WebAssembly, without trying.
 *
 * Browsers don't tell: its header is asked for again, and its meta elements are read.
 * What can't be asked is taken for no.
 */
async function allowed() {
  if (globalThis.process?.versions?.node) {
    return true;
  }
  const policies = Array.from(
    globalThis.document?.querySelectorAll("meta[http-equiv]") ?? [],
  )
    .filter(({ httpEquiv }) => /^content-security-policy$/i.test(httpEquiv))
    .map(({ content }) => content);
  try {
    const { headers } = await fetch(globalThis.location.href, { method: "HEAD" });
    policies.push(...(headers.get("Content-Security-Policy") ?? "").split(","));
  } catch {
    return false;
  }
  return policies.every(allows);
}

function allows(policy) {
  const directives = policy
    .split(";")
    .map((text) => text.trim().toLowerCase().split(/\s+/))
    .reverse(); // of directives that stand twice the first one counts
  const sources = Object.fromEntries(directives.map(([name, ...rest]) => [name, rest]));
  const scripts = sources["script-src"] ?? sources["default-src"];
  return scripts?.some((source) => ALLOWING.includes(source)) ?? true;
}
