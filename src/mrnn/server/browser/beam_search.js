// Beam search with length normalisation, for one photo, and exact scores of what it finds.
import { BOS, EOS, UNK } from "./network.js";

/**
 * The hypotheses that a beam search finds, best first: {words, wordLogProbs, score}.
 * @param {Object} options of config.json: beam_size, n_best, max_length, min_length, length_penalty, no_repeat_ngram
 */
export async function beamSearch(network, image, options, inInt8) {
  const width = Math.max(options.beam_size, options.n_best);
  const finished = [];
  let unfinished = [{ words: [], wordLogProbs: [], total: 0 }];
  let state = new Float32Array(network.stateSize);
  for (let step = 0; step <= options.max_length && unfinished.length && finished.length < width; step++) {
    const last = unfinished.map(({ words }) => words.at(-1) ?? BOS);
    const found = await (inInt8 ? network.searchStep(last, state, image) : network.step(last, state, image));
    forbid(found.logProbs, network.vocabularySize, unfinished, options);
    const { going, ended } = choose(found.logProbs, network.vocabularySize, unfinished, width);
    for (const { row, logProb } of ended) {
      const { words, wordLogProbs } = unfinished[row];
      finished.push(finish(words, [...wordLogProbs, logProb], options.length_penalty));
    }
    const size = network.stateSize;
    state = new Float32Array(going.length * size);
    going.forEach(({ row }, place) => state.set(found.state.subarray(row * size, (row + 1) * size), place * size));
    unfinished = going.map(({ row, word, logProb, score }) => ({
      words: [...unfinished[row].words, word], wordLogProbs: [...unfinished[row].wordLogProbs, logProb], total: score,
    }));
  }
  return finished.sort((one, other) => other.score - one.score).slice(0, options.n_best);
}

function finish(words, wordLogProbs, lengthPenalty) {
  const total = wordLogProbs.reduce((sum, value) => sum + value, 0);
  return { words, wordLogProbs, score: total / wordLogProbs.length ** lengthPenalty };
}

/** Sets what may not come next to minus infinity, in place. */
function forbid(logProbs, size, unfinished, options) {
  const { min_length: least, max_length: most, no_repeat_ngram: ngram } = options;
  unfinished.forEach(({ words }, row) => {
    const own = logProbs.subarray(row * size, (row + 1) * size);
    own[BOS] = own[UNK] = -Infinity;
    if (words.length < least) own[EOS] = -Infinity;
    if (ngram) for (const word of repeats(words, ngram)) own[word] = -Infinity;
    if (words.length === most) {
      const end = own[EOS];
      own.fill(-Infinity);
      own[EOS] = end;
    }
  });
}

/** Words after which an n-gram would stand twice. */
function* repeats(words, ngram) {
  const begun = words.slice(words.length - (ngram - 1));
  for (let start = 0; start + ngram <= words.length; start++) {
    if (begun.every((word, place) => word === words[start + place])) yield words[start + ngram - 1];
  }
}

/** The `width` best that go on, and those that end among the `width` best of all. */
function choose(logProbs, size, unfinished, width) {
  const best = bestCandidates(logProbs, size, unfinished, 2 * width);
  return {
    going: best.filter(({ word }) => word !== EOS).slice(0, width),
    ended: best.filter(({ word }, place) => word === EOS && place < width),
  };
}

/** The `count` best; of equals, the one of the lower row, then the lower word, is before the other. */
function bestCandidates(logProbs, size, unfinished, count) {
  const most = 8 * count + 64;
  let found = [];
  let least = -Infinity;
  const cut = () => {
    found.sort((one, other) => other.score - one.score); // stable
    if (found.length >= count) {
      found.length = count;
      least = found[count - 1].score;
    }
  };
  for (let row = 0, at = 0; row < unfinished.length; row++) {
    const { total } = unfinished[row];
    for (let word = 0; word < size; word++, at++) {
      const score = Math.fround(logProbs[at] + total);
      if (score > least) {
        found.push({ row, word, score, logProb: logProbs[at] });
        if (found.length >= most) cut();
      }
    }
  }
  cut();
  return found;
}

/** The same hypotheses in the same order, with exact scores; words go through the network once a prefix. */
export async function rescore(network, image, hypotheses, lengthPenalty) {
  const exact = hypotheses.map(() => []);
  let nodes = [{ word: BOS, rows: hypotheses.map((_, row) => row) }];
  let state = new Float32Array(network.stateSize);
  for (let step = 0; nodes.length; step++) {
    const found = await network.step(nodes.map(({ word }) => word), state, image);
    const next = [];
    nodes.forEach(({ rows }, node) => {
      const byWord = new Map();
      for (const row of rows) {
        const word = hypotheses[row].words[step];
        exact[row].push(found.logProbs[node * network.vocabularySize + (word ?? EOS)]);
        if (word === undefined) continue;
        if (!byWord.has(word)) byWord.set(word, { word, rows: [], parent: node });
        byWord.get(word).rows.push(row);
      }
      next.push(...byWord.values());
    });
    const size = network.stateSize;
    state = new Float32Array(next.length * size);
    next.forEach(({ parent }, place) => state.set(found.state.subarray(parent * size, (parent + 1) * size), place * size));
    nodes = next;
  }
  return hypotheses.map(({ words }, row) => finish(words, exact[row], lengthPenalty));
}
