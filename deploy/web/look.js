// The tab that transfers a style: two pictures, the service, the result.

import { Comparison } from "./comparison.js";
import { Gestures } from "./gestures.js";
import { Job } from "./job.js";
import { Notice } from "./notice.js";
import { encodePhoto, openPhoto, saveFile, shrinkPhoto, Trouble } from "./photo.js";
import { preview, stylize } from "./service.js";
import { filesFrom, fromDrop, fromSamples } from "./sources.js";
import { drawPicture, View } from "./view.js";
import { number, say } from "./words.js";

// Keys of their names.
const NAMES = { content: "photo", style: "look" };

export class LookTab {
  #root;
  #settings;
  #comparison;
  #view;
  #job;
  #notice;
  #pictures = { content: null, style: null };
  #result = null;
  #peeking = false;
  // Of the files that were opened, by kind: an older one may be decoded later.
  #taken = { content: 0, style: 0 };

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
    for (const kind of Object.keys(NAMES)) {
      const take = (file, name) => this.#take(kind, file, name);
      filesFrom(this.#part(`open-${kind}`), ([first]) => take(...first));
      fromDrop(this.#part(`well-${kind}`), ([first]) => take(...first));
      fromSamples(this.#part(`samples-${kind}`), this.#settings.samples, {
        take,
        failed: (error) => this.#notice.show(error),
      });
    }
    const { actions } = this;
    for (const button of this.#root.querySelectorAll("[data-action]")) {
      button.addEventListener("click", () => actions[button.dataset.action]());
    }
    const strength = this.#part("strength");
    strength.addEventListener("input", () => {
      this.#part("strength-shown").textContent = number(strength.value / 100, { style: "percent" });
    });
  }

  async #take(kind, file, name) {
    this.#taken[kind] += 1;
    const taken = this.#taken[kind];
    await this.#attempt(async () => {
      const job = { signal: new AbortController().signal, waiting() {} };
      const photo = await openPhoto(file, name, this.#settings, (blob) => preview(blob, job));
      if (taken !== this.#taken[kind]) return photo.unload();
      this.#job.cancel();
      this.#pictures[kind]?.unload();
      this.#pictures[kind] = photo;
      const picture = this.#part(`picture-${kind}`);
      URL.revokeObjectURL(picture.src);
      picture.src = URL.createObjectURL(photo.shown);
      picture.alt = say(`${NAMES[kind]}-is`, { name });
      picture.hidden = false;
      if (kind === "content") {
        this.#setResult(null);
        this.#view.setPicture(photo.width, photo.height);
        this.#view.fit();
      }
      this.#say(say("opened", { name, width: photo.width, height: photo.height }));
    });
    this.#show();
  }

  #setResult(result) {
    this.#result?.unload();
    this.#result = result;
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
