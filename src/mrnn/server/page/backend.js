// What captions and finds photos: here the HTTP API of `mrnn serve`. Another backend has the same exports.

/** A request that was refused: its message is one line for people. */
export class Problem extends Error {
  constructor(detail, status = 0, retryAfter = 0) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Photos that may be asked for at once; the server batches what waits. */
export const concurrency = 8;

/** Where this backend is described; null for one without a description. */
export const docs = "docs";

/** Where photos go, in a sentence. */
export function privacy() {
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  return local ? "Photos stay on this computer." : `Photos go to ${location.hostname} and nowhere else.`;
}

/** Name, encoder, vocabulary, card, limits, index and so on. */
export async function model() {
  return (await ask("v1/model")).json();
}

/**
 * The captions of a photo, as `mrnn caption --json` prints them.
 * @param {Blob} file @param {{name: string, options: Object, signal?: AbortSignal}} how
 */
export async function caption(file, { name, options = {}, signal }) {
  const query = queryOf({ name, ...options });
  return (await ask(`v1/caption?${query}`, { method: "POST", body: file, signal })).json();
}

/** A small JPEG of a photo that the browser cannot show. */
export async function thumbnail(file) {
  return (await ask("v1/thumbnail", { method: "POST", body: file })).blob();
}

/** Finds for a sentence (q), for a photo that is sent (photo) or like one of the index (like). */
export async function search({ q, photo, like, top, paths, signal }) {
  const query = queryOf({ q, like, top, paths: paths || undefined });
  const sent = photo ? { method: "POST", body: photo } : {};
  return (await ask(`v1/search?${query}`, { ...sent, signal })).json();
}

/** The captions of a photo of the index. */
export async function captionOf(id, signal) {
  return (await ask(`v1/photos/${encodeURIComponent(id)}/caption`, { signal })).json();
}

/** The address of a photo of the index, no larger than so many pixels. */
export function thumbnailUrl(id, side) {
  return `v1/photos/${encodeURIComponent(id)}/thumbnail?side=${side}`;
}

function queryOf(values) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) {
    for (const each of [value].flat()) if (each !== undefined && each !== "") query.append(key, each);
  }
  return query;
}

async function ask(path, request = {}) {
  let response;
  try {
    const headers = request.body ? { "Content-Type": "application/octet-stream" } : {};
    response = await fetch(path, { headers, ...request });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer; is mrnn serve still running?");
  }
  if (response.ok) return response;
  const found = await response.json().catch(() => ({}));
  const detail = found.detail || `The server answered ${response.status}`;
  throw new Problem(detail, response.status, Number(response.headers.get("Retry-After")) || 0);
}
