// Small JPEGs of photos, made by the browser, or by the backend where the browser cannot read them.
import { thumbnail as byBackend } from "./backend.js";

const SIDE = 560;
const AT_ONCE = 2;
const waiting = [];
let running = 0;

/** A Blob; null for what nobody can read. */
export function thumbnailOf(file) {
  return new Promise((resolve) => {
    waiting.push({ file, resolve });
    work();
  });
}

async function work() {
  if (running >= AT_ONCE || !waiting.length) return;
  running++;
  const { file, resolve } = waiting.shift();
  resolve(await drawn(file).catch(() => byBackend(file)).catch(() => null));
  running--;
  work();
}

async function drawn(file) {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // below what is transparent, as the model sees it
  context.fillRect(0, 0, width, height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.82 });
}
