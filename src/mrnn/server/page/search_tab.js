// The tab that finds photos of an index: by a sentence, by a photo, or like one that was found.
import * as backend from "./backend.js";
import { byId, el, look, moveFocus } from "./dom.js";
import { dropped, fromClipboard } from "./picking.js";

const THUMBNAIL = 480;
const LARGE = 1600;

export class SearchTab {
  #asked = null;
  #photo = null;
  #captions = new Map();

  constructor(model) {
    this.index = model.index;
    if (!this.index) {
      byId("search-body").replaceChildren(noIndex());
      return;
    }
    this.#build();
    this.#listen();
  }

  /** The address after #search? says what is asked for, so that back and reload work. */
  shown(query) {
    if (!this.index) return;
    this.input.value = query.get("q") ?? "";
    this.top.value = query.get("top") ?? "20";
    if (this.paths) this.paths.value = query.get("paths") ?? "";
    const like = query.get("like");
    if (like || this.input.value.trim()) this.#run({ q: like ? undefined : this.input.value, like });
    else if (!this.#photo) this.#clear();
    if (!like) this.input.focus({ preventScroll: true });
  }

  #build() {
    const photos = this.index.holds === "photos";
    this.input = el("input", {
      type: "search", name: "q", placeholder: photos ? "a dog runs through the snow" : "Drop a photo to find sentences",
      autocomplete: "off", "aria-label": "What to find",
    });
    this.file = el("input", { type: "file", accept: "image/*,.heic,.heif", hidden: true });
    this.top = el("select", { name: "top" }, [10, 20, 50, 100].map((count) => el("option", { value: String(count) }, String(count))));
    this.paths = photos ? el("input", { type: "text", name: "paths", placeholder: "*/2024/*" }) : null;
    this.form = el("form", { role: "search", className: "stack" },
      el("div", { className: "search-form" }, this.input,
        el("button", { className: "primary", type: "submit" }, "Search"),
        el("button", { type: "button", onclick: () => this.file.click() }, "By a photo"), this.file));
    const count = `${this.index.size.toLocaleString("en")} ${this.index.holds}`;
    const more = el("div", { className: "search-more" },
      el("label", { className: "inline" }, "Finds", this.top),
      this.paths && el("label", { className: "inline" }, "Paths like", this.paths),
      el("span", { className: "quiet" }, `${count} in the index. Drop or paste a photo to find what is like it.`));
    this.form.append(more);
    this.asked = el("div", { className: "row" });
    this.status = el("p", { className: "quiet", role: "status" });
    this.problem = el("p", { className: "notice", role: "alert", hidden: true });
    this.finds = el("ul", { className: "finds", "aria-label": "Finds" });
    const body = byId("search-body");
    body.replaceChildren(this.form, this.problem, this.asked, this.status, this.finds);
    this.watcher = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) if (isIntersecting) this.#captionOf(target);
    }, { rootMargin: "200px" });
  }

  #listen() {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#photo = null;
      this.#go({ q: this.input.value.trim() });
    });
    this.top.addEventListener("change", () => this.#repeat());
    this.file.addEventListener("change", () => {
      if (this.file.files[0]) this.#byPhoto(this.file.files[0]);
      this.file.value = "";
    });
    const here = () => !byId("tab-search").hidden;
    document.addEventListener("drop", async (event) => {
      const [first] = here() ? await dropped(event.dataTransfer) : [];
      if (first) this.#byPhoto(first.file);
    });
    document.addEventListener("paste", (event) => {
      const [first] = here() ? fromClipboard(event.clipboardData) : [];
      if (first) this.#byPhoto(first.file);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || !here() || event.target.matches("input, textarea, select")) return;
      event.preventDefault();
      this.input.select();
    });
    this.finds.addEventListener("keydown", (event) => {
      if (moveFocus(event, [...this.finds.querySelectorAll(".photo")])) return;
      const find = event.target.closest(".find");
      if (event.key === "m" && find?.dataset.id) this.#go({ like: find.dataset.id });
    });
  }

  /** Asks by the address, which the browser remembers. */
  #go(asked) {
    const query = new URLSearchParams();
    if (asked.q) query.set("q", asked.q);
    if (asked.like) query.set("like", asked.like);
    if (this.top.value !== "20") query.set("top", this.top.value);
    if (this.paths?.value.trim()) query.set("paths", this.paths.value.trim());
    const hash = `#search${query.size ? `?${query}` : ""}`;
    if (location.hash === hash) this.shown(query);
    else location.hash = hash;
  }

  #repeat() {
    if (this.#photo) this.#byPhoto(this.#photo);
    else if (this.#asked) this.#go(this.#asked);
  }

  #byPhoto(file) {
    this.#photo = file;
    this.input.value = "";
    history.replaceState(null, "", "#search");
    this.#run({ photo: file });
  }

  async #run({ q, like, photo }) {
    this.abort?.abort();
    this.abort = new AbortController();
    const { signal } = this.abort;
    if (!photo) this.#photo = null;
    this.#asked = { q, like: like ?? undefined };
    this.problem.hidden = true;
    this.status.textContent = "Searching";
    this.#showAsked({ like, photo });
    try {
      const asked = { q: q?.trim(), like: like ?? undefined, photo, top: this.top.value, paths: this.paths?.value.trim(), signal };
      const { results, notes } = await backend.search(asked);
      this.#draw(results, notes);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#clear();
      this.problem.textContent = error.message;
      this.problem.hidden = false;
    }
  }

  #showAsked({ like, photo }) {
    const source = photo ? URL.createObjectURL(photo) : like ? backend.thumbnailUrl(like, THUMBNAIL) : "";
    const image = source && el("img", { className: "asked-photo", src: source, alt: "The photo that was asked for" });
    this.asked.replaceChildren(...(image ? [image, el("p", {}, this.index.holds === "photos" ? "Photos like this one" : "Sentences for this photo")] : []));
  }

  #clear() {
    this.finds.replaceChildren();
    this.asked.replaceChildren();
    this.status.textContent = "";
  }

  #draw(results, notes) {
    const count = `${results.length} ${results.length === 1 ? "find" : "finds"}, best first.`;
    this.status.textContent = [count, ...notes].join(" ");
    this.watcher.disconnect();
    this.finds.replaceChildren(...results.map((find) => this.#find(find)));
  }

  #find({ id, path, sentence, score, rank }) {
    const points = el("span", { className: "trust", title: "Compares the finds of one search" }, score.toFixed(2));
    if (!id) return el("li", { className: "find sentence" }, sentence, " ", points);
    const name = path.split(/[\\/]/).pop();
    const image = el("img", { src: backend.thumbnailUrl(id, THUMBNAIL), alt: name, loading: "lazy", decoding: "async" });
    const caption = el("p", { className: "caption", "data-id": id });
    image.addEventListener("error", () => {
      image.alt = caption.textContent = `${name} cannot be shown any more`;
    });
    const frame = el("button", { className: "photo", type: "button", onclick: () => look(backend.thumbnailUrl(id, LARGE), `${caption.textContent || name} (${path})`) }, image);
    const like = el("button", { type: "button", "aria-description": name, onclick: () => this.#go({ like: id }) }, "More like this");
    const item = el("li", { className: "find", "data-id": id, "data-rank": rank }, frame,
      el("div", { className: "card-body" }, el("p", { className: "card-name" }, el("span", { title: path }, name), points), caption,
        el("div", { className: "actions" }, like)));
    this.watcher.observe(item);
    return item;
  }

  /** Captions come when a find is in sight. */
  async #captionOf(item) {
    this.watcher.unobserve(item);
    const { id } = item.dataset;
    if (!this.#captions.has(id)) this.#captions.set(id, backend.captionOf(id).catch(() => null));
    const result = await this.#captions.get(id);
    const text = result?.captions[0]?.text;
    if (!text) return this.#captions.delete(id);
    item.querySelector(".caption").textContent = text;
    item.querySelector("img").alt = text;
  }
}

function noIndex() {
  return el("div", { className: "empty" },
    el("p", { className: "drop-title" }, "There is no index to search"),
    el("p", {}, "Index your photos once, then start the server with the index:"),
    el("pre", {}, "mrnn index photos/ --out photos.index\nmrnn serve --index photos.index"));
}
