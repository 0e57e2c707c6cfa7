// The tab that fills: a photo, tools, the service, the result; the editor does the painting.

import { Comparison } from "./comparison.js";
import { Editor } from "./editor.js";
import { Job } from "./job.js";
import { maskStep } from "./mask.js";
import { Notice } from "./notice.js";
import { Options } from "./options.js";
import { encodePhoto, openPhoto, saveFile, Trouble } from "./photo.js";
import { inpaint } from "./service.js";
import { fromInput, fromSamples } from "./sources.js";

// Of the slider of the brush: so many positions from the smallest size to the largest.
const POSITIONS = 100;

export class FillTab {
  #root;
  #settings;
  #editor;
  #job;
  #notice;
  #options;
  // Of the files that were opened: an older one may be decoded later.
  #taken = 0;

  constructor(root, settings) {
    this.#root = root;
    this.#settings = settings;
    this.#notice = new Notice(this.#part("notice"));
    this.#job = new Job(this.#part("job"), "Filling");
    this.#editor = new Editor(this.#part("stage"), this.#part("canvas"), {
      comparison: new Comparison(this.#part("divider"), this.#part("sides")),
      changed: () => this.#show(),
      said: (text) => this.#say(text),
    });
    fromSamples(this.#part("samples"), settings.samples, {
      take: (file, name) => this.take(file, name),
      failed: (error) => this.#notice.show(error),
    });
    this.#options = new Options(this.#part("options"), settings.options ?? []);
    this.#part("try").hidden = settings.samples.length === 0;
    this.#listen();
  }

  /** Open a file as the photo. */
  async take(file, name) {
    this.#taken += 1;
    const taken = this.#taken;
    await this.#attempt(async () => {
      const photo = await openPhoto(file, name, this.#settings);
      if (taken !== this.#taken) return photo.bitmap.close();
      this.#job.cancel();
      this.#part("welcome").hidden = true;
      this.#part("work").hidden = false;
      this.#editor.open(photo);
      this.#part("stage").focus();
      this.#say(`${name}, ${photo.width} by ${photo.height} pixels. Paint over what should go.`);
    });
  }

  async fill() {
    const editor = this.#editor;
    if (editor.photo === null || editor.locked) return;
    await this.#attempt(async () => {
      if (!editor.hasHole) {
        throw new Trouble("Nothing is painted yet.", "Paint over what should go, then fill.");
      }
      const before = editor.photo;
      const photo = await this.#send(before);
      // What was opened meanwhile is not overwritten.
      if (editor.photo !== before) return photo.bitmap.close();
      editor.add({ kind: "fill", photo });
      editor.compare(true);
      this.#part("divider").focus();
      this.#say("Filled. Drag the divider to compare, or paint again.");
    });
  }

  async download() {
    if (!this.#editor.isFilled) return;
    await this.#attempt(async () => {
      const format = this.#part("format").value;
      const { photo } = this.#editor;
      const ending = format === "jpeg" ? "jpg" : format;
      saveFile(await encodePhoto(photo, format), `${photo.stem}-filled.${ending}`);
    });
  }

  /** Whether Tab, held, has something to show. */
  get canPeek() {
    return this.#editor.isFilled;
  }

  peek(shown) {
    this.#editor.peek(shown);
  }

  get stage() {
    return this.#part("stage");
  }

  /** What a key does, by its name in main.js. */
  get actions() {
    const editor = this.#editor;
    return {
      undo: () => editor.undo(),
      redo: () => editor.redo(),
      smaller: () => editor.resize(-1),
      larger: () => editor.resize(1),
      clear: () => this.#clear(),
      zoomIn: () => editor.view.zoom(1.3),
      zoomOut: () => editor.view.zoom(1 / 1.3),
      fit: () => editor.view.fit(),
      fill: () => this.fill(),
      download: () => this.download(),
      compare: () => editor.compare(!editor.isComparing),
      brush: () => this.#choose("brush"),
      eraser: () => this.#choose("eraser"),
      rectangle: () => this.#choose("rectangle"),
      lasso: () => this.#choose("lasso"),
    };
  }

  get isOpen() {
    return this.#editor.photo !== null;
  }

  /** Send photo and mask, and give what comes back; meanwhile nothing is painted. */
  async #send(photo) {
    const editor = this.#editor;
    editor.locked = true;
    try {
      const mask = await editor.maskBlob();
      const filling = this.#job.run((job) => inpaint(photo.blob, mask, this.#options.values, job));
      this.#show();
      return await openPhoto(await filling, photo.name);
    } finally {
      editor.locked = false;
      this.#show();
    }
  }

  #part(name) {
    return this.#root.querySelector(`[data-part="${name}"]`);
  }

  #listen() {
    const { actions } = this;
    for (const button of this.#root.querySelectorAll("[data-action]")) {
      button.addEventListener("click", () => actions[button.dataset.action]());
    }
    for (const input of this.#root.querySelectorAll('input[type="file"][data-part="open"]')) {
      fromInput(input, (file, name) => this.take(file, name));
    }
    this.#part("stage").addEventListener("pointerdown", () => this.#notice.hide());
    fromInput(this.#part("import"), (file, name) => this.#importMask(file, name));
    this.#part("export").addEventListener("click", () => this.#exportMask());
    // Not its change: the tool that is chosen already leads back from the comparison, too.
    this.#part("tools").addEventListener("click", (event) => {
      if (event.target.matches("input")) this.#choose(event.target.value);
    });
    this.#part("size").addEventListener("input", (event) => {
      const { least, most } = this.#editor.limits;
      this.#editor.setSize(Math.round(least * (most / least) ** (event.target.value / POSITIONS)));
    });
  }

  #choose(tool) {
    this.#root.querySelector(`input[name="tool"][value="${tool}"]`).checked = true;
    this.#editor.setTool(tool);
  }

  #clear() {
    if (this.#editor.hasHole && !this.#editor.locked) this.#editor.add({ kind: "clear" });
  }

  async #importMask(file, name) {
    await this.#attempt(async () => {
      const before = this.#editor.photo;
      const mask = await openPhoto(file, name, this.#settings);
      try {
        // It was meant for the photo as it was then.
        if (this.#editor.locked || this.#editor.photo !== before) return;
        const step = maskStep(mask, before.width, before.height);
        this.#editor.compare(false);
        this.#editor.add(step);
        this.#say("Mask imported; paint on, or fill.");
      } finally {
        mask.bitmap.close();
      }
    });
  }

  async #exportMask() {
    await this.#attempt(async () => {
      saveFile(await this.#editor.maskBlob(), `${this.#editor.photo.stem}_mask.png`);
    });
  }

  #attempt(work) {
    return this.#notice.watch(work, () => this.#say("Cancelled."));
  }

  #say(text) {
    this.#part("status").textContent = text;
  }

  /** Bring buttons and figures to what the editor holds. */
  #show() {
    const editor = this.#editor;
    if (!editor?.photo) return;
    const enabled = {
      undo: editor.canUndo && !editor.locked,
      redo: editor.canRedo && !editor.locked,
      clear: editor.hasHole && !editor.locked,
      compare: editor.isFilled,
      download: editor.isFilled,
      fill: !editor.locked,
    };
    for (const button of this.#root.querySelectorAll("button[data-action]")) {
      button.disabled = enabled[button.dataset.action] === false;
    }
    this.#part("compare").setAttribute("aria-pressed", String(editor.isComparing));
    this.#part("zoom").textContent = `${Math.round(editor.view.scale * 100)} %`;
    const { least, most } = editor.limits;
    const slider = this.#part("size");
    slider.value = POSITIONS * Math.log(editor.size / least) / Math.log(most / least);
    slider.setAttribute("aria-valuetext", `${editor.size} pixels`);
    this.#part("size-shown").textContent = `${editor.size} px`;
    this.#root.classList.toggle("comparing", editor.isComparing);
  }
}
