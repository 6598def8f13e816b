// A photo on the page: its caption to edit, other hypotheses, tags, and how far to trust it.
import { el, look } from "./dom.js";
import { tagText } from "./exports.js";

const percent = (value) => `${Math.round(100 * value)} %`;

/** Shows one photo: {id, name, file, thumb, result, text, good, state, problem}. */
export class PhotoCard {
  #changed;
  #removed;
  #again;
  #limits;
  #address = "";
  #editing = false;

  /** `limits` has the confidence below which a caption is a guess, and the same of familiarity. */
  constructor(photo, { limits, changed, removed, again }) {
    this.photo = photo;
    this.#limits = limits;
    this.#changed = changed;
    this.#removed = removed;
    this.#again = again;
    this.image = el("img", { alt: photo.name, loading: "lazy", decoding: "async" });
    this.frame = el("button", { className: "photo", type: "button", tabIndex: -1, onclick: () => this.look() }, this.image);
    this.body = el("div", { className: "card-body" });
    this.element = el("li", { className: "card", tabIndex: -1, "data-id": photo.id }, this.frame, this.body);
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.draw();
  }

  get isGuess() {
    const { result } = this.photo;
    if (!result || result.error) return false;
    if (result.confidence !== null) return result.confidence < this.#limits.guess;
    return result.familiarity !== null && result.familiarity < this.#limits.unfamiliar;
  }

