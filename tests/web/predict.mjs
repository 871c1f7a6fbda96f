// node predict.mjs PACKAGE INPUT.json: verify on the CPU, then print the outputs.

import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, input] = process.argv.slice(2);
const { load } = await import(pathToFileURL(resolve(folder, "web", "model.js")));
const model = await load({ device: "auto" });
const report = await model.verify();
const output = await model.predict(JSON.parse(await readFile(input, "utf8")));
const { device, fallback } = model;
console.log(JSON.stringify({ device, fallback, report, output: Array.from(output) }));
