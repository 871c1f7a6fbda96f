self.onmessage = async ({ data: { folder, input } }) => {
  const { load } = await import(`./${folder}/web/model.js`);
  const model = await load({ device: "webgl2" });
  const output = await model.predict(input);
  const outputs = ArrayBuffer.isView(output) ? [output] : Object.values(output);
  self.postMessage({
    page: "document" in self,
    device: model.device,
    outputs: outputs.map((y) => Array.from(y)),
  });
};
