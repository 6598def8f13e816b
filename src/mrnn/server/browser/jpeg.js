// JPEG files to RGB pixels, also made smaller by 2, 4 or 8: as libjpeg-turbo and so as Pillow, to the bit.
import { Bits, CutShort, huffmanTable, progressive, readBlock, ZIGZAG } from "./jpeg_bits.js";
import { transform } from "./jpeg_blocks.js";

const BASELINE = [0xc0, 0xc1], PROGRESSIVE = 0xc2;
const RGB_IDS = "82,71,66";

/**
 * RGB pixels, not turned as EXIF says. Throws for a kind of JPEG that is not known, and a damaged one.
 * @param {Uint8Array} bytes @param {(width: number, height: number) => number} reduction of the sizes: 1, 2, 4 or 8
 */
export function decodeJpeg(bytes, reduction) {
  const file = { bytes, quantizations: [], tables: { dc: [], ac: [] }, restarts: 0, adobe: null, frame: null };
  let scans = 0;
  for (const { marker, data, end } of segments(bytes)) {
    if (marker === 0xdb) readQuantizations(data, file);
    else if (marker === 0xc4) readTables(data, file);
    else if (marker === 0xdd) file.restarts = (data[0] << 8) | data[1];
    else if (marker === 0xee && String.fromCharCode(...data.subarray(0, 5)) === "Adobe") file.adobe = data[11];
    else if (BASELINE.includes(marker) || marker === PROGRESSIVE) file.frame = readFrame(data, marker, reduction, file.frame);
    else if (marker >= 0xc0 && marker <= 0xcf) throw new Error("a kind of JPEG that is not known");
    else if (marker === 0xda) scans += readScan(data, end, file);
  }
  if (!scans) throw new CutShort();
  const { frame } = file;
  const isRgb = file.adobe === 0 || (file.adobe === null && frame.components.map(({ id }) => id).join() === RGB_IDS);
  if (frame.components.length === 3 && isRgb) throw new Error("a JPEG of RGB");
  const planes = frame.components.map((component) => {
    if (frame.isProgressive) drawAll(component, file);
    return upsampled(component, frame);
  });
  return { rgb: toRgb(planes, frame.width, frame.height), width: frame.width, height: frame.height };
}

function* segments(bytes) {
  let at = 2;
  for (;;) {
    while (bytes[at] !== 0xff || bytes[at + 1] === 0 || (bytes[at + 1] >= 0xd0 && bytes[at + 1] <= 0xd7) || bytes[at + 1] === 0xff) {
      if (++at >= bytes.length) return;
    }
    const marker = bytes[at + 1];
    if (marker === 0xd9) return;
    const end = at + 2 + ((bytes[at + 2] << 8) | bytes[at + 3]);
    if (!(end <= bytes.length)) throw new CutShort();
    yield { marker, data: bytes.subarray(at + 4, end), end };
    at = end;
  }
}

function readQuantizations(data, file) {
  for (let at = 0; at < data.length; ) {
    const wide = data[at] >> 4;
    const table = new Int32Array(64);
    const number = data[at++] & 15;
    for (let place = 0; place < 64; place++, at += wide ? 2 : 1) {
      table[ZIGZAG[place]] = wide ? (data[at] << 8) | data[at + 1] : data[at];
    }
    file.quantizations[number] = table;
  }
}

function readTables(data, file) {
  for (let at = 0; at < data.length; ) {
    const kind = data[at] >> 4 ? "ac" : "dc";
    const number = data[at] & 15;
    const counts = data.subarray(at + 1, at + 17);
    const values = counts.reduce((sum, count) => sum + count, 0);
    file.tables[kind][number] = huffmanTable(counts, data.slice(at + 17, at + 17 + values));
    at += 17 + values;
  }
}

