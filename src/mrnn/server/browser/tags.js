// Tags of a photo: everyday words for what its encoder's classes see, with probabilities.
import { readTensors, rounded, sigmoid, times } from "./tensors.js";

const VALUES = 4; // of each class in a detector's feature: best, total, extent and count
const COUNTED = 3; // detections that make the value `count` 1
const DETECTED = [0.03, 0.99]; // scores are clipped to these before their log-odds
const SUMMED = [1e-4, 1 - 1e-4];

export class Tagger {
  #file;
  #classifiers;
  #detector;
  #ancestors;
  #calibration;
  #kinds;

  /** `places` says where in a feature the parts of the encoder lie, by name; `tags` is tags.json. */
  constructor(tags, buffer, places) {
    const { tensors } = readTensors(buffer);
    this.#file = tags;
    this.#classifiers = Object.keys(places)
      .filter((name) => name in tensors)
      .map((name) => ({ name, place: places[name], weights: tensors[name], bias: tensors[`${name}.bias`].data }));
    this.#detector = places[tags.detector.encoder];
    const kind = !this.#classifiers.length ? "detector" : this.#detector ? "both" : "classifiers";
    this.#calibration = tags.calibrations[kind];
    const detected = new Set(this.#detector ? tags.detector.tags : []);
    const parents = new Set(tags.tags.flatMap(({ parents: own = [] }) => own));
    this.#kinds = tags.tags.map((_, tag) => (detected.has(tag) ? "detector" : parents.has(tag) ? "parent" : "leaf"));
    this.#ancestors = [];
    for (const { parents: own = [] } of tags.tags) {
      this.#ancestors.push(new Set(own.flatMap((parent) => [parent, ...this.#ancestors[parent]])));
    }
  }

  /** The most specific of the likely tags: {tag, probability, count}; those of the detector first. */
  tags(feature) {
    const probabilities = this.#probabilities(feature);
    const counts = this.#counts(feature);
    const { thresholds } = this.#calibration;
    const likely = [...probabilities.keys()].filter((tag) => probabilities[tag] >= (thresholds[this.#kinds[tag]] ?? 2));
    const above = new Set(likely.flatMap((tag) => [...this.#ancestors[tag]]));
    const found = likely.filter((tag) => !above.has(tag)).map((tag) => {
      const line = [tag, ...likely.filter((each) => this.#ancestors[tag].has(each)).reverse()];
      const count = line.map((each) => counts.get(each)).find((each) => each !== undefined);
      return { tag, count, detected: line.some((each) => this.#kinds[each] === "detector") };
    });
    found.sort((one, other) => other.detected - one.detected
      || probabilities[other.tag] - probabilities[one.tag] || one.tag - other.tag);
    return found.map(({ tag, count }) => {
      const given = { tag: this.#file.tags[tag].names[0], probability: rounded(probabilities[tag], 3) };
      return count === undefined ? given : { ...given, count };
    });
  }

  #probabilities(feature) {
    const none = () => new Float32Array(this.#file.tags.length);
    const known = new Uint8Array(this.#file.tags.length);
    const [detected, classified] = [none(), none()];
    if (this.#detector) {
      const best = this.#reduce(this.#detections(feature, 0), this.#file.detector.tags, Math.max);
      for (const [tag, score] of best) detected[tag] = logOdds(score, DETECTED);
      for (const tag of best.keys()) known[tag] = 1;
    }
    if (this.#classifiers.length) {
      const sums = this.#reduce(this.#softmax(feature), this.#file.imagenet, (one, other) => one + other);
      for (const [tag, sum] of sums) classified[tag] = logOdds(sum, SUMMED);
      for (const tag of sums.keys()) known[tag] = 1;
    }
    return Float32Array.from(this.#calibration.weights, ([a, b, intercept], tag) =>
      known[tag] * sigmoid(detected[tag] * a + classified[tag] * b + intercept));
  }

  /** Of each tag, its classes and those of the tags below it. */
  #reduce(values, tags, join) {
    const found = new Map();
    tags.forEach((own, place) => {
      for (const tag of [own, ...this.#ancestors[own]]) {
        found.set(tag, found.has(tag) ? join(found.get(tag), values[place]) : values[place]);
      }
    });
    return found;
  }

  #detections(feature, value) {
    const { tags, scale } = this.#file.detector;
    const start = this.#detector[0] + value * tags.length;
    return feature.slice(start, start + tags.length).map((each) => each / scale);
  }

  #counts(feature) {
    const counts = new Map();
    if (!this.#detector) return counts;
    this.#detections(feature, VALUES - 1).forEach((value, place) => {
      const count = rounded(value * COUNTED, 0);
      if (count > 0) counts.set(this.#file.detector.tags[place], count);
    });
    return counts;
  }

  #softmax(feature) {
    const names = this.#classifiers.map(({ name }) => name).sort().join("+");
    const temperature = this.#calibration.temperatures[names] ?? 1;
    const scores = new Float32Array(this.#file.imagenet.length);
    for (const { place, weights, bias } of this.#classifiers) {
      const own = times(weights, feature.subarray(...place));
      own.forEach((score, at) => (scores[at] += (score + bias[at]) / this.#classifiers.length / temperature));
    }
    const largest = Math.max(...scores);
    const powers = scores.map((score) => Math.exp(score - largest));
    const total = powers.reduce((sum, power) => sum + power, 0);
    return powers.map((power) => power / total);
  }
}

function logOdds(value, [least, most]) {
  const clipped = Math.min(Math.max(value, least), most);
  return Math.log(clipped / (1 - clipped));
}
