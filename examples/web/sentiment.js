import { bars, element, newest, openModel, showDiagram } from "./demo.js";

// The model reads so many words; 0 stands for none.
const LENGTH = 100;
const CLASSES = ["negative", "neutral", "positive"];
const [NEGATIVE, , POSITIVE] = CLASSES.keys();
const EXAMPLES = [
  ["Good service", "产品质量很好，服务热情，我们非常满意。"],
  ["Losses", "公司业绩大幅下滑，投资者损失惨重，前景令人担忧。"],
  [
    "Delayed flight",
    "下面就完全陷于一种扯皮，机组与机场之间互相推诿指责，我们弄不清楚，只好旁观。",
  ],
  ["Mixed", "虽然比赛过程非常艰难，队员多次受伤，但是最后大家终于获得胜利，十分高兴。"],
];

const text = document.querySelector("#text");
const words = document.querySelector("#words");
const answer = document.querySelector("#answer");
const show = bars(document.querySelector("#bars"), CLASSES);

let session;
let codes;
let longest;

/** Read the vocabulary: a word a line, its number is that of the line. */
async function readVocabulary() {
  const lines = (await (await fetch("vocabulary.txt")).text()).split(/\r?\n/);
  codes = new Map(lines.map((line, number) => [line, number]));
  codes.delete("");
  longest = Math.max(...lines.map((line) => line.length));
}

/** Return the words of *sentence*, each the longest one that the model knows. */
function* split(sentence) {
  let rest = [...sentence];
  while (rest.length > 0) {
    let length = Math.min(longest, rest.length);
    while (length > 1 && !codes.has(rest.slice(0, length).join(""))) {
      length -= 1;
    }
    yield rest.slice(0, length).join("");
    rest = rest.slice(length);
  }
}

/** Return the model's input: *known* words, in front of nothing. */
function input(known) {
  const row = new Float32Array(LENGTH);
  row.set(known.slice(0, LENGTH).map((word) => codes.get(word)));
  return row;
}

const read = newest(async () => {
  const sentence = text.value.trim();
  if (session === undefined || sentence === "") {
    return;
  }
  const { model, refresh } = session;
  const spans = [...split(sentence)].map((word) => element("span", {}, word));
  for (const span of spans) {
    span.className = codes.has(span.textContent) ? "word" : "word unknown";
  }
  words.replaceChildren(...spans);
  const known = spans.filter(({ className }) => className === "word").slice(0, LENGTH);
  const list = known.map(({ textContent }) => textContent);
  const scores = await model.predict(input(list), { sliceMs: 12 });
  show(scores);
  answer.textContent = CLASSES[scores.indexOf(Math.max(...scores))];
  refresh();
  // What the model thinks after no word, one word, two words...
  let before = opinion(await model.predict(input([])));
  for (const [count, span] of known.entries()) {
    if (text.value.trim() !== sentence) {
      return;
    }
    const beginning = input(list.slice(0, count + 1));
    const after = opinion(await model.predict(beginning, { sliceMs: 12 }));
    colour(span, after - before);
    before = after;
  }
  words.dataset.read = sentence;
});

/** Return how good a text is, from -1 to 1. */
function opinion(scores) {
  return scores[POSITIVE] - scores[NEGATIVE];
}

function colour(span, change) {
  span.classList.add(change > 0 ? "good" : "bad");
  span.title = `${change > 0 ? "+" : "−"}${Math.abs(change).toFixed(2)}`;
  const strength = Math.min(100, Math.round(140 * Math.abs(change)));
  span.style.setProperty("--strength", `${strength}%`);
}

text.addEventListener("input", read);
document.querySelector("#examples").append(
  ...EXAMPLES.map(([name, sentence]) => {
    const button = element("button", { type: "button" }, name);
    button.addEventListener("click", () => {
      text.value = sentence;
      read();
    });
    return button;
  }),
);

text.value = EXAMPLES[3][1];
await readVocabulary();
session = await openModel(
  "sentiment",
  document.querySelector("#panel"),
  async (model) => {
    showDiagram(document.querySelector("#diagram"), model);
    await model.predict(input([]));
  },
  // A hundred steps of little work each: no work for a GPU.
  "cpu",
);
read();
