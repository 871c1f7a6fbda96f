// node call_package.mjs PACKAGE < CALLS.json: one prediction per call; null resets.

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const { load, OUTPUTS } = await import(
  pathToFileURL(resolve(process.argv[2], "web", "model.js"))
);
const model = await load({ device: "cpu" });
await model.verify();
const answers = [];
for (const call of JSON.parse(readFileSync(0, "utf8"))) {
  if (call === null) {
    model.resetStates();
  } else {
    answers.push(model.predict(call));
  }
}
const outputs = (await Promise.all(answers)).map((answer) =>
  OUTPUTS.length === 1 ? [answer] : Object.values(answer),
);
console.log(JSON.stringify(outputs.map((each) => each.map((y) => Array.from(y)))));
