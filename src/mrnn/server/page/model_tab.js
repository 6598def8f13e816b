// The tab about the model: facts and its card.
import { docs } from "./backend.js";
import { byId, el } from "./dom.js";
import { markdown } from "./markdown.js";

export class ModelTab {
  constructor(model) {
    const { encoder } = model;
    const facts = {
      Model: model.name,
      Vocabulary: `${model.vocabulary_size.toLocaleString("en")} words`,
      "Image encoder": encoder.name.replaceAll("+", " + ").replaceAll("@", " at "),
      Feature: `${encoder.feature_size.toLocaleString("en")} numbers`,
      Search: model.decoding.temperature ? "sampling" : `beam of ${model.decoding.beam_size}`,
      Index: model.index ? `${model.index.size.toLocaleString("en")} ${model.index.holds}` : "none",
      Fingerprint: model.fingerprint,
      "Version of mrnn": model.version,
    };
    const list = Object.entries(facts).map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, value)));
    const card = model.card
      ? el("article", { className: "prose" }, markdown(model.card))
      : el("p", { className: "quiet" }, "This model has no card.");
    const more = docs && el("p", {}, el("a", { href: docs }, "The HTTP API"));
    const aside = el("div", { className: "aside" }, el("dl", { className: "facts" }, list), more);
    byId("model-body").replaceChildren(aside, card);
  }
}
