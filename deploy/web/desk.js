// The photos that are open: which is on the stage, their small pictures, and that they are kept.

import { Document } from "./document.js";
import { areSure } from "./sure.js";
import { Tray } from "./tray.js";
import { number, say } from "./words.js";

const DRAW_AFTER_MS = 200;

export class Desk {
  #root;
  #editor;
  #tray;
  #attempt;
  #dropped;
  #session = null;
  // Of the photos that were opened: an older one may be decoded later.
  #taken = 0;
  // The photo that was asked for last: it is decoded before it is shown.
  #wanted = null;
  #drawing = null;

  /**
   * `attempt(work)` does something and says what goes wrong, and `dropped(document)` follows when
   * one is closed.
   */
  constructor(root, editor, { attempt, dropped }) {
    this.#root = root;
    this.#editor = editor;
    this.#attempt = attempt;
    this.#dropped = dropped;
    this.documents = [];
    this.#tray = new Tray(this.#part("tray"), {
      chosen: (document) => attempt(() => this.present(document)),
      closed: (document) => this.close(document),
    });
  }

  /** Bring back the photos of an earlier visit; gives whether there are any. */
  async restore(session) {
    this.#session = session;
    window.addEventListener("beforeunload", (event) => {
      const undone = this.documents.some((each) => each.hasHole || each.isFilled || each.sent);
      if (undone && this.#session.isBehind) event.preventDefault();
    });
    const { documents, shown } = await this.#session.restore();
    this.documents = documents;
    if (documents.length === 0) return false;
    for (const each of documents) await this.sketch(each);
    await this.present(documents.find(({ id }) => id === shown) ?? documents[0]);
    return true;
  }

  /** Open a photo; `opening` gives it decoded. Gives it when it is on the stage, else null. */
  async take(opening) {
    this.#taken += 1;
    const taken = this.#taken;
    const opened = new Document(await opening);
    this.documents.push(opened);
    this.#session?.keep(opened);
    // One that was opened after it stays on the stage.
    if (taken !== this.#taken) return this.sketch(opened);
    await this.present(opened);
    return opened;
  }

  /** Put a photo on the stage. */
  async present(document) {
    this.#wanted = document;
    document.wake();
    await document.load();
    if (this.#wanted !== document) return;
    const before = this.#editor.document;
    this.#part("welcome").hidden = true;
    this.#part("work").hidden = false;
    this.#editor.show(document);
    this.show();
    if (before !== null && before !== document && !before.sent) {
      this.#tray.draw(before);
      before.unload();
    }
    this.#session?.keepTray(this.documents, document);
    this.#part("stage").focus({ preventScroll: true });
  }

  /** The photo after the one on the stage (1), or before it (-1). */
  step(by) {
    const next = this.documents[this.documents.indexOf(this.#wanted) + by];
    if (next) this.#attempt(() => this.present(next));
  }

  /** Draw the small picture of a photo that is not on the stage. */
  async sketch(document) {
    this.#tray.show(this.documents, this.#editor.document);
    document.wake();
    await document.load();
    this.#tray.draw(document);
    if (document !== this.#editor.document && !document.sent) document.unload();
    return null;
  }

  /** Something about a photo is new: keep it, soon. */
  news(document) {
    if (this.documents.includes(document)) this.#session?.keep(document);
  }

  /** The result of a photo is the person's; without the stage it needs no memory. */
  saved(document) {
    document.kept = true;
    this.news(document);
    if (document !== this.#editor.document) document.photo.unload();
  }

  /** Resolves when a photo is kept as it is: before it is sent, before an answer is let go. */
  async keepNow(document) {
    if (this.documents.includes(document)) await this.#session?.keepNow(document);
  }

  /** Close a photo; what is painted and not filled, or not downloaded, only when they are sure. */
  async close(document) {
    const title = say("close-sure", { name: document.name });
    const lost = lostWith(document);
    if (lost && !(await areSure(title, lost, say("close-this")))) return;
    this.#dropped(document);
    const at = this.documents.indexOf(document);
    this.documents.splice(at, 1);
    this.#session?.forget(document);
    const next = this.documents[Math.min(at, this.documents.length - 1)];
    const wasShown = document === this.#editor.document;
    if (wasShown) {
      if (next) await this.#attempt(() => this.present(next));
      else this.#empty();
    }
    document.unload();
    this.#session?.keepTray(this.documents, this.#editor.document);
    this.show();
    // The button that was pressed is gone, and the focus with it.
    if (!wasShown) this.#focusOn(next);
  }

  /** How many photos are still to be filled: what is painted, and what is on its way. */
  get left() {
    return this.documents.filter((each) => each.hasHole || each.sent).length;
  }

  show() {
    const { document } = this.#editor;
    this.#part("tray-bar").hidden = this.documents.length < 2;
    this.#part("left").hidden = this.left === 0;
    this.#part("left").textContent = say("to-fill", { count: number(this.left) });
    this.#tray.show(this.documents, document);
    // Drawn when it rests: a large photo takes a while, and this follows every change of the view.
    clearTimeout(this.#drawing);
    if (document && this.documents.length > 1) {
      this.#drawing = setTimeout(() => this.#tray.draw(document), DRAW_AFTER_MS);
    }
  }

  /** On a photo in the tray; where there is none any more, on the stage. */
  #focusOn(document) {
    if (this.documents.length > 1) this.#tray.focus(document);
    else this.#part("stage").focus({ preventScroll: true });
  }

  #empty() {
    this.#wanted = null;
    this.#editor.show(null);
    this.#part("welcome").hidden = false;
    this.#part("work").hidden = true;
    this.#part("welcome").querySelector("input").focus();
  }

  #part(name) {
    return this.#root.querySelector(`[data-part="${name}"]`);
  }
}

/** What goes with a photo that is closed now, in words; "" for nothing. */
function lostWith(document) {
  if (document.sent) return say("close-filling");
  if (!document.isFilled || document.kept) return document.hasHole ? say("close-painted") : "";
  return document.hasHole ? say("close-both") : say("close-result");
}
