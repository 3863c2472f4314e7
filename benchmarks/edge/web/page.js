// Runs every file of the job by LiteRT.js and posts what came out, or why nothing did.
import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";

const WARM_UP_RUNS = 20;
const ROUNDS = 31;
const RUNS_PER_ROUND = 20;
const ARRAYS = { float32: Float32Array, int32: Int32Array, int8: Int8Array, uint8: Uint8Array, int16: Int16Array };

const post = (result) => fetch("/result", { method: "POST", body: JSON.stringify(result) });
const reason = (error) => String(error?.message ?? error);

function sample(input, row) {
  const length = input.shape.reduce((product, size) => product * size, 1);
  return new Tensor(input.values.slice(row * length, (row + 1) * length), input.shape);
}

async function inputsOf(file) {
  const loaded = {};
  for (const { name, dtype, shape, url } of file.inputs) {
    const bytes = await (await fetch(url)).arrayBuffer();
    loaded[name] = { shape, values: new ARRAYS[dtype](bytes) };
  }
  return loaded;
}

async function run(model, inputs, row) {
  const tensors = Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, sample(input, row)]));
  const outputs = await model.run(tensors);
  const values = {};
  for (const [name, tensor] of Object.entries(outputs)) {
    values[name] = Array.from(await tensor.data());
    tensor.delete();
  }
  Object.values(tensors).forEach((tensor) => tensor.delete());
  return values;
}

async function round(model, inputs, runs) {
  const tensors = Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, sample(input, 0)]));
  const start = performance.now();
  for (let index = 0; index < runs; index++) {
    Object.values(await model.run(tensors)).forEach((tensor) => tensor.delete());
  }
  const microseconds = (1000 * (performance.now() - start)) / runs;
  Object.values(tensors).forEach((tensor) => tensor.delete());
  return microseconds;
}

// Rounds of all files in turn, so that whatever else the machine does falls on all of them.
async function latencies(ready) {
  for (const { model, inputs } of ready) await round(model, inputs, WARM_UP_RUNS);
  const times = ready.map(() => []);
  for (let index = 0; index < ROUNDS; index++) {
    for (const [place, { model, inputs }] of ready.entries()) {
      times[place].push(await round(model, inputs, RUNS_PER_ROUND));
    }
  }
  const median = (numbers) => numbers.sort((one, other) => one - other)[Math.floor(ROUNDS / 2)];
  return Object.fromEntries(ready.map(({ url }, place) => [url, median(times[place])]));
}

// Adds the model to those that are ready to be timed, if it ran.
async function tried(file, ready) {
  let model;
  try {
    model = await loadAndCompile(file.url, { accelerator: "wasm", cpuOptions: { numThreads: 1 } });
  } catch (error) {
    return { loads: false, reason: reason(error) };
  }
  try {
    const inputs = await inputsOf(file);
    const rows = [];
    for (let row = 0; row < file.count; row++) rows.push(await run(model, inputs, row));
    ready.push({ url: file.url, model, inputs });
    return { loads: true, rows };
  } catch (error) {
    return { loads: true, reason: reason(error) };
  }
}

try {
  const job = await (await fetch("/job.json")).json();
  await loadLiteRt("/npm/@litertjs/core/wasm/");
  const ready = [];
  for (const file of job.files) await post({ file: file.url, ...(await tried(file, ready)) });
  await post({ done: true, microseconds: await latencies(ready), browser: navigator.userAgent });
} catch (error) {
  await post({ done: true, error: reason(error) });
}
