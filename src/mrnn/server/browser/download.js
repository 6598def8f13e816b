// The model's files: fetched once, checked, and kept by the browser.
import { Problem } from "./problem.js";

const CACHE = `mrnn-files ${new URL("./", self.location).href}`;
const AT_ONCE = 3;

/**
 * Promises of array buffers by path, fetched in this order. What was fetched before is in the browser's cache.
 * @param {{path: string, bytes: number, sha256: string}[]} files @param {(done: number, total: number) => void} onProgress
 */
export function fetchAll(files, onProgress) {
  const opening = self.caches?.open(CACHE).catch(() => null) ?? Promise.resolve(null); // null without HTTPS
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const done = new Map();
  const report = (path, bytes) => {
    done.set(path, bytes);
    onProgress([...done.values()].reduce((sum, each) => sum + each, 0), total);
  };
  const found = {};
  const turns = Array.from({ length: AT_ONCE }, () => opening);
  files.forEach((file, place) => {
    const turn = place % AT_ONCE;
    found[file.path] = turns[turn].then(async () => fetchOne(file, await opening, (bytes) => report(file.path, bytes)));
    turns[turn] = found[file.path].catch(() => {}); // whoever asks for the file is told
  });
  Promise.all(turns).then(async () => forgetOthers(await opening, files)).catch(() => {});
  return found;
}

/** With a part of its checksum: another content has another address. */
export const addressOf = ({ path, sha256 }) => new URL(`${path}?${sha256.slice(0, 16)}`, self.location).href;

async function fetchOne(file, cache, report) {
  const address = addressOf(file);
  const kept = await (await cache?.match(address))?.arrayBuffer();
  if (kept?.byteLength === file.bytes) {
    report(file.bytes);
    return kept;
  }
  const response = await fetch(address).catch(() => null);
  if (response && !response.ok) throw new Problem(`${file.path}: the server answered ${response.status}`);
  const toKeep = response?.clone(); // not made anew: browsers keep compiled code with what came from a server
  const content = await read(response, file, report);
  await check(content, file);
  await cache?.put(address, toKeep).catch(() => {}); // the disk may be full
  return content;
}

async function read(response, { path, bytes }, report) {
  const content = new Uint8Array(bytes);
  let place = 0;
  try {
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      if (place + value.length > bytes) throw new Problem(`${path} is longer than it should be; load the page again`);
      content.set(value, place);
      place += value.length;
      report(place);
    }
  } catch (error) {
    if (error instanceof Problem) throw error;
    place = -1;
  }
  if (place !== bytes) throw new Problem("The download of the model was cut; what has come is kept");
  return content.buffer;
}

/** By SHA-256, where the browser lets the page compute one. */
async function check(content, { path, sha256 }) {
  if (!self.crypto?.subtle) return;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  const found = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  if (found !== sha256) throw new Problem(`${path} is not the file of this page; load the page again`);
}

async function forgetOthers(cache, files) {
  const own = new Set(files.map(addressOf));
  for (const request of await cache?.keys() ?? []) if (!own.has(request.url)) await cache.delete(request);
}