function readFrame(data, marker, reduction, before) {
  if (before || data[0] !== 8 || ![1, 3].includes(data[5])) throw new Error("a kind of JPEG that is not known");
  const [height, width] = [(data[1] << 8) | data[2], (data[3] << 8) | data[4]];
  const by = reduction(width, height);
  const components = Array.from({ length: data[5] }, (_, number) => {
    const [id, sampling, quantization] = data.subarray(6 + 3 * number, 9 + 3 * number);
    return { id, across: sampling >> 4, down: sampling & 15, quantization, last: 0 };
  });
  if (components.length === 1) components[0].across = components[0].down = 1;
  const most = { across: Math.max(...components.map(({ across }) => across)), down: Math.max(...components.map(({ down }) => down)) };
  const frame = {
    isProgressive: marker === PROGRESSIVE, components, most, side: 8 / by,
    width: Math.ceil(width / by), height: Math.ceil(height / by),
    units: { across: Math.ceil(width / (8 * most.across)), down: Math.ceil(height / (8 * most.down)) },
  };
  for (const component of components) prepare(component, frame, width, height);
  return frame;
}

/** The side of a component's blocks in pixels, its sizes, and room for what is read. */
function prepare(component, frame, width, height) {
  const { most, side, units } = frame;
  const doubles = (way) => (most[way] * side) % (component[way] * component.side * 2) === 0;
  component.side = side;
  while (component.side < 8 && doubles("across") && doubles("down")) component.side *= 2;
  const size = (pixels, way) => Math.ceil((pixels * component[way]) / most[way] / 8);
  component.blocks = { across: size(width, "across"), down: size(height, "down") };
  component.width = Math.ceil((width * component.across * component.side) / (most.across * 8));
  component.height = Math.ceil((height * component.down * component.side) / (most.down * 8));
  component.row = units.across * component.across; // blocks, with those that fill up the last unit
  component.rows = units.down * component.down;
  component.stride = component.row * component.side;
  component.plane = new Uint8ClampedArray(component.stride * component.rows * component.side);
  component.coefficients = new Int16Array(64 * (frame.isProgressive ? component.row * component.rows : 1));
}

/** Reads a scan; 1, so that they can be counted. */
function readScan(data, at, file) {
  const { frame } = file;
  const chosen = Array.from({ length: data[0] }, (_, number) => {
    const [id, tables] = data.subarray(1 + 2 * number, 3 + 2 * number);
    const component = frame.components.find((each) => each.id === id);
    component.dc = file.tables.dc[tables >> 4];
    component.ac = file.tables.ac[tables & 15];
    component.last = 0;
    return component;
  });
  const [start, end, approximation] = data.subarray(1 + 2 * data[0]);
  const bits = new Bits(file.bytes, at);
  const reader = frame.isProgressive
    ? progressive({ start, end, high: approximation >> 4, low: approximation & 15 }) : baseline(file);
  const units = chosen.length > 1 ? frame.units : chosen[0].blocks;
  const count = units.across * units.down;
  for (let unit = 0; unit < count; unit++) {
    if (file.restarts && unit && unit % file.restarts === 0) {
      bits.restart();
      reader.restart?.();
      for (const component of chosen) component.last = 0;
    }
    const x = unit % units.across;
    const y = (unit - x) / units.across;
    if (chosen.length === 1) readOne(reader, bits, chosen[0], x, y, frame);
    else for (const component of chosen) readUnit(reader, bits, component, x, y, frame);
  }
  bits.check();
  return 1;
}

function readUnit(reader, bits, component, x, y, frame) {
  for (let down = 0; down < component.down; down++) {
    for (let across = 0; across < component.across; across++) {
      readOne(reader, bits, component, x * component.across + across, y * component.down + down, frame);
    }
  }
}

function readOne(reader, bits, component, x, y, frame) {
  const at = frame.isProgressive ? 64 * (y * component.row + x) : 0;
  reader(bits, component.coefficients, at, component, x, y);
}

/** Blocks of a baseline scan become pixels as they are read. */
function baseline(file) {
  return (bits, block, at, component, x, y) => {
    block.fill(0);
    readBlock(bits, block, at, component);
    draw(component, file.quantizations[component.quantization], block, at, x, y);
  };
}

