// A photo's file to RGB pixels, as Python reads it: upright, transparency on white.
import { decodeJpeg } from "./jpeg.js";
import { CutShort } from "./jpeg_bits.js";
import { Problem } from "./problem.js";

const STRIP = 512; // rows that are drawn at once
const MOST_PIXELS = 100_000_000;
const EXIF = [0x45, 0x78, 0x69, 0x66, 0, 0];
const ORIENTATION = 0x0112;

/**
 * RGB pixels. A JPEG may be decoded smaller, by 2, 4 or 8; its shorter side stays at least `leastSide`.
 * @param {Blob} file
 */
export async function readPhoto(file, leastSide, name) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (!bytes.length) throw new Problem(`${name}: empty, 0 bytes; copy the photo again`);
  try {
    const isJpeg = bytes[0] === 0xff && bytes[1] === 0xd8;
    return isJpeg ? await readJpeg(bytes, leastSide, name) : await byBrowser(new Blob([bytes], { type: file.type }), name);
  } catch (error) {
    if (error instanceof Problem) throw error;
    throw new Problem(`${name}: too large for the memory that is free; make a smaller copy`);
  }
}

async function readJpeg(bytes, leastSide, name) {
  const orientation = takeOrientation(bytes);
  let photo;
  try {
    photo = decodeJpeg(bytes, (width, height) => reduction(width, height, leastSide));
  } catch (error) {
    if (error instanceof CutShort) {
      const size = bytes.length.toLocaleString("en");
      throw new Problem(`${name}: JPEG cut short: its ${size} bytes end before the picture does; copy the photo again`);
    }
    photo = await byBrowser(new Blob([bytes], { type: "image/jpeg" }), name); // CMYK and the like
  }
  return upright(photo, orientation);
}

function reduction(width, height, leastSide) {
  const most = Math.min(Math.floor(width / leastSide), Math.floor(height / leastSide));
  const by = [8, 4, 2].find((each) => each <= most) ?? 1;
  return [by, 2, 4, 8].find((each) => each >= by && width * height <= MOST_PIXELS * each ** 2) ?? 8;
}

/** What the browser makes of a file, drawn on white. */
async function byBrowser(blob, name) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" }).catch(() => {
    throw new Problem(`${name}: this browser cannot read it; save it as JPEG, PNG or WebP`);
  });
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) {
    throw new Problem(`${name}: too large (${width} x ${height} pixels); make a smaller copy, of 100 megapixels at most`);
  }
  const rgb = new Uint8ClampedArray(3 * width * height);
  const rows = Math.min(STRIP, height);
  const context = new OffscreenCanvas(width, rows).getContext("2d", { willReadFrequently: true });
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    context.fillStyle = "white";
    context.fillRect(0, 0, width, count);
    context.drawImage(bitmap, 0, -top);
    withoutAlpha(context.getImageData(0, 0, width, count).data, rgb.subarray(3 * width * top));
  }
  bitmap.close();
  return { rgb, width, height };
}

function withoutAlpha(rgba, rgb) {
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    rgb[to] = rgba[from];
    rgb[to + 1] = rgba[from + 1];
    rgb[to + 2] = rgba[from + 2];
  }
}

/** The EXIF orientation of a JPEG, 1 to 8, which is then set to 1 in its bytes. */
export function takeOrientation(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda) {
    const length = view.getUint16(at + 2);
    const start = at + 4;
    if (bytes[at + 1] === 0xe1 && EXIF.every((value, place) => bytes[start + place] === value)) {
      return takeFromTiff(view, start + EXIF.length, Math.min(at + 2 + length, bytes.length));
    }
    at += 2 + length;
  }
  return 1;
}

function takeFromTiff(view, start, end) {
  if (start + 8 > end) return 1;
  const little = view.getUint16(start) === 0x4949;
  const first = start + view.getUint32(start + 4, little);
  const count = first + 2 <= end ? view.getUint16(first, little) : 0;
  for (let entry = first + 2, left = count; left && entry + 12 <= end; left--, entry += 12) {
    if (view.getUint16(entry, little) !== ORIENTATION) continue;
    const found = view.getUint16(entry + 8, little);
    view.setUint16(entry + 8, 1, little);
    return found >= 1 && found <= 8 ? found : 1;
  }
  return 1;
}

/** The pixels turned as the EXIF orientation says. */
export function upright({ rgb, width, height }, orientation) {
  if (orientation === 1) return { rgb, width, height };
  const turned = orientation > 4;
  const [newWidth, newHeight] = turned ? [height, width] : [width, height];
  const fromRight = [2, 3, 7, 8].includes(orientation);
  const fromBelow = [3, 4, 6, 7].includes(orientation);
  const made = new Uint8ClampedArray(rgb.length);
  for (let y = 0, to = 0; y < newHeight; y++) {
    for (let x = 0; x < newWidth; x++, to += 3) {
      const column = turned ? y : x;
      const row = turned ? x : y;
      const from = 3 * ((fromBelow ? height - 1 - row : row) * width + (fromRight ? width - 1 - column : column));
      made[to] = rgb[from];
      made[to + 1] = rgb[from + 1];
      made[to + 2] = rgb[from + 2];
    }
  }
  return { rgb: made, width: newWidth, height: newHeight };
}
