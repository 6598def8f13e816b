// What captions photos: the model itself, in this browser. Same exports as the backend of `mrnn serve`.
import { byId, el } from "./dom.js";
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
  return Promise.race([run({ job: "caption", file, name, options: Object.fromEntries(numbers) }), stopped(signal)]);
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
  loaded.then(({ threads }) => {
    document.documentElement.dataset.loaded = String(threads);
    notice.remove();
  }, (error) => {
    const again = el("button", { type: "button", onclick: () => { notice.remove(); load(); } }, "Try again");
    notice.replaceChildren(`${error.message}. `, again);
    notice.classList.add("bad");
    notice.setAttribute("role", "alert");
  });
}

async function start(show) {
  await control();
  worker?.terminate();
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  return run({ job: "load", site, controlled: Boolean(navigator.serviceWorker?.controller) }, show);
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
      if (data.id !== id) return;
      if (data.progress) onProgress?.(data.progress);
      else if (data.problem) end(reject, new Problem(data.problem));
      else end(resolve, data.result);
    };
    const fail = () => end(reject, new Problem("The page cannot reach its files; look at the connection"));
    asked.addEventListener("message", listen);
    asked.addEventListener("error", fail);
    asked.postMessage({ id, ...job });
  });
}
