// The work of this browser, kept while it is done: photos, what was done to them, what is chosen.

import { Document } from "../document.js";
import { openStore } from "./store.js";

const SAVE_AFTER_MS = 150;

/** A photo of an earlier visit, by its name, that cannot be read now. */
export class Unread extends Error {}

class Gone extends Error {}

export class Session {
  #store;
  #failed;
  // By id: the photos that were changed since they were written, and the timers that write them.
  #changed = new Map();
  #writing = Promise.resolve();

  /** `failed(error)` is called when something could not be kept, or read (then an Unread). */
  static async open(failed) {
    return new Session(await openStore(), failed);
  }

  constructor(store, failed) {
    this.#store = store;
    this.#failed = failed;
    this.isKept = store.lasting;
    // Whether another tab has the work of this browser.
    this.isElsewhere = store.isElsewhere;
    // What is on its way when the page is hidden is written at once.
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") this.flush();
    });
  }

  /** Whether closing the page now would lose something. */
  get isBehind() {
    return !this.isKept || this.#changed.size > 0;
  }

  /**
   * The photos of an earlier visit in their order, and the id of the one that was shown. One whose
   * file is gone is forgotten; one that cannot be read now stays for the next visit.
   */
  async restore() {
    const records = await this.#store.all("photos");
    const { order = [], shown = null } = (await this.#store.get("state", "tray")) ?? {};
    records.sort((a, b) => order.indexOf(a.id) - order.indexOf(b.id));
    const documents = [];
    for (const record of records) {
      try {
        documents.push(await Document.restore(record, (key) => this.#file(key)));
      } catch (error) {
        // One photo does not take the others with it.
        if (error instanceof Gone) {
          this.#failed(error);
          await this.#store.delete("photos", record.id);
        } else {
          // Too little memory to decode it, or a fault of the browser's: its files stay.
          this.#failed(new Unread(record.original.name, { cause: error }));
        }
      }
    }
    await this.#sweep();
    return { documents, shown };
  }

  /** Keep which photos there are, in which order, and which is shown. */
  keepTray(documents, shown) {
    const tray = { order: documents.map(({ id }) => id), shown: shown?.id ?? null };
    this.#queue(() => this.#store.put("state", "tray", tray));
  }

  /** What was kept under this id next to the photos, restored by `make(record, read)`; or null. */
  async restoreState(id, make) {
    const record = await this.#store.get("state", id);
    if (!record) return null;
    try {
      return await make(record, (key) => this.#file(key));
    } catch (error) {
      if (error instanceof Gone) {
        this.#failed(error);
        await this.#store.delete("state", id);
      } else {
        this.#failed(new Unread(record.name, { cause: error }));
      }
      return null;
    }
  }

  /**
   * Keep something as it is, soon: a Document, or what else has `id` and record(), which gives
   * { record, files }; restoreState(id) gives that back. A record with files has a name.
   */
  keep(changed) {
    clearTimeout(this.#changed.get(changed.id)?.timer);
    const timer = setTimeout(() => this.keepNow(changed), SAVE_AFTER_MS);
    this.#changed.set(changed.id, { timer, changed });
  }

  /** Keep it now; resolves when it is written. */
  keepNow(changed) {
    clearTimeout(this.#changed.get(changed.id)?.timer);
    const entry = { changed };
    this.#changed.set(changed.id, entry);
    return this.#queue(async () => {
      await this.#write(changed);
      if (this.#changed.get(changed.id) === entry) this.#changed.delete(changed.id);
    });
  }

  flush() {
    for (const { changed } of [...this.#changed.values()]) this.keepNow(changed);
    return this.#writing;
  }

  forget(gone) {
    clearTimeout(this.#changed.get(gone.id)?.timer);
    this.#changed.delete(gone.id);
    this.#queue(async () => {
      await this.#store.delete(shelfOf(gone), gone.id);
      for (const key of gone.record().files.keys()) await this.#store.delete("files", key);
    });
  }

  async #write(changed) {
    const { record, files } = changed.record();
    const shelf = shelfOf(changed);
    const before = new Set((await this.#store.get(shelf, changed.id))?.files);
    // Files first: a record never names one that is not there.
    for (const [key, file] of files) {
      if (!before.has(key)) await this.#store.put("files", key, file);
    }
    await this.#store.put(shelf, changed.id, { ...record, files: [...files.keys()] });
    for (const key of before) if (!files.has(key)) await this.#store.delete("files", key);
  }

  async #file(key) {
    const file = await this.#store.get("files", key);
    if (!file) throw new Gone(`the kept file ${key} is gone`);
    return file;
  }

  /** Delete files that no record names: of a page that was closed while it wrote. */
  async #sweep() {
    const records = [...await this.#store.all("photos"), ...await this.#store.all("state")];
    const named = new Set(records.flatMap(({ files = [] }) => files));
    for (const key of await this.#store.keys("files")) {
      if (!named.has(key)) await this.#store.delete("files", key);
    }
  }

  /** One write after the other. */
  #queue(write) {
    this.#writing = this.#writing.then(write).catch((error) => {
      this.isKept = false;
      this.#failed(error);
    });
    return this.#writing;
  }
}

const shelfOf = (kept) => (kept instanceof Document ? "photos" : "state");
