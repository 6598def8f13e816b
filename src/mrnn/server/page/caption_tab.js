// The tab that captions: photos come in, wait their turn, and are shown as cards.
import * as backend from "./backend.js";
import { byId, moveFocus, save } from "./dom.js";
import { fileOf } from "./exports.js";
import { PhotoCard } from "./photo_card.js";
import { openStore } from "./photo_store.js";
import { chosen, dropped, fromClipboard } from "./picking.js";
import { thumbnailOf } from "./thumbnails.js";

const HYPOTHESES = 5;
const BUSY = 503;
const SOON = 30; // milliseconds

export class CaptionTab {
  #cards = new Map();
  #running = new Map();
  #waiting = [];
  #finished = [];
  #batch = { total: 0, done: 0 };
  #store = null;
  #due = null;
  #order = 0;

  constructor(model) {
    this.model = model;
    this.limits = { guess: model.guess, unfamiliar: model.unfamiliar };
    byId("privacy").textContent = backend.privacy();
    this.#listenForPhotos();
    this.#listenForButtons();
    this.#placeholders();
  }

  /** Shows what was kept from before. */
  async restore() {
    this.#store = await openStore();
    if (!this.#store) return;
    for (const kept of await this.#store.all()) {
      this.#order = Math.max(this.#order, kept.order + 1);
      this.#show({ ...kept, file: null });
    }
    this.#draw();
  }

  /** Takes photos, each {name, file}. */
  add(photos) {
    if (!photos.length) return;
    const options = this.#options();
    if (!this.#waiting.length && !this.#running.size) this.#batch = { total: 0, done: 0 };
    for (const { name, file } of photos) {
      const photo = {
        id: crypto.randomUUID(), order: this.#order++, name, file, options,
        thumb: null, result: null, text: "", good: false, state: "waiting", problem: "",
      };
      const card = this.#show(photo);
      this.#draws(card, file);
      this.#waiting.push(photo);
      this.#batch.total++;
    }
    this.#draw();
    this.#work();
  }

  async #draws(card, file) {
    card.photo.thumb = await thumbnailOf(file);
    card.picture();
    if (card.photo.result) this.#keep(card.photo);
  }

  #show(photo) {
    const card = new PhotoCard(photo, {
      limits: this.limits,
      changed: (changed) => { this.#keep(changed); this.#filter(); },
      removed: (removed) => this.#remove(removed),
      again: (failed) => this.#again(failed),
    });
    this.#cards.set(photo.id, card);
    byId("cards").append(card.element);
    return card;
  }

  #work() {
    while (this.#running.size < backend.concurrency && this.#waiting.length) {
      this.#caption(this.#waiting.shift());
    }
    this.#draw();
  }

