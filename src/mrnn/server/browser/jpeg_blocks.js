// Blocks of a JPEG to pixels, 8, 4, 2 or 1 a side: the inverse transforms of libjpeg-turbo, to the bit.

const BITS = 13; // of the constants' fractions
const PASS = 2; // bits kept between columns and rows
const work = new Int32Array(64);

/**
 * Makes the pixels of one block in `plane`, from `place` on, a row each `stride`.
 * @param {Int16Array} block coefficients, from `at` on @param {Int32Array} quantization @param {number} side 8, 4, 2 or 1
 */
export function transform(block, at, quantization, side, plane, place, stride) {
  if (side === 1) {
    plane[place] = descale(block[at] * quantization[0], 3) + 128; // clamped by the array
    return;
  }
  for (let spot = 0; spot < 64; spot++) work[spot] = block[at + spot] * quantization[spot];
  const pass = PASSES[side];
  const more = MORE[side];
  for (let x = 0; x < 8; x++) pass(x, 8, BITS - PASS + more);
  for (let y = 0; y < side; y++) {
    pass(8 * y, 1, BITS + PASS + 3 + more);
    for (let x = 0; x < side; x++) plane[place + y * stride + x] = work[8 * y + x] + 128;
  }
}

const PASSES = { 2: two, 4: four, 8: eight };
const MORE = { 2: 2, 4: 1, 8: 0 };

function descale(value, bits) {
  return (value + (1 << (bits - 1))) >> bits;
}

function two(at, step, bits) {
  const even = work[at] << (BITS + 2);
  const odd = 29692 * work[at + step] - 10426 * work[at + 3 * step] + 6967 * work[at + 5 * step] - 5906 * work[at + 7 * step];
  work[at] = descale(even + odd, bits);
  work[at + step] = descale(even - odd, bits);
}

function four(at, step, bits) {
  const [n1, n2, n3] = [work[at + step], work[at + 2 * step], work[at + 3 * step]];
  const [n5, n6, n7] = [work[at + 5 * step], work[at + 6 * step], work[at + 7 * step]];
  const even = work[at] << (BITS + 1);
  const cross = 15137 * n2 - 6270 * n6;
  const inner = 8697 * n1 - 17799 * n3 + 11893 * n5 - 1730 * n7;
  const outer = 20995 * n1 + 7373 * n3 - 4926 * n5 - 4176 * n7;
  work[at] = descale(even + cross + outer, bits);
  work[at + step] = descale(even - cross + inner, bits);
  work[at + 2 * step] = descale(even - cross - inner, bits);
  work[at + 3 * step] = descale(even + cross - outer, bits);
}

function eight(at, step, bits) {
  const [n0, n1, n2, n3] = [work[at], work[at + step], work[at + 2 * step], work[at + 3 * step]];
  const [n4, n5, n6, n7] = [work[at + 4 * step], work[at + 5 * step], work[at + 6 * step], work[at + 7 * step]];
  const both = 4433 * (n2 + n6);
  const low = both - 15137 * n6;
  const high = both + 6270 * n2;
  const sum = (n0 + n4) << BITS;
  const difference = (n0 - n4) << BITS;
  const all = 9633 * (n1 + n3 + n5 + n7);
  const a = -7373 * (n1 + n7);
  const b = -20995 * (n3 + n5);
  const c = all - 16069 * (n3 + n7);
  const d = all - 3196 * (n1 + n5);
  const [o0, o1, o2, o3] = [12299 * n1 + a + d, 25172 * n3 + b + c, 16819 * n5 + b + d, 2446 * n7 + a + c];
  const [e0, e1, e2, e3] = [sum + high, difference + low, difference - low, sum - high];
  work[at] = descale(e0 + o0, bits);
  work[at + step] = descale(e1 + o1, bits);
  work[at + 2 * step] = descale(e2 + o2, bits);
  work[at + 3 * step] = descale(e3 + o3, bits);
  work[at + 4 * step] = descale(e3 - o3, bits);
  work[at + 5 * step] = descale(e2 - o2, bits);
  work[at + 6 * step] = descale(e1 - o1, bits);
  work[at + 7 * step] = descale(e0 - o0, bits);
}
