// Tensors of a safetensors file: int8 matrices with a scale a row, float16 vectors, integers.

/** By name: {shape, data}, and `scales` of an int8 matrix; they are decoded when they are asked for. */
export function readTensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const { __metadata__: metadata = {}, ...entries } = header;
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: [start, end] }] of Object.entries(entries)) {
    const decode = () => READERS[dtype](buffer.slice(8 + length + start, 8 + length + end));
    tensors[name] = tensorOf(shape, decode, () => tensors[`${name}.scale`]?.data);
  }
  return { metadata, tensors };
}

function tensorOf(shape, decode, scale) {
  let data, scales;
  return { shape, get data() { return (data ??= decode()); }, get scales() { return (scales ??= scale()); } };
}

const READERS = {
  I8: (bytes) => new Int8Array(bytes),
  I32: (bytes) => new Int32Array(bytes),
  F32: (bytes) => new Float32Array(bytes),
  F16: (bytes) => fromHalves(new Uint16Array(bytes)),
};

function fromHalves(halves) {
  const made = new Float32Array(halves.length);
  for (let place = 0; place < made.length; place++) made[place] = fromHalf(halves[place]);
  return made;
}

function fromHalf(bits) {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * fraction * 2 ** -24;
}

/** A row of an int8 matrix times a vector. */
export function rowTimes({ shape, data, scales }, row, vector) {
  const columns = shape[1];
  let sum = 0;
  for (let place = 0, at = row * columns; place < columns; place++, at++) sum += data[at] * vector[place];
  return sum * scales[row];
}

/** An int8 matrix times a vector. */
export function times(matrix, vector) {
  const made = new Float32Array(matrix.shape[0]);
  for (let row = 0; row < made.length; row++) made[row] = rowTimes(matrix, row, vector);
  return made;
}

/** Square roots with the sign of their values, scaled to unit length. */
export function powerNormalize(feature) {
  const roots = feature.map((value) => Math.sign(value) * Math.sqrt(Math.abs(value)));
  return scaleToUnit(roots, 0, roots.length);
}

/** A part of a vector, in place, scaled to unit length; zeros stay zeros. */
export function scaleToUnit(vector, start, end) {
  let squares = 0;
  for (let place = start; place < end; place++) squares += vector[place] ** 2;
  const length = Math.max(Math.sqrt(squares), 1e-12);
  for (let place = start; place < end; place++) vector[place] /= length;
  return vector;
}

export const minus = (one, other) => one.map((value, place) => value - other[place]);

export const sigmoid = (logit) => 1 / (1 + Math.exp(-logit));

/** To so many decimals; halves to the even neighbour. */
export function rounded(value, decimals) {
  const scaled = value * 10 ** decimals;
  const below = Math.floor(scaled);
  const half = scaled - below === 0.5;
  return (half ? below + (below & 1) : Math.round(scaled)) / 10 ** decimals;
}
