import { bars, element, newest, openModel, showDiagram } from "./demo.js";

const LENGTH = 82;
const ALPHABET = "-.0123456789_abcdefghijklmnopqrstuvwxyz";
// What the model takes an unknown character for.
const UNKNOWN = ALPHABET.indexOf(".");
const EXAMPLES = [
  "wikipedia.org",
  "my-garden-shop.com",
  "weatherchannel.com",
  "xjpakmdcfuqe.biz",
  "lyuxqbwtkbpkfda.net",
];

const name = document.querySelector("#name");
const letters = document.querySelector("#letters");
const answer = document.querySelector("#answer");
const show = bars(document.querySelector("#bars"), ["genuine", "made up"]);

let session;

/** Return the codes of *text*; what is missing at the end is 0. */
function codes(text) {
  const result = new Float32Array(LENGTH);
  for (const [i, letter] of [...text].slice(0, LENGTH).entries()) {
    const code = ALPHABET.indexOf(letter);
    result[i] = code < 0 ? UNKNOWN : code;
  }
  return result;
}

const read = newest(async () => {
  const text = name.value.toLowerCase();
  if (session === undefined || text === "") {
    return;
  }
  const beginnings = [...text].map((_, i) => codes(text.slice(0, i + 1)));
  const input = new Float32Array(beginnings.length * LENGTH);
  beginnings.forEach((beginning, i) => input.set(beginning, i * LENGTH));
  const risks = await session.model.predict(input, { sliceMs: 12 });
  letters.replaceChildren(
    ...[...text].map((letter, i) => {
      const span = element("span", {}, letter);
      span.style.setProperty("--risk", `${Math.round(100 * risks[i])}%`);
      return span;
    }),
  );
  const risk = risks.at(-1);
  show([1 - risk, risk]);
  answer.textContent = risk < 0.5 ? "genuine" : "made up";
  session.refresh();
});

name.addEventListener("input", read);
document.querySelector("#examples").append(
  ...EXAMPLES.map((example) => {
    const button = element("button", { type: "button" }, example);
    button.addEventListener("click", () => {
      name.value = example;
      read();
    });
    return button;
  }),
);

session = await openModel(
  "domains",
  document.querySelector("#panel"),
  async (model) => {
    showDiagram(document.querySelector("#diagram"), model);
    await model.predict(codes(name.value));
  },
);
read();
