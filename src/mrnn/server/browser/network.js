// The network's graphs, run by ONNX Runtime: image in, step of the search, exact step.

const WEIGHTS = "model.safetensors";
/** Threads that wait for work by spinning take the processor from the others. */
export const NO_SPINNING = { session: { intra_op: { allow_spinning: "0" } } };
export const BOS = 0, EOS = 1, UNK = 2;

export class Network {
  #ort;
  #graphs;
  #sizes;
  #known;
  #tables;

  /** `files` are promises of array buffers by name, `config` the part "model" of config.json. */
  static async open(ort, files, config) {
    const names = ["image", "words", "language", "output", "search"].filter((name) => files[`${name}.onnx`]);
    const options = { executionProviders: ["wasm"], graphOptimizationLevel: "extended", enableMemPattern: false, extra: NO_SPINNING };
    const graphs = {};
    const externalData = [{ path: WEIGHTS, data: new Uint8Array(await files[WEIGHTS]) }];
    for (const name of names) {
      graphs[name] = await ort.InferenceSession.create(await files[`${name}.onnx`], { ...options, externalData });
    }
    return new Network(ort, graphs, config);
  }

  constructor(ort, graphs, config) {
    this.#ort = ort;
    this.#graphs = graphs;
    const word = config.embedding_layers === 1 ? config.embedding_size : config.recurrent_size;
    const parts = config.recurrence === "lstm" ? 2 : 1;
    this.#sizes = {
      word, word_part: config.multimodal_size, image: config.multimodal_size,
      state: parts * config.recurrent_layers * config.recurrent_size, vocabulary: config.vocabulary_size,
    };
    this.#known = new Uint8Array(config.vocabulary_size);
    this.#tables = {
      word: new Float32Array(config.vocabulary_size * word),
      word_part: new Float32Array(config.vocabulary_size * config.multimodal_size),
    };
  }

  get vocabularySize() {
    return this.#sizes.vocabulary;
  }

  get stateSize() {
    return this.#sizes.state;
  }

  get searchesInInt8() {
    return "search" in this.#graphs;
  }

  /** The image's part of the multimodal layer. */
  async encodeImage(feature) {
    if (!this.#graphs.image) return new Float32Array(this.#sizes.image);
    const { image } = await this.#graphs.image.run({ features: this.#rows(feature, 1) });
    return image.data;
  }

  /** Exact log-probabilities of the word after each of `words`, and the new states. */
  step(words, state, image) {
    return this.#step("output", words, state, image);
  }

  /** As `step`, with an int8 output layer where the model has one. */
  searchStep(words, state, image) {
    return this.#step(this.searchesInInt8 ? "search" : "output", words, state, image);
  }

  async #step(graph, words, state, image) {
    const count = words.length;
    const looked = await this.#lookUp(words);
    const { language, next_state: next } = await this.#graphs.language.run({ ...looked, state: this.#rows(state, count) });
    const images = new Float32Array(count * image.length);
    for (let row = 0; row < count; row++) images.set(image, row * image.length);
    const { log_probabilities: found } = await this.#graphs[graph].run({ language, image: this.#rows(images, count) });
    return { logProbs: found.data, state: next.data };
  }

  /** What `words.onnx` says of words, each asked for once. */
  async #lookUp(words) {
    const fresh = [...new Set(words)].filter((word) => !this.#known[word]).sort((one, other) => one - other);
    if (fresh.length) {
      const ids = new this.#ort.Tensor("int64", BigInt64Array.from(fresh, BigInt), [fresh.length]);
      const found = await this.#graphs.words.run({ words: ids });
      for (const [name, table] of Object.entries(this.#tables)) {
        const size = this.#sizes[name];
        fresh.forEach((word, row) => table.set(found[name].data.subarray(row * size, (row + 1) * size), word * size));
      }
      for (const word of fresh) this.#known[word] = 1;
    }
    const looked = {};
    for (const [name, table] of Object.entries(this.#tables)) {
      const size = this.#sizes[name];
      const rows = new Float32Array(words.length * size);
      words.forEach((word, row) => rows.set(table.subarray(word * size, (word + 1) * size), row * size));
      looked[name] = this.#rows(rows, words.length);
    }
    return looked;
  }

  #rows(data, count) {
    return new this.#ort.Tensor("float32", data, [count, data.length / count]);
  }
}
