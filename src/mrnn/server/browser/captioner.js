// A photo in, its captions out, as `mrnn caption --json` prints them.
import { beamSearch, rescore } from "./beam_search.js";
import { Heads } from "./heads.js";
import { NO_SPINNING, Network } from "./network.js";
import { readPhoto } from "./photo.js";
import { Problem } from "./problem.js";
import { resize } from "./resize.js";
import { Tagger } from "./tags.js";
import { minus, powerNormalize, readTensors, rounded, sigmoid } from "./tensors.js";
import { joinWords } from "./words.js";

const DECIMALS = 4;
const RESCORED = 10; // hypotheses, at least, whose exact scores decide between them

export class Captioner {
  #ort;
  #site;
  #config;
  #encoders;
  #network;
  #words;
  #heads;
  #tagger;
  #familiarity;

  /**
   * `files` are promises of array buffers by their names below model/, `site` the content of site.json,
   * `providers` what may run the image encoders.
   */
  static async open(ort, site, files, providers) {
    const made = new Captioner();
    const text = async (name) => new TextDecoder().decode(await files[name]);
    made.#ort = ort;
    made.#site = site;
    made.#config = JSON.parse(await text("config.json"));
    made.#words = (await text("vocabulary.txt")).replace(/\n$/, "").split("\n");
    made.#network = await Network.open(ort, files, made.#config.model);
    made.#familiarity = readTensors(await files["model.safetensors"]).tensors;
    made.#encoders = [];
    for (const { file } of site.encoders) {
      const options = { executionProviders: providers, graphOptimizationLevel: "all", enableCpuMemArena: false, logSeverityLevel: 3, extra: NO_SPINNING };
      made.#encoders.push(await ort.InferenceSession.create(await files[file], options));
    }
    made.#heads = files["heads.safetensors"] ? new Heads(await files["heads.safetensors"]) : null;
    if (site.model.has_tags) {
      made.#tagger = new Tagger(JSON.parse(await text("encoders/tags.json")), await files["encoders/tags.safetensors"], made.#places());
    }
    return made;
  }

  /** The captions of a photo. Throws a Problem for a file that the browser cannot read. */
  async caption(file, { name, options = {} }) {
    const feature = await this.encode(file, name);
    if (!feature.every(Number.isFinite)) throw new Problem(`${name}: its feature is not finite; load the page again`);
    const ofPhoto = this.#heads?.ofPhoto(feature);
    const found = await this.#describe(feature, ofPhoto, options);
    const captions = found.map((hypothesis) => this.#caption(hypothesis));
    const confidence = this.#heads?.hasConfidence
      ? this.#heads.confidence(ofPhoto, found[0].words, captions[0].log_probability) : null;
    const tags = this.#tagger?.tags(feature) ?? [];
    return { image: name, captions, tags, familiarity: this.#familiar(feature), confidence, error: null };
  }

  /** The feature of a photo: those of all encoders, one after the other. */
  async encode(file, name) {
    const photo = await readPhoto(file, this.#config.encoder.size, name);
    const squares = new Map();
    const features = new Float32Array(this.#config.encoder.feature_size);
    let place = 0;
    for (const [number, { size }] of this.#site.encoders.entries()) {
      if (!squares.has(size)) squares.set(size, new Uint8Array(resize(photo, size, size).rgb));
      const pixels = new this.#ort.Tensor("uint8", squares.get(size), [1, size, size, 3]);
      const { features: { data } } = await this.#encoders[number].run({ pixels });
      features.set(data, place);
      place += data.length;
    }
    return features;
  }

  async #describe(feature, ofPhoto, given) {
    const { decoding } = this.#config;
    const count = given.n_best ?? decoding.n_best;
    const weights = this.#heads ? Object.entries(this.#config.reranking).filter(([, weight]) => weight) : [];
    const beam = Math.max(decoding.beam_size, count);
    const options = { ...decoding, ...given, n_best: weights.length ? beam : count };
    const image = await this.#network.encodeImage(feature);
    let found = await beamSearch(this.#network, image, options, weights.length > 0);
    if (!found.length) throw new Problem("no sentence fits the options; allow longer ones");
    if (!weights.length || beam === 1) return found.slice(0, count);
    found = this.#bestFirst(found, ofPhoto, weights);
    if (this.#network.searchesInInt8) {
      const best = found.slice(0, Math.max(RESCORED, count));
      const exact = await rescore(this.#network, image, best, options.length_penalty);
      found = this.#bestFirst(exact, ofPhoto, weights);
    }
    return found.slice(0, count);
  }

  #bestFirst(hypotheses, ofPhoto, weights) {
    const scored = hypotheses.map((hypothesis) => {
      const terms = this.#heads.terms(ofPhoto, hypothesis.words);
      const score = weights.reduce((sum, [name, weight]) => sum + weight * terms[name], hypothesis.score);
      return { hypothesis, score };
    });
    return scored.sort((one, other) => other.score - one.score).map(({ hypothesis }) => hypothesis);
  }

  #caption({ words, wordLogProbs }) {
    const spelled = words.map((word) => this.#words[word]);
    const total = wordLogProbs.reduce((sum, value) => sum + value, 0);
    return {
      text: joinWords(spelled),
      log_probability: rounded(total, DECIMALS),
      words: spelled.map((word, place) => ({ word, log_probability: rounded(wordLogProbs[place], DECIMALS) })),
    };
  }

  /** 0..1: how like the photos that the model learned from. */
  #familiar(feature) {
    const { data: directions, shape: [count] } = this.#familiarity["familiarity.directions"];
    const departure = minus(powerNormalize(feature), this.#familiarity["familiarity.mean"].data);
    let squares = departure.reduce((sum, value) => sum + value * value, 0);
    const size = departure.length;
    for (let row = 0; row < count; row++) {
      let along = 0;
      for (let place = 0, at = row * size; place < size; place++, at++) along += departure[place] * directions[at];
      squares -= along ** 2;
    }
    const { familiarity_median: median, familiarity_edge: edge } = this.#config;
    const distance = Math.sqrt(Math.max(squares, 0));
    return rounded(sigmoid((edge - distance) / ((edge - median) / 4)), 3);
  }

  #places() {
    const places = {};
    let start = 0;
    for (const { name, feature_size: size } of this.#site.encoders) {
      places[name.split("@")[0]] = [start, start + size];
      start += size;
    }
    return places;
  }
}
