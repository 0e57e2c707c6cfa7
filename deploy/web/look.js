// The tab that transfers a style: two pictures, the service, the result; kept as photos are.

import { Comparison } from "./comparison.js";
import { Gestures } from "./gestures.js";
import { Job } from "./job.js";
import { Notice } from "./notice.js";
import { encodePhoto, openPhoto, Photo, saveFile, shrinkPhoto, Trouble } from "./photo.js";
import { preview, stylize } from "./service.js";
import { areSure } from "./sure.js";
import { drawPicture, View } from "./view.js";
import { Well } from "./well.js";
import { number, say } from "./words.js";

// By kind of picture: the words that name it.
const KINDS = { content: "photo-is", style: "look-is" };

export class LookTab {
  #root;
  #settings;
  #comparison;
  #view;
  #job;
  #notice;
  #pictures = { content: null, style: null };
  #wells = {};
  #result = null;
  #peeking = false;
  // Of the files that were opened, by kind: an older one may be decoded later.
  #taken = { content: 0, style: 0 };
  #session = null;
  // Whether the result was downloaded.
  #saved = false;
  #kept = { id: "look", record: () => this.#record() };

  constructor(root, settings) {
    this.#root = root;
    this.#settings = settings;
    this.#notice = new Notice(this.#part("notice"));
    this.#job = new Job(this.#part("job"), "transferring");
    this.#comparison = new Comparison(this.#part("divider"), this.#part("sides"));
    this.#view = new View(this.#part("stage"), this.#part("canvas"), {
      draw: (context) => this.#draw(context),
      moved: () => this.#comparison.place(),
    });
    this.#comparison.attach(this.#view);
    new Gestures(this.#view, this);
    this.#listen();
    this.#show();
  }

  /** Bring back the pictures, the result and the strength of an earlier visit. */
  async restore(session) {
    await this.#attempt(async () => {
      const made = await session.restoreState(this.#kept.id, async (record, read) => {
        const photos = {};
        for (const [part, photo] of Object.entries(record.photos)) {
          photos[part] = await Photo.restore(photo, read);
          await photos[part].load();
        }
        return { ...record, photos };
      });
      if (made !== null) this.#bringBack(made);
      this.#session = session;
      this.#notice.informOfKeeping(session);
    });
    window.addEventListener("beforeunload", (event) => {
      if (this.#result !== null && !this.#saved && session.isBehind) event.preventDefault();
    });
    this.#show();
  }

  /** Something could not be kept. */
  notKept(error) {
    this.#notice.showUnkept(error);
  }

  /** Take files for the photo, and for the look when there is a photo already. */
  async takeAll(files) {
    for (const [file, name] of files.slice(0, 2)) {
      await this.#take(this.#pictures.content ? "style" : "content", file, name);
    }
  }

  get canPeek() {
    return this.#result !== null;
  }

  peek(shown) {
    this.#peeking = shown && this.canPeek;
    this.#view.redraw();
  }

  get stage() {
    return this.#part("stage");
  }

  get actions() {
    return {
      fill: () => this.transfer(),
      download: () => this.download(),
      zoomIn: () => this.#view.zoom(1.3),
      zoomOut: () => this.#view.zoom(1 / 1.3),
      fit: () => this.#view.fit(),
    };
  }

  get isOpen() {
    return this.#pictures.content !== null;
  }

  async transfer() {
    if (this.#job.isRunning) return;
    await this.#attempt(async () => {
      const { content, style } = this.#pictures;
      if (!content || !style) {
        throw new Trouble(say(content ? "look-missing" : "photo-missing"), say("missing-hint"));
      }
      const running = this.#job.run((job) => this.#send(content, style, job));
      this.#show();
      const { sent, result } = await running;
      if (this.#pictures.content !== content) return result.unload();
      this.#setResult(result);
      this.#news();
      this.#part("divider").focus();
      const size = `${sent.width} × ${sent.height}`;
      this.#say(say(sent.width === content.width ? "transferred" : "transferred-smaller", { size }));
    });
    this.#show();
  }

  async download() {
    if (this.#result === null) return;
    await this.#attempt(async () => {
      saveFile(await encodePhoto(this.#result, "png"), `${this.#result.stem}-styled.png`);
      this.#saved = true;
      this.#news();
    });
  }

  // What Gestures calls.

  begin(point) {
    if (this.#comparison.shown) this.#comparison.moveTo(point.x);
  }

  move(point) {
    this.begin(point);
  }

  end() {}

  cancel() {}

  hover() {}

  resize() {}

  /** Send both, the photo within the service's limit, and give what was sent and what came back. */
  async #send(content, style, job) {
    const sent = await shrinkPhoto(content, this.#settings.max_stylize_pixels);
    if (sent !== content) sent.unload();
    const options = { strength: Number(this.#part("strength").value) / 100 };
    const styled = await stylize(sent.blob, style.blob, options, job);
    return { sent, result: await openPhoto(styled, content.name) };
  }

  #part(name) {
    return this.#root.querySelector(`[data-part="${name}"]`);
  }

  #listen() {
    for (const [kind, word] of Object.entries(KINDS)) {
      this.#wells[kind] = new Well((name) => this.#part(`${name}-${kind}`), word, {
        samples: this.#settings.samples,
        take: (file, name) => this.#take(kind, file, name),
        close: () => this.#drop(kind),
        failed: (error) => this.#notice.show(error),
      });
    }
    document.addEventListener("words", () => { this.#show(); this.#showStrength(); });
    const { actions } = this;
    for (const button of this.#root.querySelectorAll("[data-action]")) {
      button.addEventListener("click", () => actions[button.dataset.action]());
    }
    this.#part("strength").addEventListener("input", () => {
      this.#showStrength();
      this.#news();
    });
  }

  #showStrength() {
    const share = this.#part("strength").value / 100;
    this.#part("strength-shown").textContent = number(share, { style: "percent" });
  }

  /** Give up a picture, and what was made of it; nothing of it stays in the browser. */
  async #drop(kind) {
    const photo = this.#pictures[kind];
    const isLost = kind === "content" && this.#result !== null && !this.#saved;
    const title = say("close-sure", { name: photo.name });
    if (isLost && !(await areSure(title, say("close-result"), say("close-this")))) return;
    this.#taken[kind] += 1;
    this.#job.cancel();
    this.#put(kind, null);
    if (kind === "content") this.#setResult(null);
    this.#news();
    this.#show();
    this.#wells[kind].focus();
  }

  /** Put a decoded picture into its well, or none. */
  #put(kind, photo) {
    this.#pictures[kind]?.unload();
    this.#pictures[kind] = photo;
    this.#wells[kind].put(photo);
    if (kind !== "content" || photo === null) return;
    this.#view.setPicture(photo.width, photo.height);
    this.#view.fit();
  }

  /** What is kept: see Session. */
  #record() {
    const files = new Map();
    const parts = { ...this.#pictures, result: this.#result };
    const photos = {};
    for (const [part, photo] of Object.entries(parts)) {
      if (photo !== null) photos[part] = photo.record(files);
    }
    const name = Object.values(this.#pictures).filter(Boolean).map((each) => each.name).join(", ");
    const record = { name, photos, strength: this.#part("strength").value, saved: this.#saved };
    return { record, files };
  }

  #bringBack({ photos, strength, saved }) {
    this.#part("strength").value = strength;
    this.#showStrength();
    for (const kind of Object.keys(KINDS)) if (photos[kind]) this.#put(kind, photos[kind]);
    if (photos.result) this.#setResult(photos.result);
    this.#saved = saved;
    if (photos.content || photos.style) this.#say(say("restored"));
  }

  /** Something is new: keep it, soon; without pictures there is nothing to keep. */
  #news() {
    const { content, style } = this.#pictures;
    if (content === null && style === null) this.#session?.forget(this.#kept);
    else this.#session?.keep(this.#kept);
  }

  async #take(kind, file, name) {
    this.#taken[kind] += 1;
    const taken = this.#taken[kind];
    await this.#attempt(async () => {
      const job = { signal: new AbortController().signal, waiting() {} };
      const photo = await openPhoto(file, name, this.#settings, (blob) => preview(blob, job));
      if (taken !== this.#taken[kind]) return photo.unload();
      this.#job.cancel();
      this.#put(kind, photo);
      if (kind === "content") this.#setResult(null);
      this.#news();
      this.#say(say("opened", { name, width: photo.width, height: photo.height }));
    });
    this.#show();
  }

  #setResult(result) {
    this.#result?.unload();
    this.#result = result;
    this.#saved = false;
    this.#comparison.show(result !== null);
    this.#view.redraw();
  }

  #attempt(work) {
    return this.#notice.watch(work, () => this.#say(say("cancelled")));
  }

  #say(text) {
    this.#part("status").textContent = text;
  }

  #show() {
    const { content } = this.#pictures;
    for (const well of Object.values(this.#wells)) well.name();
    this.#part("empty").hidden = content !== null;
    this.#root.querySelector('[data-action="fill"]').disabled = this.#job.isRunning;
    this.#root.querySelector('[data-action="download"]').disabled = this.#result === null;
    for (const name of ["zoomIn", "zoomOut", "fit"]) {
      this.#root.querySelector(`[data-action="${name}"]`).disabled = content === null;
    }
  }

  #draw(context) {
    const { content } = this.#pictures;
    if (content === null) return;
    const before = () => drawPicture(context, this.#view, content.picture);
    if (this.#result === null || this.#peeking) before();
    else this.#comparison.draw(context, before, () => drawPicture(context, this.#view, this.#result.picture));
  }
}
