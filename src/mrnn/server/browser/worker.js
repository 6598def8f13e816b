// The thread that captions: it fetches the model, then takes photos one at a time.
import { Captioner } from "./captioner.js";
import { addressOf, fetchAll } from "./download.js";
import * as ort from "./ort/ort.wasm.min.mjs";
import { Problem } from "./problem.js";

const MODEL = "model/";
const RUNTIME = "ort/ort-wasm-simd-threaded";
const MOST_THREADS = 4;

let captioner = null;

const jobs = {
  async load({ site, controlled }, tell) {
    const files = fetchAll(site.files, (done, total) => tell({ done, total }));
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
    ort.env.logLevel = "error";
    await giveRuntime(site, files, controlled);
    const model = Object.entries(files).filter(([path]) => path.startsWith(MODEL));
    captioner = await Captioner.open(ort, site, Object.fromEntries(model.map(([path, file]) => [path.slice(MODEL.length), file])));
    return { threads: ort.env.wasm.numThreads };
  },

  caption({ file, name, options }) {
    return captioner.caption(file, { name, options });
  },
};

/** By its address, where the service worker has it: so the browser compiles it once for all visits. */
async function giveRuntime(site, files, controlled) {
  const wasm = `${RUNTIME}.wasm`;
  const content = await files[wasm];
  ort.env.wasm.wasmPaths = { mjs: new URL(`${RUNTIME}.mjs`, self.location).href };
  if (controlled) ort.env.wasm.wasmPaths.wasm = addressOf(site.files.find(({ path }) => path === wasm));
  else ort.env.wasm.wasmBinary = content;
}

let last = Promise.resolve(); // one job at a time
self.addEventListener("message", ({ data: { id, job, ...given } }) => {
  last = last.then(async () => {
    try {
      const result = await jobs[job](given, (progress) => self.postMessage({ id, progress }));
      self.postMessage({ id, result });
    } catch (error) {
      const known = error instanceof Problem;
      self.postMessage({ id, problem: known ? error.message : `The model failed: ${error.message}`.slice(0, 300) });
    }
  });
});
