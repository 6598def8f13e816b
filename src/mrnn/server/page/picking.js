// Photos that people drop, paste or choose, with their names: [{name, file}].

const SUFFIXES =
  /\.(jpe?g|jpe|jfif|mpo|png|gif|bmp|webp|tiff?|ppm|pgm|pbm|pnm|heic|heif|avif|jxl)$/i;
const HIDDEN = /(^|\/)\./;
let pasted = 0;

const isPhoto = (file) => file.type.startsWith("image/") || SUFFIXES.test(file.name);

/** Of an input: from a folder only photos, and otherwise all. */
export function chosen(input) {
  const photos = [...input.files]
    .map((file) => ({ name: file.webkitRelativePath || file.name, file }))
    .filter(({ name, file }) => !file.webkitRelativePath || (isPhoto(file) && !HIDDEN.test(name)));
  input.value = ""; // so that the same can be chosen again
  return photos;
}

/** Of a drop: files as they are, and the photos of folders. */
export async function dropped(transfer) {
  const entries = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const lists = await Promise.all(entries.map((entry) => photosOf(entry)));
  return lists.flat();
}

/** Of the clipboard. */
export function fromClipboard(data) {
  return [...(data?.files ?? [])].filter(isPhoto).map((file) => {
    const given = file.name && file.name !== "image.png";
    pasted += given ? 0 : 1;
    return { name: given ? file.name : `pasted-${pasted}.png`, file };
  });
}

async function photosOf(entry, inFolder = false) {
  if (!entry) return [];
  if (entry instanceof File) return [{ name: entry.name, file: entry }];
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    const name = entry.fullPath.replace(/^\//, "");
    return !inFolder || (isPhoto(file) && !HIDDEN.test(name)) ? [{ name, file }] : [];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a hundred at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    found.push(...some);
  }
  found.sort((one, other) => one.name.localeCompare(other.name));
  const lists = [];
  for (const each of found) lists.push(await photosOf(each, true));
  return lists.flat();
}
