// The retrieval and reranking heads: what each says of a photo's sentences, given as word ids.
import { minus, powerNormalize, readTensors, rounded, rowTimes, scaleToUnit, sigmoid, times } from "./tensors.js";

const DECIMALS = 4;
const LONGEST = 4;
const NEUTRAL = 3 / 4;
const NOTHING = -1;

export class Heads {
  #tensors;
  #parts;
  #ngrams = new Map();
  #phrases = new Map();

  constructor(buffer) {
    const { metadata, tensors } = readTensors(buffer);
    this.#tensors = tensors;
    this.#parts = JSON.parse(metadata.header).parts ?? 1;
    const ids = tensors["cider_predictor.token_ids"];
    for (const [row, words] of rowsOf(ids)) this.#ngrams.set(words.join(), row);
    if (!tensors["thing_predictor.weight"]) return;
    const things = tensors["thing_predictor.phrase_thing"].data;
    for (const [row, words] of rowsOf(tensors["thing_predictor.phrase_ids"])) {
      if (!this.#phrases.has(words[0])) this.#phrases.set(words[0], []);
      this.#phrases.get(words[0]).push({ words, thing: things[row] });
    }
    for (const phrases of this.#phrases.values()) phrases.sort((one, other) => other.words.length - one.words.length);
  }

  get hasConfidence() {
    return "confidence.weight" in this.#tensors;
  }

  /** What the terms need of a photo, once. */
  ofPhoto(feature) {
    const normalized = powerNormalize(feature);
    return {
      embedded: this.#embedImage(normalized),
      ngrams: new Map(), // what is predicted of each n-gram that was asked for
      cider: times(this.#of("cider_predictor.image_weight"), minus(normalized, this.#of("cider_predictor.feature_mean").data)),
      things: this.#things(normalized),
    };
  }

  /** The terms of a sentence's score, each rounded. */
  terms(photo, words) {
    return {
      similarity_weight: rounded(this.#similarity(photo.embedded, words), DECIMALS),
      predicted_cider_weight: rounded(this.#predictedCider(photo, words), DECIMALS),
      thing_weight: rounded(this.#sum(words, (thing) => photo.things[thing] - NEUTRAL), DECIMALS),
    };
  }

  /** 0..1: how likely people would call the caption right; its log-probability with `<eos>`. */
  confidence(photo, words, logProbability) {
    const terms = this.terms(photo, words);
    const signals = [
      terms.predicted_cider_weight,
      terms.similarity_weight,
      rounded(logProbability / (words.length + 1), DECIMALS),
      rounded(this.#sum(words, (thing) => 1 - photo.things[thing]), DECIMALS),
    ];
    const weights = this.#of("confidence.weight").data;
    const means = this.#of("confidence.signal_mean").data;
    const logit = signals.reduce((sum, value, place) => sum + (value - means[place]) * weights[place], 0);
    return rounded(sigmoid(logit + this.#of("confidence.bias").data[0]), 3);
  }

  #of(name) {
    return this.#tensors[name];
  }

  #embedImage(normalized) {
    const mean = this.#of("joint_embedding.feature_mean").data;
    const scale = this.#of("joint_embedding.feature_scale").data;
    const bias = this.#of("joint_embedding.image_bias").data;
    const scaled = normalized.map((value, place) => Math.fround(value - mean[place]) * scale[place]);
    const vector = times(this.#of("joint_embedding.image_weight"), scaled).map((value, place) => value + bias[place]);
    return this.#unitLength(vector);
  }

  #similarity(embedded, words) {
    const { data, scales, shape: [, size] } = this.#of("joint_embedding.words");
    const vector = new Float32Array(size);
    for (const word of words) {
      for (let place = 0, at = word * size; place < size; place++, at++) vector[place] += data[at] * scales[word];
    }
    return this.#unitLength(vector).reduce((sum, value, place) => sum + value * embedded[place], 0);
  }

  /** Each part scaled to the same length, and all together to unit length. */
  #unitLength(vector) {
    const size = vector.length / this.#parts;
    for (let part = 0; part < this.#parts; part++) scaleToUnit(vector, part * size, (part + 1) * size);
    return vector.map((value) => value / Math.sqrt(this.#parts));
  }

  #predictedCider(photo, words) {
    const idfs = this.#of("cider_predictor.idf").data;
    const [rarest] = this.#of("cider_predictor.max_idf").data;
    let total = 0;
    for (let length = 1; length <= LONGEST; length++) {
      let squares = 0, product = 0;
      for (const [ngram, count] of ngramCounts(words, length)) {
        const row = this.#ngrams.get(ngram);
        const idf = row === undefined ? rarest : idfs[row];
        squares += (count * idf) ** 2;
        if (row === undefined) continue;
        product += idf * this.#predicted(photo, row);
      }
      if (squares) total += product / Math.sqrt(squares);
    }
    const penalties = this.#of("cider_predictor.length_penalty").data;
    return total * penalties[Math.min(words.length, penalties.length - 1)];
  }

  /** The weight of a kept n-gram in what people would say of the photo. */
  #predicted({ cider, ngrams }, row) {
    if (!ngrams.has(row)) {
      const bias = this.#of("cider_predictor.ngram_bias").data[row];
      ngrams.set(row, rowTimes(this.#of("cider_predictor.ngram_weight"), row, cider) + bias);
    }
    return ngrams.get(row);
  }

  #things(normalized) {
    const weight = this.#of("thing_predictor.weight");
    if (!weight) return [];
    const bias = this.#of("thing_predictor.bias").data;
    const logits = times(weight, minus(normalized, this.#of("thing_predictor.feature_mean").data));
    return Array.from(logits, (logit, thing) => sigmoid(Math.fround(logit + bias[thing])));
  }

  /** Over the things that a sentence names, read from the left; the longest phrase wins. */
  #sum(words, value) {
    const named = new Set();
    for (let place = 0; place < words.length; ) {
      const fits = (phrase) => phrase.words.every((word, at) => word === words[place + at]);
      const found = this.#phrases.get(words[place])?.find(fits);
      if (found) named.add(found.thing);
      place += found ? found.words.length : 1;
    }
    named.delete(NOTHING);
    return [...named].reduce((sum, thing) => sum + value(thing), 0);
  }
}

/** Each row of token ids without its padding. */
function* rowsOf({ data, shape: [rows, columns] }) {
  for (let row = 0; row < rows; row++) {
    yield [row, [...data.subarray(row * columns, (row + 1) * columns)].filter((word) => word >= 0)];
  }
}

function ngramCounts(words, length) {
  const counts = new Map();
  for (let start = 0; start + length <= words.length; start++) {
    const ngram = words.slice(start, start + length).join();
    counts.set(ngram, (counts.get(ngram) ?? 0) + 1);
  }
  return counts;
}
