// Pillow's bicubic resize of RGB pixels, to the bit: two passes with weights in fixed point.

const PRECISION = 22; // bits
const SUPPORT = 2;

/** @param {{rgb: Uint8Array, width: number, height: number}} photo; the same again, of another size. */
export function resize(photo, width, height) {
  const narrow = photo.width === width ? photo.rgb : across(photo, width);
  const rgb = photo.height === height ? narrow : down(narrow, width, photo.height, height);
  return { rgb, width, height };
}

function across({ rgb, width: before, height }, width) {
  const { starts, counts, weights, longest } = kernels(before, width);
  const made = new Uint8ClampedArray(3 * width * height);
  for (let y = 0, at = 0; y < height; y++) {
    const row = 3 * y * before;
    for (let x = 0; x < width; x++, at += 3) {
      let red = 1 << (PRECISION - 1), green = red, blue = red;
      const own = x * longest;
      for (let i = 0, from = row + 3 * starts[x]; i < counts[x]; i++, from += 3) {
        const weight = weights[own + i];
        red = (red + rgb[from] * weight) | 0;
        green = (green + rgb[from + 1] * weight) | 0;
        blue = (blue + rgb[from + 2] * weight) | 0;
      }
      made[at] = red >> PRECISION;
      made[at + 1] = green >> PRECISION;
      made[at + 2] = blue >> PRECISION;
    }
  }
  return made;
}

function down(rgb, width, before, height) {
  const { starts, counts, weights, longest } = kernels(before, height);
  const row = 3 * width;
  const made = new Uint8ClampedArray(row * height);
  const sums = new Int32Array(row);
  for (let y = 0; y < height; y++) {
    sums.fill(1 << (PRECISION - 1));
    for (let i = 0; i < counts[y]; i++) {
      const weight = weights[y * longest + i];
      const from = (starts[y] + i) * row;
      for (let x = 0; x < row; x++) sums[x] += rgb[from + x] * weight;
    }
    for (let x = 0; x < row; x++) made[y * row + x] = sums[x] >> PRECISION;
  }
  return made;
}

/** For each place after the resize: where its pixels begin, how many they are, and their weights. */
function kernels(before, after) {
  const step = before / after;
  const scale = Math.max(step, 1);
  const support = SUPPORT * scale;
  const longest = 2 * Math.ceil(support) + 1;
  const starts = new Int32Array(after);
  const counts = new Int32Array(after);
  const weights = new Int32Array(after * longest);
  for (let x = 0; x < after; x++) {
    const centre = (x + 0.5) * step;
    const start = Math.max(Math.trunc(centre - support + 0.5), 0);
    const count = Math.min(Math.trunc(centre + support + 0.5), before) - start;
    const own = [];
    let sum = 0;
    for (let i = 0; i < count; i++) {
      own.push(bicubic((i + start - centre + 0.5) * (1 / scale)));
      sum += own[i];
    }
    for (let i = 0; i < count; i++) {
      const weight = (sum === 0 ? own[i] : own[i] / sum) * (1 << PRECISION);
      weights[x * longest + i] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    starts[x] = start;
    counts[x] = count;
  }
  return { starts, counts, weights, longest };
}

function bicubic(distance) {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}
