// The thread that captions: it fetches the model, then takes photos one at a time.
import { Captioner } from "./captioner.js";
import { addressOf, fetchAll } from "./download.js";
import { MOST_APART, distance } from "./gpu.js";
import { Problem } from "./problem.js";

const MODEL = "model/";
const MOST_THREADS = 4;

let captioner = null;

const jobs = {
  /** Opens the model; `refused` says why the GPU, which was asked for, is not for it. */
  async load({ site, controlled, gpu }, tell) {
    const given = { site, controlled, tell };
    if (!gpu) return open(site.runtimes.wasm, ["wasm"], given);
    try {
      const opened = await open(site.runtimes.webgpu, ["webgpu", "wasm"], given);
      const apart = await probe(site);
      tellOfLoss(await import(addressOf(site.runtimes.webgpu[1])));
      return { ...opened, refused: apart <= MOST_APART ? "" : `its features are ${(100 * apart).toPrecision(2)} % off` };
    } catch (error) {
      if (error instanceof Problem) throw error;
      return { refused: error.message.slice(0, 100) };
    }
  },

  caption({ file, name, options }) {
    return captioner.caption(file, { name, options });
  },
};

/** The model, on what `providers` name. */
async function open(runtime, providers, { site, controlled, tell }) {
  const files = fetchAll([...runtime, ...site.files], (done, total) => tell({ done, total }));
  const ort = await openRuntime(runtime, files, controlled);
  const model = Object.entries(files).filter(([path]) => path.startsWith(MODEL));
  const named = Object.fromEntries(model.map(([path, file]) => [path.slice(MODEL.length), file]));
  captioner = await Captioner.open(ort, site, named, providers);
  return { threads: ort.env.wasm.numThreads };
}

/** ONNX Runtime, of one of the builds that the page has: [code, loader, loader of threads]. */
async function openRuntime([code, loader, module], files, controlled) {
  const content = await files[code.path];
  await Promise.all([files[loader.path], files[module.path]]);
  const ort = await import(addressOf(loader));
  ort.env.wasm.wasmPaths = { mjs: addressOf(module) };
  // By its address, where the service worker has it: so the browser compiles it once for all visits.
  if (controlled) ort.env.wasm.wasmPaths.wasm = addressOf(code);
  else ort.env.wasm.wasmBinary = content;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
  ort.env.logLevel = "error";
  return ort;
}

/** A job that runs then does not end. */
async function tellOfLoss(ort) {
  const device = await ort.env.webgpu.device;
  await device.lost;
  self.postMessage({ lost: true });
}

/** How far the features of the probe are from those that Python computed. */
async function probe(site) {
  const fetching = Promise.all(["probe.jpg", "probe.json"].map((name) => fetch(name)));
  const [photo, expected] = await fetching.catch(() => {
    throw new Problem("The page cannot reach its files; look at the connection");
  });
  return distance(await captioner.encode(await photo.blob(), "probe.jpg"), await expected.json(), site.encoders);
}

let last = Promise.resolve(); // one job at a time
self.addEventListener("message", ({ data: { id, job, ...given } }) => {
  last = last.then(async () => {
    try {
      const result = await jobs[job](given, (progress) => self.postMessage({ id, progress }));
      self.postMessage({ id, result });
    } catch (error) {
      const known = error instanceof Problem;
      const problem = known ? error.message : `The model failed: ${error.message}`.slice(0, 300);
      self.postMessage({ id, problem, failed: !known });
    }
  });
});
