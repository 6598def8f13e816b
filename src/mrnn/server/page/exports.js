// Captions as files: CSV, JSON lines, metadata.jsonl, texts in a zip.
import { zip } from "./zip.js";

const COLUMNS = ["image", "text", "good", "edited", "model_text", "confidence", "familiarity", "tags", "error"];

/** A file [name, Blob] of these photos, each {name, text, good, result}. */
export function fileOf(format, photos) {
  if (format === "csv") return ["captions.csv", plain(csv(photos), "text/csv")];
  if (format === "jsonl") return ["captions.jsonl", plain(jsonLines(photos), "application/jsonl")];
  if (format === "metadata") return ["metadata.jsonl", plain(metadata(photos), "application/jsonl")];
  return ["captions.zip", zip(texts(photos))];
}

/** A row a photo, for spreadsheets: they must not take text for a formula. */
export function csv(photos) {
  const rows = photos.map(({ name, text, good, result }) => {
    const first = result.captions[0]?.text ?? "";
    const tags = result.tags.map(tagText).join("; ");
    return [
      name, text, good ? "yes" : "", text === first ? "" : "yes", first,
      result.confidence ?? "", result.familiarity ?? "", tags, result.error ?? "",
    ];
  });
  return [COLUMNS, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

/** The objects of `mrnn caption --json`, with the text as it was edited and whether it is good. */
export function jsonLines(photos) {
  return photos
    .map(({ name, text, good, result }) => `${JSON.stringify({ ...result, image: name, text, good })}\n`)
    .join("");
}

/** As the library datasets reads a folder of images. */
export function metadata(photos) {
  return photos
    .filter(({ text }) => text)
    .map(({ name, text }) => `${JSON.stringify({ file_name: name, text })}\n`)
    .join("");
}

/** PHOTO.txt for PHOTO.jpg: [name, text]; of equal names the later ones are numbered. */
export function texts(photos) {
  const taken = new Set();
  return photos
    .filter(({ text }) => text)
    .map(({ name, text }) => {
      const stem = safePath(name).replace(/\.[^./]+$/, "") || "photo";
      let path = `${stem}.txt`;
      for (let number = 2; taken.has(path.toLowerCase()); number++) path = `${stem}-${number}.txt`;
      taken.add(path.toLowerCase());
      return [path, `${text}\n`];
    });
}

/** Relative, without .. and without what some system does not take in a name. */
function safePath(name) {
  const parts = name.replaceAll("\\", "/").split("/");
  return parts
    .map((part) => part.replace(/[\u0000-\u001f\u007f<>:"|?*]/g, "_").trim())
    .filter((part) => part && part !== "." && part !== "..")
    .join("/");
}

export function tagText({ tag, count }) {
  return count > 1 ? `${count} × ${tag}` : tag;
}

function cell(value) {
  let text = String(value);
  if (/^[=+\-@\t\r]/.test(text) && typeof value !== "number") text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function plain(text, type) {
  return new Blob([text.isWellFormed?.() === false ? text.toWellFormed() : text], { type });
}
