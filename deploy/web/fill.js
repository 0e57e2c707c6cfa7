// The tab that fills: photos that are open, the one on the stage, what is asked of the service.

import { Comparison } from "./comparison.js";
import { Desk } from "./desk.js";
import { Editor } from "./editor.js";
import { Expansion } from "./expansion.js";
import { Fills } from "./fills.js";
import { Holes } from "./holes.js";
import { Job } from "./job.js";
import { preferred } from "./keep/preferences.js";
import { Notice } from "./notice.js";
import { copyPhoto, savePhotos } from "./output.js";
import { Panel } from "./panel.js";
import { openPhoto, Trouble } from "./photo.js";
import { preview } from "./service.js";
import { fromSamples } from "./sources.js";
import { say } from "./words.js";

export class FillTab {
  #root;
  #settings;
  #editor;
  #panel;
  #desk;
  #fills;
  #holes;
  #job;
  #notice;
  #session = null;
  // As the session keeps it: one for all photos, as they are filled together.
  #choices = {
    id: "choices",
    record: () => ({ record: this.#panel.choices, files: new Map() }),
  };

  constructor(root, settings) {
    this.#root = root;
    this.#settings = settings;
    this.#notice = new Notice(this.#part("notice"));
    this.#job = new Job(this.#part("job"), "filling");
    this.#editor = new Editor(this.#part("stage"), this.#part("canvas"), {
      comparison: new Comparison(this.#part("divider"), this.#part("sides")),
      changed: () => this.#show(),
      painted: () => this.#painted(),
      resized: () => this.#desk.news(this.#editor.document),
      select: (...shape) => this.#attempt(() => this.#holes.select(...shape)),
      said: (text) => this.#say(text),
    });
    this.#desk = new Desk(root, this.#editor, {
      attempt: (work) => this.#attempt(work),
      dropped: (document) => this.#fills.cancel(document),
    });
    this.#holes = new Holes(root, this.#editor, {
      desk: this.#desk,
      limits: settings,
      done: (text) => { this.#news(this.#editor.document); this.#say(text); },
    });
    this.#fills = new Fills(settings, this.#job, (document) => {
      this.#refresh(document);
      return this.#desk.keepNow(document);
    });
    // One press for all that wait, too.
    this.#part("job").querySelector("button").addEventListener("click", () => this.#fills.cancel());
    this.#panel = new Panel(root, this.#editor, {
      declared: settings,
      actions: this.actions,
      open: (files) => this.takeAll(files),
      importMask: (...file) => this.#attempt(() => this.#holes.take(...file)),
      exportMask: () => this.#attempt(() => this.#holes.save()),
      touched: () => this.#notice.hide(),
      chosen: () => this.#session?.keep(this.#choices),
    });
    new Expansion(root, {
      document: () => this.#editor.document,
      expand: (makeStep) => this.#attempt(() => this.#holes.expand(makeStep)),
    });
    fromSamples(this.#part("samples"), settings.samples, {
      take: (file, name) => this.takeAll([[file, name]]),
      failed: (error) => this.#notice.show(error),
    });
    this.#part("try").hidden = settings.samples.length === 0;
    // What is counted and named here is said in the new language, too.
    document.addEventListener("words", () => this.#show());
    this.#show();
  }

  /** Bring back the work of an earlier visit, and go on with what was being filled. */
  async restore(session) {
    await this.#attempt(async () => {
      const choices = await session.restoreState(this.#choices.id, (record) => record);
      if (await this.#desk.restore(session)) {
        if (choices) this.#panel.restore(choices);
        this.#say(say("restored"));
      } else {
        // They were of work that was closed.
        session.forget(this.#choices);
      }
      this.#session = session;
      this.#notice.informOfKeeping(session);
    });
    for (const each of this.#desk.documents) {
      this.#attempt(async () => {
        await this.#fills.resume(each);
        await this.#settle(each);
      });
    }
  }

  /** Open files, each as a photo: [[file, name], …]. */
  async takeAll(files) {
    this.#notice.hide();
    const note = this.#notice.several();
    for (const [file, name] of files) {
      await this.#take(file, name).catch((error) => note(name, error));
    }
    this.#show();
  }

  /** Open a file as a photo, and show it. Throws Trouble. */
  async #take(file, name) {
    const job = { signal: new AbortController().signal, waiting() {} };
    const opening = openPhoto(file, name, this.#settings, (blob) => preview(blob, job));
    const opened = await this.#desk.take(opening);
    if (opened === null) return;
    const { width, height } = opened.photo;
    this.#say(say("opened", { name, width, height }));
  }

  async fill() {
    const current = this.#editor.document;
    if (current === null) return;
    await this.#attempt(() => {
      if (!current.hasHole) throw new Trouble(say("nothing-painted"), say("problem-mask_empty-hint"));
      return this.#fill(current);
    });
  }

  /** Another answer for the hole that was filled last. */
  async again() {
    const current = this.#editor.document;
    if (current?.lastStep?.kind !== "fill" || current.sent) return;
    this.#panel.nextVariation();
    await this.#attempt(() => this.#fill(current, { again: true }));
  }

  /** Fill the hole of every photo that has one. */
  async fillAll() {
    await this.#attempt(async () => {
      const painted = this.#desk.documents.filter((each) => each.hasHole && !each.sent);
      if (painted.length === 0) throw new Trouble(say("nothing-painted"), say("problem-mask_empty-hint"));
      const note = this.#notice.several();
      await Promise.all(painted.map((each) => this.#fill(each, { named: true }).catch((error) => {
        if (error.name === "AbortError") this.#say(say("cancelled"));
        else note(each.name, error);
      })));
    });
  }

  /** Whether Tab, held, has something to show. */
  get canPeek() {
    return Boolean(this.#editor.document?.isFilled);
  }

  peek(shown) {
    this.#editor.peek(shown);
  }

  get stage() {
    return this.#part("stage");
  }

  get isOpen() {
    return this.#editor.document !== null;
  }

  /** What a button or a key does, by its name in index.html and keys.js. */
  get actions() {
    const editor = this.#editor;
    const choose = (tool) => () => this.#panel.choose(tool);
    return {
      undo: () => this.#change(() => editor.undo()),
      redo: () => this.#change(() => editor.redo()),
      smaller: () => editor.resize(-1),
      larger: () => editor.resize(1),
      softer: () => this.#panel.harden(-0.1),
      harder: () => this.#panel.harden(0.1),
      clear: () => this.#clear(),
      zoomIn: () => editor.view.zoom(1.3),
      zoomOut: () => editor.view.zoom(1 / 1.3),
      fit: () => editor.view.fit(),
      fill: () => this.fill(),
      again: () => this.again(),
      fillAll: () => this.fillAll(),
      sameHole: () => this.#attempt(() => this.#holes.toOthers()),
      download: () => this.#download([editor.document]),
      downloadAll: () => this.#download(this.#desk.documents),
      copy: () => this.#copy(),
      close: () => this.#desk.close(editor.document),
      compare: () => editor.compare(!editor.isComparing),
      brush: choose("brush"),
      eraser: choose("eraser"),
      rectangle: choose("rectangle"),
      lasso: choose("lasso"),
      select: choose("select"),
      next: () => this.#desk.step(1),
      previous: () => this.#desk.step(-1),
    };
  }

  /** Fill one photo; what is painted meanwhile stays, and the tool stays in hand. */
  async #fill(document, how = {}) {
    const filling = this.#fills.ask(document, this.#panel.options(document), how);
    this.#refresh(document);
    try {
      await filling;
    } finally {
      await this.#settle(document);
    }
    this.#say(say("filled"));
    // Painted while the one before was made, and to be filled by itself.
    if (preferred("fillOnRelease") && document.hasHole && !document.sent) await this.#fill(document);
  }

  #painted() {
    this.#news(this.#editor.document);
    if (preferred("fillOnRelease") && !this.#editor.document.sent) this.fill();
  }

  /** Something about a photo is new: keep it; while it is on the stage, show it. */
  #news(document) {
    this.#refresh(document);
    this.#desk.news(document);
  }

  #refresh(document) {
    if (document === this.#editor.document) this.#editor.refresh();
    else this.#show();
  }

  /** After a fill: the small picture, and the memory of a photo that is not shown. */
  async #settle(document) {
    if (!this.#desk.documents.includes(document)) return;
    if (document === this.#editor.document) this.#editor.refresh();
    else await this.#desk.sketch(document);
    this.#show();
  }

  #change(work) {
    if (this.#editor.document === null) return;
    work();
    this.#news(this.#editor.document);
  }

  #clear() {
    if (this.#editor.document?.hasHole) this.#change(() => this.#editor.add({ kind: "clear" }));
  }

  #download(documents) {
    return this.#attempt(async () => {
      this.#notice.confirm(say("saving"));
      const filled = documents.filter((one) => one?.isFilled);
      const lost = await savePhotos(filled, this.#panel.file, (each) => this.#desk.saved(each));
      if (lost) this.#notice.inform(say("saved-with-loss"), lost);
      else this.#notice.hide();
    });
  }

  #copy() {
    const { document } = this.#editor;
    return this.#attempt(async () => {
      await copyPhoto(document.photo);
      this.#desk.saved(document);
      this.#say(say("copied"));
      this.#notice.confirm(say("copied"));
    });
  }

  /** Something could not be kept. */
  notKept(error) {
    this.#notice.showUnkept(error);
  }

  #attempt(work) {
    return this.#notice.watch(work, () => this.#say(say("cancelled")));
  }

  #part(name) {
    return this.#root.querySelector(`[data-part="${name}"]`);
  }

  #say(text) {
    this.#part("status").textContent = text;
  }

  #show() {
    this.#desk?.show();
    this.#panel?.show(this.#desk.documents);
  }
}
