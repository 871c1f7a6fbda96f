// node progress.mjs PACKAGE: print what onProgress tells, and how loading fails.

import { rename } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const folder = resolve(process.argv[2]);
const { load, INPUTS } = await import(pathToFileURL(resolve(folder, "web", "model.js")));
const events = [];
const onProgress = (event) => events.push(event);
const model = await load({ onProgress });
const size = INPUTS[0].shape.reduce((a, b) => a * b, 1);
const x = Float32Array.from({ length: 3 * size }, (_, i) => Math.sin(i));
const whole = await model.predict(x);
const sliced = await model.predict(x, { sliceMs: 0, onProgress });
const same = whole.length === sliced.length && whole.every((y, i) => y === sliced[i]);
const none = (await model.predict([], { sliceMs: 0 })).length;
const controller = new AbortController();
const { signal } = controller;
const stop = () => controller.abort();
const told = (error) => `${error.name}: ${error.message}`;
const messages = [
  await model.predict(x, { sliceMs: 0, signal, onProgress: stop }).catch(told),
  await load({ signal }).catch(told),
];
const weights = resolve(folder, "weights.safetensors");
await rename(weights, `${weights}.away`);
messages.push(await load({}).catch(told));
await rename(`${weights}.away`, weights);
console.log(JSON.stringify({ events, same, none, messages }));