/** The pixels of a component's block in column x and row y. */
function draw({ side, plane, stride }, quantization, block, at, x, y) {
  transform(block, at, quantization, side, plane, (y * stride + x) * side, stride);
}

function drawAll(component, file) {
  const quantization = file.quantizations[component.quantization];
  for (let y = 0; y < component.rows; y++) {
    for (let x = 0; x < component.row; x++) {
      draw(component, quantization, component.coefficients, 64 * (y * component.row + x), x, y);
    }
  }
}

/** A component in the size of the photo: {plane, stride}. */
function upsampled(component, frame) {
  const across = (frame.most.across * frame.side) / (component.across * component.side);
  const down = (frame.most.down * frame.side) / (component.down * component.side);
  const isSmooth = frame.side > 1;
  if (across === 1 && down === 1) return component;
  if (across === 2 && down === 1) return widened(component, isSmooth && component.width > 2);
  if (across === 1 && down === 2) return heightened(component, isSmooth);
  if (across === 2 && down === 2) return enlarged(component, isSmooth && component.width > 2);
  throw new Error("a sampling that is not known");
}

function widened({ plane, stride, width, height }, isSmooth) {
  const made = new Uint8ClampedArray(2 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * stride + x;
      const to = 2 * (y * width + x);
      const own = plane[at];
      made[to] = isSmooth && x ? (3 * own + plane[at - 1] + 1) >> 2 : own;
      made[to + 1] = isSmooth && x < width - 1 ? (3 * own + plane[at + 1] + 2) >> 2 : own;
    }
  }
  return { plane: made, stride: 2 * width };
}

function heightened({ plane, stride, width, height }, isSmooth) {
  const made = new Uint8ClampedArray(2 * width * height);
  for (let y = 0; y < 2 * height; y++) {
    const row = y >> 1;
    const near = Math.min(Math.max(y & 1 ? row + 1 : row - 1, 0), height - 1);
    for (let x = 0; x < width; x++) {
      const own = plane[row * stride + x];
      made[y * width + x] = isSmooth ? (3 * own + plane[near * stride + x] + (y & 1 ? 2 : 1)) >> 2 : own;
    }
  }
  return { plane: made, stride: width };
}

function enlarged({ plane, stride, width, height }, isSmooth) {
  const made = new Uint8ClampedArray(4 * width * height);
  const sums = new Int32Array(width);
  for (let y = 0; y < 2 * height; y++) {
    const row = (y >> 1) * stride;
    const near = Math.min(Math.max(y & 1 ? (y >> 1) + 1 : (y >> 1) - 1, 0), height - 1) * stride;
    const to = 2 * y * width;
    for (let x = 0; x < width; x++) sums[x] = isSmooth ? 3 * plane[row + x] + plane[near + x] : plane[row + x];
    for (let x = 0; x < width; x++) {
      const own = sums[x];
      const [left, right] = [sums[Math.max(x - 1, 0)], sums[Math.min(x + 1, width - 1)]];
      made[to + 2 * x] = isSmooth ? (3 * own + left + 8) >> 4 : own;
      made[to + 2 * x + 1] = isSmooth ? (3 * own + right + 7) >> 4 : own;
    }
  }
  return { plane: made, stride: 2 * width };
}

function toRgb([luma, blue, red], width, height) {
  const rgb = new Uint8ClampedArray(3 * width * height);
  const half = 1 << 15;
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 3) {
      const value = luma.plane[y * luma.stride + x];
      if (!blue) {
        rgb[to] = rgb[to + 1] = rgb[to + 2] = value;
        continue;
      }
      const cb = blue.plane[y * blue.stride + x] - 128;
      const cr = red.plane[y * red.stride + x] - 128;
      rgb[to] = value + ((91881 * cr + half) >> 16);
      rgb[to + 1] = value + ((-22554 * cb - 46802 * cr + half) >> 16);
      rgb[to + 2] = value + ((116130 * cb + half) >> 16);
    }
  }
  return rgb;
}
