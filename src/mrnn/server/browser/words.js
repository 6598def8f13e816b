// Words as readable text, as mrnn.tokenizer.join_words.

const BRACKETS = { "-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}" };
const JOIN = new RegExp(
  " (?=(?:'(?:[smd]|re|ve|ll)|n't)(?: |$))|(?<=\\by') (?=all|know)|(?<=\\bcan) (?=not(?: |$))" +
  "|(?<=\\b(?:gon|wan)) (?=na(?: |$))|(?<=\\bgot) (?=ta(?: |$))|(?<=\\b(?:lem|gim)) (?=me(?: |$))" +
  "|(?<=[(\\[{]) | (?=[)\\]}])", "g");
const UNSPACED =
  "[\\u3005-\\u3007\\u3041-\\u309f\\u30a1-\\u30fa\\u30fc-\\u30ff\\u31f0-\\u31ff\\u3400-\\u4dbf" +
  "\\u4e00-\\u9fff\\uf900-\\ufaff\\uff66-\\uff9f\\u{20000}-\\u{3ffff}\\u{e0100}-\\u{e01ef}" +
  "\\u0e01-\\u0e4e\\u0e81-\\u0ece\\u0edc-\\u0edf\\u1000-\\u103f\\u1050-\\u108f\\u1780-\\u17d3\\u17d7\\u17dc]";
const JOIN_UNSPACED = new RegExp(`(?<=${UNSPACED}) (?=${UNSPACED})`, "gu");

export function joinWords(words) {
  return words.map((word) => BRACKETS[word] ?? word).join(" ").replace(JOIN_UNSPACED, "").replace(JOIN, "");
}