  /** The thumbnail, once it is there. */
  picture() {
    if (!this.photo.thumb || this.#address) return;
    this.#address = URL.createObjectURL(this.photo.thumb);
    this.image.src = this.#address;
  }

  look() {
    const { file, text, name } = this.photo;
    if (!this.#address) return;
    const shown = file && /^image\/(jpeg|png|webp|gif|avif)$/.test(file.type) ? URL.createObjectURL(file) : this.#address;
    look(shown, text || name);
  }

  /** Shows the photo as it is now. */
  draw() {
    const { photo } = this;
    this.picture();
    this.image.alt = photo.text || photo.name;
    this.element.classList.toggle("good", photo.good);
    this.element.classList.toggle("blank", photo.state === "failed" && !photo.thumb);
    this.element.setAttribute("aria-label", photo.text ? `${photo.name}: ${photo.text}` : photo.name);
    this.frame.querySelector(".mark")?.remove();
    if (photo.good) this.frame.append(el("span", { className: "mark", "aria-hidden": "true" }, "✓"));
    const wasOpen = this.body.querySelector("details")?.open ?? false;
    this.body.replaceChildren(this.#head(), ...this.#content(wasOpen));
  }

  edit() {
    if (this.photo.state !== "done" || this.#editing) return;
    this.#editing = true;
    this.draw();
    const area = this.body.querySelector("textarea");
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }

  toggleGood() {
    if (this.photo.state === "done") this.#change({ good: !this.photo.good });
  }

  async copy() {
    const button = this.body.querySelector("[data-copy]");
    try {
      await navigator.clipboard.writeText(this.photo.text);
      if (button) button.textContent = "Copied";
    } catch {
      if (button) button.textContent = "Not allowed";
    }
    setTimeout(() => button && (button.textContent = "Copy"), 1500);
  }

  #head() {
    const { name, result } = this.photo;
    const trust = el("span", { className: "trust" });
    if (result && !result.error && (result.confidence !== null || this.isGuess)) {
      const value = result.confidence === null ? "" : ` ${percent(result.confidence)}`;
      trust.textContent = this.isGuess ? `a guess${value && `:${value}`}` : `${value} sure`.trim();
      trust.title = "How likely people would call the caption right";
      trust.classList.add(this.isGuess ? "guess" : "sure");
    }
    const short = name.split("/").pop();
    return el("p", { className: "card-name" }, el("span", { title: name }, short), trust);
  }

  #content(open) {
    const { photo } = this;
    if (photo.state === "waiting") return [el("p", { className: "quiet" }, "Waiting")];
    if (photo.state === "running") return [el("p", { className: "waiting" }, "Captioning")];
    if (photo.state === "stopped") return [el("p", { className: "quiet" }, "Stopped"), this.#actions(["remove"])];
    if (photo.state === "failed") {
      const buttons = photo.file ? ["again", "remove"] : ["remove"];
      return [el("p", { className: "failed" }, photo.problem), this.#actions(buttons)];
    }
    const first = photo.result.captions[0].text;
    const buttons = this.#editing ? ["done", "undo"] : ["good", "edit", "copy", "remove"];
    return [
      this.#editing ? this.#area() : el("p", { className: "caption" }, ...shaded(photo)),
      photo.text === first || this.#editing ? null : el("p", { className: "edited" }, `The model's words: ${first}`),
      this.#actions(buttons),
      this.#more(open),
    ].filter(Boolean);
  }

  #area() {
    return el("textarea", {
      value: this.photo.text, rows: 3, "aria-label": `Caption of ${this.photo.name}`,
      oninput: (event) => this.#changed(Object.assign(this.photo, { text: event.target.value })),
      onkeydown: (event) => {
        event.stopPropagation();
        if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) {
          event.preventDefault();
          this.#finish();
        }
      },
    });
  }

  #finish() {
    this.#editing = false;
    this.photo.text = this.photo.text.trim();
    this.#change({});
    this.element.focus();
  }

  #actions(names) {
    const all = {
      good: () => el("button", { type: "button", "aria-pressed": String(this.photo.good), onclick: () => this.toggleGood() }, "✓ Good"),
      edit: () => el("button", { type: "button", onclick: () => this.edit() }, "Edit"),
      copy: () => el("button", { type: "button", "data-copy": "", onclick: () => this.copy() }, "Copy"),
      remove: () => el("button", { type: "button", onclick: () => this.#removed(this.photo) }, "Remove"),
      again: () => el("button", { type: "button", onclick: () => this.#again(this.photo) }, "Try again"),
      done: () => el("button", { type: "button", className: "primary", onclick: () => this.#finish() }, "Done"),
      undo: () => el("button", { type: "button", onclick: () => this.#use(this.photo.result.captions[0].text) }, "The model's words"),
    };
    const buttons = names.map((name) => all[name]());
    for (const button of buttons) button.setAttribute("aria-description", this.photo.name);
    return el("div", { className: "actions" }, buttons);
  }

  #more(open) {
    const { captions, tags, confidence, familiarity } = this.photo.result;
    const others = captions.filter((caption) => caption.text !== this.photo.text);
    const parts = [];
    if (others.length) {
      const items = others.map(({ text }) =>
        el("li", {}, el("button", { type: "button", title: "Use this caption", onclick: () => this.#use(text) }, text)));
      parts.push(el("h2", {}, "Other captions"), el("ul", { className: "others" }, items));
    }
    if (tags.length) {
      const items = tags.map((tag) => el("li", { title: percent(tag.probability) }, tagText(tag)));
      parts.push(el("h2", {}, "Tags"), el("ul", { className: "tags" }, items));
    }
    if (confidence !== null) parts.push(meter("Confidence", confidence, "How likely people would call the caption right"));
    if (familiarity !== null) parts.push(meter("Familiarity", familiarity, "How like the photos that the model learned from"));
    parts.push(el("p", { className: "quiet" }, "Shaded words are those that the model was unsure of."));
    return el("details", { open }, el("summary", {}, "More"), el("div", { className: "more" }, parts));
  }

  #use(text) {
    this.#editing = false;
    this.#change({ text });
  }

  #change(values) {
    Object.assign(this.photo, values);
    this.draw();
    this.#changed(this.photo);
  }

  #key(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const actions = {
      e: () => this.edit(), g: () => this.toggleGood(), c: () => this.copy(),
      Enter: () => this.look(), Delete: () => this.#removed(this.photo),
    };
    const action = actions[event.key] ?? actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** Forgets its thumbnail. */
  close() {
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.element.remove();
  }
}

/** The caption with its words shaded by 1 - P; plain where the text is nobody's but the user's. */
export function shaded({ text, result }) {
  const caption = result.captions.find((each) => each.text === text);
  if (!caption) return [text];
  const parts = [];
  let place = 0;
  for (const { word, log_probability: logP } of caption.words) {
    const found = text.toLowerCase().indexOf(word.toLowerCase(), place);
    if (found < 0) return [text];
    const probability = Math.exp(logP);
    const part = el("span", { className: "word", title: percent(probability) }, text.slice(found, found + word.length));
    part.style.setProperty("--unsure", Math.round(45 * (1 - probability) ** 3));
    parts.push(text.slice(place, found), part);
    place = found + word.length;
  }
  return [...parts, text.slice(place)].filter((part) => part !== "");
}

function meter(label, value, title) {
  const bar = el("progress", { max: 1, value, "aria-label": label });
  return el("div", { className: "meter", title }, el("span", {}, label), bar, el("span", {}, percent(value)));
}
