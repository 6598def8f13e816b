// The entropy-coded part of a JPEG: Huffman codes, of baseline and progressive scans.

/** Where each of the 64 coefficients stands in its block, in the order of the file. */
export const ZIGZAG = Uint8Array.of(
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63);

const LOOK = 9; // bits of a code that are looked up at once

/** Of the counts of codes of 1 to 16 bits, and their values. */
export function huffmanTable(counts, values) {
  const fast = new Uint16Array(1 << LOOK);
  const last = new Int32Array(17).fill(-1);
  const shift = new Int32Array(17);
  for (let length = 1, code = 0, place = 0; length <= 16; length++, code <<= 1) {
    shift[length] = place - code;
    for (let left = counts[length - 1]; left; left--, code++, place++) {
      if (length > LOOK) continue;
      const first = code << (LOOK - length);
      fast.fill((length << 8) | values[place], first, first + (1 << (LOOK - length)));
    }
    if (counts[length - 1]) last[length] = code - 1;
  }
  return { fast, last, shift, values };
}

/** The file ends before the picture does. */
export class CutShort extends Error {}

/** Reads bits; zeros from the next marker on. */
export class Bits {
  #bits = 0;
  #count = 0;

  constructor(bytes, at) {
    this.bytes = bytes;
    this.at = at;
    this.ended = 0; // bytes that were made up
  }

  /** Throws where more was read than there is. */
  check() {
    if (this.ended > 8) throw new CutShort();
  }

  #fill() {
    while (this.#count <= 24) {
      let byte = this.bytes[this.at];
      if (byte === undefined || (byte === 0xff && this.bytes[this.at + 1] !== 0)) {
        byte = 0;
        this.ended++;
      } else this.at += byte === 0xff ? 2 : 1;
      this.#bits = (this.#bits << 8) | byte;
      this.#count += 8;
    }
  }

  #peek(count) {
    return (this.#bits >>> (this.#count - count)) & ((1 << count) - 1);
  }

  read(count) {
    if (!count) return 0;
    if (this.#count < count) this.#fill();
    const value = this.#peek(count);
    this.#count -= count;
    return value;
  }

  /** A number of so many bits, the first of which is its sign. */
  signed(count) {
    const value = this.read(count);
    return count && value < 1 << (count - 1) ? value - (1 << count) + 1 : value;
  }

  symbol({ fast, last, shift, values }) {
    if (this.#count < 16) this.#fill();
    const entry = fast[this.#peek(LOOK)];
    if (entry) {
      this.#count -= entry >> 8;
      return entry & 255;
    }
    for (let length = LOOK + 1; length <= 16; length++) {
      const code = this.#peek(length);
      if (code > last[length]) continue;
      this.#count -= length;
      return values[code + shift[length]];
    }
    throw new Error("a code that is none");
  }

  /** On to what follows a restart marker. */
  restart() {
    this.check();
    this.#bits = this.#count = this.ended = 0;
    while (this.bytes[this.at] === 0xff && this.bytes[this.at + 1] === 0xff) this.at++;
    const marker = this.bytes[this.at + 1];
    if (this.bytes[this.at] !== 0xff || marker < 0xd0 || marker > 0xd7) throw new Error("no restart marker");
    this.at += 2;
  }
}

/** A block of a baseline scan. */
export function readBlock(bits, block, at, component) {
  component.last += bits.signed(bits.symbol(component.dc));
  block[at] = component.last;
  for (let place = 1; place < 64; place++) {
    const symbol = bits.symbol(component.ac);
    const size = symbol & 15;
    place += symbol >> 4;
    if (size) block[at + ZIGZAG[place]] = bits.signed(size);
    else if (symbol < 0xf0) return;
  }
}

/** The function that reads a block of a progressive scan. */
export function progressive({ start, end, high, low }) {
  if (!start) return high ? (bits, block, at) => (block[at] |= bits.read(1) << low) : firstOfMean;
  let run = 0; // blocks that have ended already
  const reader = high ? refine : first;
  reader.restart = () => (run = 0);
  return reader;

  function firstOfMean(bits, block, at, component) {
    component.last += bits.signed(bits.symbol(component.dc));
    block[at] = component.last << low;
  }

  function first(bits, block, at, component) {
    if (run) return run--;
    for (let place = start; place <= end; place++) {
      const symbol = bits.symbol(component.ac);
      const size = symbol & 15;
      const zeros = symbol >> 4;
      if (!size && zeros < 15) return (run = (1 << zeros) - 1 + bits.read(zeros));
      place += zeros;
      if (size) block[at + ZIGZAG[place]] = bits.signed(size) << low;
    }
    return 0;
  }

  function refine(bits, block, at, component) {
    const one = 1 << low;
    let place = start;
    const more = (spot) => {
      if (bits.read(1) && !(Math.abs(block[spot]) & one)) block[spot] += block[spot] > 0 ? one : -one;
    };
    for (; !run && place <= end; place++) {
      const symbol = bits.symbol(component.ac);
      let zeros = symbol >> 4;
      let value = 0;
      if (symbol & 15) value = bits.read(1) ? one : -one;
      else if (zeros < 15) {
        run = (1 << zeros) + bits.read(zeros);
        break;
      }
      for (; place <= end; place++) {
        const spot = at + ZIGZAG[place];
        if (block[spot]) more(spot);
        else if (zeros-- === 0) {
          if (value) block[spot] = value;
          break;
        }
      }
    }
    if (!run) return;
    for (; place <= end; place++) if (block[at + ZIGZAG[place]]) more(at + ZIGZAG[place]);
    run--;
  }
}
