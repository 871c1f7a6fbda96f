self.onmessage = async ({ data: { folder, input, options } }) => {
  const { load } = await import(`./${folder}/web/model.js`);
  const model = await load({ device: "webgl2", ...options });
  const { device } = model;
  if (input === undefined) {
    self.postMessage({ device, report: await model.verify() });
    return;
  }
  const output = await model.predict(input);
  const outputs = ArrayBuffer.isView(output) ? [output] : Object.values(output);
  self.postMessage({
    page: "document" in self,
    device,
    outputs: outputs.map((y) => Array.from(y)),
  });
};
