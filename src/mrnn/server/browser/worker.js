// The thread that captions: it fetches the model, then takes photos one at a time.
import { Captioner } from "./captioner.js";
import { fetchAll } from "./download.js";
import * as ort from "./ort/ort.wasm.min.mjs";
import { Problem } from "./problem.js";

const MODEL = "model/";
const RUNTIME = "ort/ort-wasm-simd-threaded.wasm";
const MOST_THREADS = 4;

let captioner = null;

const jobs = {
  async load({ site }, tell) {
    const files = await fetchAll(site.files, (done, total) => tell({ done, total }));
    ort.env.wasm.wasmPaths = new URL("ort/", self.location).href;
    ort.env.wasm.wasmBinary = files[RUNTIME];
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
    ort.env.logLevel = "error";
    const model = Object.entries(files).filter(([path]) => path.startsWith(MODEL));
    captioner = await Captioner.open(ort, site, Object.fromEntries(model.map(([path, file]) => [path.slice(MODEL.length), file])));
    return { threads: ort.env.wasm.numThreads };
  },

  caption({ file, name, options }) {
    return captioner.caption(file, { name, options });
  },
};

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
