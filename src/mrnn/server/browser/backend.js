// What captions photos: the model itself, in this browser. Same exports as the backend of `mrnn serve`.
import { byId, el } from "./dom.js";
import { gpuName } from "./gpu.js";
import { Problem } from "./problem.js";

export { Problem };

/** The model takes a photo at a time. */
export const concurrency = 1;

/** There is no API to describe. */
export const docs = null;

const NEEDS = "This page needs a browser with WebAssembly (SIMD): a Chrome, Edge, Firefox or Safari of 2023 or later";
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];
const CONTROLLED_AFTER = 5000; // milliseconds, at most, until the service worker answers for the page

let site = null;
let worker = null;
let loaded = null;
let onGpu = false;
let gpuLost = false;
let jobs = 0;

/** Where photos go, in a sentence. */
export function privacy() {
  return "Photos stay in this browser: nothing is sent.";
}

/** Name, encoder, vocabulary, card and so on; the model's files are fetched meanwhile. */
export async function model() {
  onlyCaptions();
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(Uint8Array.from(SIMD))) throw new Problem(NEEDS);
  const response = await fetch("site.json").catch(() => null);
  if (!response?.ok) throw new Problem("The page cannot reach its files; look at the connection, and load it again");
  site = await response.json();
  load();
  return site.model;
}

/**
 * The captions of a photo, as `mrnn caption --json` prints them.
 * @param {Blob} file @param {{name: string, options: Object, signal?: AbortSignal}} how
 */
export async function caption(file, { name, options = {}, signal }) {
  await Promise.race([loaded, stopped(signal)]);
  const numbers = Object.entries(options).map(([option, value]) => [option, Number(value)]);
  const job = { job: "caption", file, name, options: Object.fromEntries(numbers) };
  const work = async () => {
    try {
      if (!gpuLost) return await run(job);
    } catch (error) {
      if (!error.failed || !onGpu) throw error;
    }
    loaded = openModel(false); // GPUs are lost, as when a laptop sleeps
    await loaded;
    return run(job);
  };
  return Promise.race([work(), stopped(signal)]);
}

/** There is none of a photo that the browser cannot show. */
export async function thumbnail() {
  throw new Problem("this browser cannot read it");
}

/** No index goes with the page. */
export async function search() {
  throw new Problem("This page has no index to search");
}
export const captionOf = search;
export const thumbnailUrl = () => "";

function stopped(signal) {
  return new Promise((_, reject) => {
    const stop = () => reject(new DOMException("stopped", "AbortError"));
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop);
  });
}

/** Takes away what this backend has not. */
function onlyCaptions() {
  document.querySelector('[data-tab="search"]')?.remove();
  const { elements } = byId("options-form");
  for (const name of ["prefix", "force_words", "bad_words"]) elements[name]?.closest("label").remove();
}

/** Fetches and opens the model, and shows how far it is; a cut download can be tried again. */
function load() {
  const bar = el("progress", { max: 1, value: 0, "aria-label": "Download of the model" });
  const text = el("span", { role: "status" });
  const notice = el("p", { className: "notice", id: "loading" }, bar, " ", text);
  byId("tab-caption").prepend(notice);
  const show = ({ done, total }) => {
    bar.value = done / total;
    const megabytes = (bytes) => Math.round(bytes / 1e6);
    text.textContent = done < total
      ? `Fetching the model, once: ${megabytes(done)} of ${megabytes(total)} MB` : "Opening the model";
  };
  loaded = start(show);
  loaded.then(({ threads, refused }) => {
    document.documentElement.dataset.loaded = String(threads);
    const where = onGpu ? "The GPU helps." : refused ? `The GPU is not used: ${refused}.` : "";
    byId("privacy").textContent = `${privacy()} ${where}`;
    notice.remove();
  }, (error) => {
    const again = el("button", { type: "button", onclick: () => { notice.remove(); load(); } }, "Try again");
    notice.replaceChildren(`${error.message}. `, again);
    notice.classList.add("bad");
    notice.setAttribute("role", "alert");
  });
}

/** On the GPU where there is one that computes what the model expects; else, and once refused, without. */
async function start(show) {
  await control();
  const gpu = await gpuName(new URLSearchParams(location.search).get("gpu"));
  if (!gpu) return openModel(false, show);
  const key = `mrnn-gpu ${location.pathname}`;
  const name = `${gpu} ${site.runtimes.webgpu[0].sha256} ${site.model.fingerprint}`;
  const [before, why] = kept(key)?.split("\n") ?? [];
  if (before === name) return { ...await openModel(false, show), refused: why };
  const found = await openModel(true, show);
  if (!found.refused) return found;
  keep(key, `${name}\n${found.refused}`);
  return { ...await openModel(false, show), refused: found.refused };
}

/** Another thread with the model, in place of the one before. */
async function openModel(gpu, show) {
  worker?.terminate();
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  gpuLost = false;
  worker.addEventListener("message", ({ data }) => { gpuLost ||= data.lost ?? false; });
  const controlled = Boolean(navigator.serviceWorker?.controller);
  const found = await run({ job: "load", site, controlled, gpu }, show);
  onGpu = gpu && !found.refused;
  return found;
}

/** What was kept for the next visit, if the browser lets the page. */
function kept(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function keep(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Then the GPU is tried again.
  }
}

/** Waits for the service worker, so that the model's thread too is there without a network. */
async function control() {
  if (!navigator.serviceWorker) return;
  try {
    const registered = await navigator.serviceWorker.register("service_worker.js");
    if (navigator.serviceWorker.controller || !registered || registered.active) return; // or a reload without it
    await new Promise((resolve) => {
      navigator.serviceWorker.addEventListener("controllerchange", resolve);
      setTimeout(resolve, CONTROLLED_AFTER);
    });
  } catch {
    // The page works without, as long as it has a network.
  }
}

function run(job, onProgress) {
  const id = jobs++;
  const asked = worker;
  return new Promise((resolve, reject) => {
    const end = (settle, value) => {
      asked.removeEventListener("message", listen);
      asked.removeEventListener("error", fail);
      settle(value);
    };
    const listen = ({ data }) => {
      if (data.lost) end(reject, Object.assign(new Problem("The GPU is lost; add the photo again"), { failed: true }));
      if (data.id !== id) return;
      if (data.progress) onProgress?.(data.progress);
      else if (data.problem) end(reject, Object.assign(new Problem(data.problem), { failed: data.failed }));
      else end(resolve, data.result);
    };
    const fail = () => end(reject, new Problem("The page cannot reach its files; look at the connection"));
    asked.addEventListener("message", listen);
    asked.addEventListener("error", fail);
    asked.postMessage({ id, ...job });
  });
}