  async #caption(photo) {
    const abort = new AbortController();
    this.#running.set(photo.id, abort);
    this.#set(photo, { state: "running" });
    const how = { name: photo.name, options: photo.options, signal: abort.signal };
    try {
      const result = await backend.caption(photo.file, how);
      this.#set(photo, { result, text: result.captions[0].text, state: "done" });
      this.#count(photo);
    } catch (error) {
      if (error.name === "AbortError") this.#set(photo, { state: "stopped" });
      else if (error.status === BUSY) await this.#wait(photo, error.retryAfter, abort.signal);
      else {
        const result = { image: photo.name, captions: [], tags: [], familiarity: null, confidence: null, error: error.message };
        this.#set(photo, { result, state: "failed", problem: error.message });
        this.#count(photo);
      }
    }
    this.#running.delete(photo.id);
    this.#work();
  }

  /** The server is full: later again. */
  async #wait(photo, seconds, signal) {
    this.#set(photo, { state: "waiting" });
    await new Promise((resolve) => {
      setTimeout(resolve, 1000 * Math.min(Math.max(seconds, 1), 30));
      signal.addEventListener("abort", resolve);
    });
    if (signal.aborted) this.#set(photo, { state: "stopped" });
    else this.#waiting.unshift(photo);
  }

  #count(photo) {
    this.#batch.done++;
    this.#finished.push(performance.now());
    this.#keep(photo);
  }

  #set(photo, values) {
    Object.assign(photo, values);
    this.#cards.get(photo.id)?.draw();
  }

  /** What the browser keeps: all but the photo itself. */
  #keep({ file: _, ...kept }) {
    if (kept.result) this.#store?.put(kept).catch(() => this.#tell("The browser's storage is full: save your captions before you leave."));
  }

  #again(photo) {
    this.#set(photo, { state: "waiting", problem: "" });
    this.#batch.total++;
    this.#waiting.push(photo);
    this.#work();
  }

  #remove(photo) {
    const card = this.#cards.get(photo.id);
    const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
    const focused = card.element.contains(document.activeElement);
    this.#running.get(photo.id)?.abort();
    this.#waiting = this.#waiting.filter((each) => each !== photo);
    card.close();
    this.#cards.delete(photo.id);
    this.#store?.remove(photo.id);
    this.#draw();
    if (focused) (next ?? byId("choose")).focus();
  }

  #stop() {
    for (const photo of this.#waiting) this.#set(photo, { state: "stopped" });
    this.#waiting = [];
    for (const abort of this.#running.values()) abort.abort();
    this.#draw();
  }

  #goOn() {
    const stopped = this.#photos().filter(({ state }) => state === "stopped");
    this.#finished = [];
    this.#batch = { total: stopped.length, done: 0 };
    for (const photo of stopped) this.#set(photo, { state: "waiting" });
    this.#waiting.push(...stopped);
    this.#work();
  }

  #photos() {
    return [...this.#cards.values()].map(({ photo }) => photo);
  }

  /** Soon, and once for all that changes until then. */
  #draw() {
    this.#due ??= setTimeout(() => {
      this.#due = null;
      this.#drawNow();
    }, SOON);
  }

  #drawNow() {
    const photos = this.#photos();
    const left = this.#waiting.length + this.#running.size;
    const stopped = photos.filter(({ state }) => state === "stopped").length;
    const { total, done } = this.#batch;
    byId("drop").classList.toggle("small", photos.length > 0);
    byId("bar").hidden = byId("keys").hidden = !photos.length;
    byId("progress").hidden = !left;
    byId("progress").max = Math.max(total, 1);
    byId("progress").value = done;
    byId("stop").hidden = !left;
    byId("go-on").hidden = Boolean(left) || !stopped;
    byId("progress-text").textContent = left ? `${done} of ${total}${this.#timeLeft(left)}` : this.#summary(photos, stopped);
    this.#filter();
  }

  #summary(photos, stopped) {
    const failed = photos.filter(({ state }) => state === "failed").length;
    const parts = [`${photos.length} ${photos.length === 1 ? "photo" : "photos"}`];
    if (failed) parts.push(`${failed} failed`);
    if (stopped) parts.push(`${stopped} stopped`);
    return parts.join(", ");
  }

  /** By the pace of the last photos. */
  #timeLeft(left) {
    const last = this.#finished.slice(-20);
    if (last.length < 3) return "";
    const seconds = (left * (last.at(-1) - last[0])) / (last.length - 1) / 1000;
    if (seconds < 1) return "";
    return seconds < 90 ? ` · about ${Math.ceil(seconds)} s left` : ` · about ${Math.round(seconds / 60)} min left`;
  }

  #filter() {
    const kept = {
      all: () => true, open: ({ photo }) => !photo.good, good: ({ photo }) => photo.good,
      guess: (card) => card.isGuess, failed: ({ photo }) => photo.state === "failed",
    }[byId("filter").value];
    for (const card of this.#cards.values()) card.element.hidden = !kept(card);
    const shown = this.#shown();
    if (shown.length && !shown.some((element) => element.tabIndex === 0)) shown[0].tabIndex = 0;
  }

  #shown() {
    return [...byId("cards").children].filter((element) => !element.hidden);
  }

  #save(format) {
    const only = byId("only-good").checked;
    const photos = this.#photos().filter(({ result, good }) => result && (good || !only));
    byId("save").open = false;
    if (!photos.length) this.#tell(only ? "No photo is marked good yet." : "No photo has a caption yet.");
    else save(...fileOf(format, photos));
  }

  #tell(line) {
    byId("caption-notice").textContent = line;
    byId("caption-notice").hidden = false;
    setTimeout(() => (byId("caption-notice").hidden = true), 8000);
  }

  /** The options that were given; hypotheses only as many as leave the best one as it is. */
  #options() {
    const { beam_size: beam } = this.model.decoding;
    const options = { n_best: Math.min(HYPOTHESES, beam) };
    for (const [name, value] of new FormData(byId("options-form"))) {
      const given = value.trim();
      const words = name === "force_words" || name === "bad_words";
      if (given) options[name] = words ? given.split(/[\s,]+/).filter(Boolean) : given;
    }
    return options;
  }

  #placeholders() {
    const form = byId("options-form");
    form.n_best.placeholder = Math.min(HYPOTHESES, this.model.decoding.beam_size);
    form.max_length.placeholder = this.model.decoding.max_length;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => {
      const given = [...new FormData(form).values()].filter((value) => value.trim()).length;
      byId("options-set").textContent = given ? `(${given} set)` : "";
    });
  }

  #listenForPhotos() {
    byId("choose").addEventListener("click", () => byId("files").click());
    byId("choose-folder").addEventListener("click", () => byId("folder").click());
    for (const id of ["files", "folder"]) {
      byId(id).addEventListener("change", (event) => this.add(chosen(event.target)));
    }
    const here = () => !byId("tab-caption").hidden;
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      byId("drop").classList.toggle("over", here());
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) byId("drop").classList.remove("over");
    });
    document.addEventListener("drop", async (event) => {
      event.preventDefault();
      byId("drop").classList.remove("over");
      if (here()) this.add(await dropped(event.dataTransfer));
    });
    document.addEventListener("paste", (event) => {
      const photos = here() ? fromClipboard(event.clipboardData) : [];
      if (photos.length) event.preventDefault();
      this.add(photos);
    });
  }

  #listenForButtons() {
    byId("stop").addEventListener("click", () => this.#stop());
    byId("go-on").addEventListener("click", () => this.#goOn());
    byId("filter").addEventListener("change", () => this.#filter());
    byId("clear").addEventListener("click", () => {
      if (!confirm("Remove all photos and their captions from this page?")) return;
      this.#stop();
      for (const card of this.#cards.values()) card.close();
      this.#cards.clear();
      this.#store?.clear();
      this.#draw();
    });
    for (const button of document.querySelectorAll("[data-format]")) {
      button.addEventListener("click", () => this.#save(button.dataset.format));
    }
    byId("save").addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      byId("save").open = false;
      byId("save").querySelector("summary").focus();
    });
    document.addEventListener("click", (event) => {
      if (!byId("save").contains(event.target)) byId("save").open = false;
    });
    byId("cards").addEventListener("keydown", (event) => moveFocus(event, this.#shown()));
    byId("cards").addEventListener("focusin", (event) => {
      if (!event.target.classList.contains("card")) return;
      for (const element of byId("cards").children) element.tabIndex = element === event.target ? 0 : -1;
    });
    addEventListener("beforeunload", (event) => {
      if (this.#waiting.length || this.#running.size) event.preventDefault();
    });
  }
}
