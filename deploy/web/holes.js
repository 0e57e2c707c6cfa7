// Holes that come otherwise than by painting: selected, imported, of another photo, around it.

import { maskStep, regionStep } from "./mask.js";
import { openPhoto, saveFile, Trouble } from "./photo.js";
import { Selector } from "./select/selector.js";
import { preview } from "./service.js";
import { say } from "./words.js";

export class Holes {
  #root;
  #editor;
  #desk;
  #limits;
  #done;
  #selector = new Selector();
  #selecting = 0;

  /** `limits` are openPhoto's; `done(text)` follows when the hole of the photo shown is new. */
  constructor(root, editor, { desk, limits, done }) {
    this.#root = root;
    this.#editor = editor;
    this.#desk = desk;
    this.#limits = limits;
    this.#done = done;
  }

  /** Select what a shape points at: a click, or a line around. Throws Trouble. */
  async select(shape, isClick) {
    const { document, view } = this.#editor;
    const [{ x, y }] = shape.outline;
    const { takesAway, outline } = shape;
    const before = document.lastStep?.kind === "region" ? document.lastStep.clicks : [];
    const clicks = [...before, isClick ? { x, y, takesAway } : { outline, takesAway }];
    this.#selecting += 1;
    const selecting = this.#selecting;
    this.#looking(true);
    try {
      const found = await this.#selector.find(await document.photo.load(), clicks, view.seen);
      // Another click came meanwhile.
      if (selecting !== this.#selecting || document !== this.#editor.document) return;
      if (found === null) throw new Trouble(say("nothing-selected"), say("nothing-selected-hint"));
      const { labels, columns, rows, box } = found;
      this.#editor.add(await regionStep(labels, columns, rows, box, clicks));
      this.#done(say("selected"));
    } finally {
      if (selecting === this.#selecting) this.#looking(false);
    }
  }

  /** Say that something is looked for. */
  #looking(now) {
    const hint = this.#root.querySelector('[data-part="select-hint"]');
    hint.dataset.say = now ? "selecting" : "select-hint";
    hint.textContent = say(hint.dataset.say);
    this.#root.classList.toggle("selecting", now);
  }

  /** Make the canvas larger by the step that `makeStep(document)` gives. Throws Trouble. */
  async expand(makeStep) {
    const { document } = this.#editor;
    if (document.sent) throw new Trouble(say("still-filling"), say("still-filling-hint"));
    const step = await makeStep(document);
    if (document !== this.#editor.document) return;
    this.#editor.add(step);
    this.#editor.view.fit();
    this.#done(say("expanded"));
  }

  /** Give every other photo of the same size the hole of the one that is shown. Throws Trouble. */
  async toOthers() {
    const { document } = this.#editor;
    const { width, height } = document.photo;
    const blob = await document.mask.picture();
    const erased = document.isErased;
    const others = this.#desk.documents.filter((each) => each !== document && !each.sent
      && each.photo.width === width && each.photo.height === height);
    if (others.length === 0) throw new Trouble(say("no-same-size"), say("no-same-size-hint"));
    for (const other of others) {
      other.add({ kind: "picture", canvas: await createImageBitmap(blob), blob, erased });
      this.#desk.news(other);
      await this.#desk.sketch(other);
    }
    this.#done(say("same-hole-done", { count: others.length }));
  }

  /** Take the hole from a file, which `options` say how to read. Throws Trouble. */
  async take(file, name, options) {
    const { document } = this.#editor;
    const { photo } = document;
    const job = { signal: new AbortController().signal, waiting() {} };
    const mask = await openPhoto(file, name, this.#limits, (blob) => preview(blob, job));
    try {
      const step = await maskStep(mask, photo.width, photo.height, options);
      // It was meant for the photo as it was then.
      if (document !== this.#editor.document || document.photo !== photo) return;
      this.#editor.compare(false);
      this.#editor.add(step);
      this.#done(say("mask-imported"));
    } finally {
      mask.unload();
    }
  }

  async save() {
    const { document } = this.#editor;
    saveFile(await document.mask.toBlob(), `${document.original.stem}_mask.png`);
  }
}
