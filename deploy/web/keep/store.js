// Values and files by key, in the browser's IndexedDB or, where that is closed, in memory.

const NAME = "kintsugi";
const SHELVES = ["photos", "files", "state"];
const LOCK = "kintsugi.work";

/** Open the store; another tab that has it keeps it, and this one works in memory: `isElsewhere`. */
export async function openStore() {
  if (!(await isFirst())) return new Memory(true);
  try {
    return new Store(await openDatabase());
  } catch (error) {
    // As in private windows, or with the disk full: work goes on, and is said to be unkept.
    console.warn(error);
    return new Memory(false);
  }
}

class Store {
  #database;
  // Whether what is put here is there after the page was closed.
  lasting = true;
  isElsewhere = false;

  constructor(database) {
    this.#database = database;
  }

  get(shelf, key) {
    return this.#do(shelf, "readonly", (objects) => objects.get(key));
  }

  all(shelf) {
    return this.#do(shelf, "readonly", (objects) => objects.getAll());
  }

  keys(shelf) {
    return this.#do(shelf, "readonly", (objects) => objects.getAllKeys());
  }

  put(shelf, key, value) {
    return this.#do(shelf, "readwrite", (objects) => objects.put(value, key));
  }

  delete(shelf, key) {
    return this.#do(shelf, "readwrite", (objects) => objects.delete(key));
  }

  #do(shelf, mode, ask) {
    return new Promise((resolve, reject) => {
      const transaction = this.#database.transaction(shelf, mode);
      const request = ask(transaction.objectStore(shelf));
      transaction.addEventListener("complete", () => resolve(request.result));
      const fail = () => reject(transaction.error ?? request.error);
      transaction.addEventListener("error", fail);
      transaction.addEventListener("abort", fail);
    });
  }
}

class Memory {
  #shelves = new Map(SHELVES.map((shelf) => [shelf, new Map()]));
  lasting = false;

  /** `isElsewhere`: what is kept is with another tab. */
  constructor(isElsewhere) {
    this.isElsewhere = isElsewhere;
  }

  async get(shelf, key) {
    return this.#shelves.get(shelf).get(key);
  }

  async all(shelf) {
    return [...this.#shelves.get(shelf).values()];
  }

  async keys(shelf) {
    return [...this.#shelves.get(shelf).keys()];
  }

  async put(shelf, key, value) {
    this.#shelves.get(shelf).set(key, value);
  }

  async delete(shelf, key) {
    this.#shelves.get(shelf).delete(key);
  }
}

function openDatabase() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.addEventListener("upgradeneeded", () => {
      for (const shelf of SHELVES) request.result.createObjectStore(shelf);
    });
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error));
    request.addEventListener("blocked", () => reject(new Error("the store is in use")));
  });
}

/** Whether no other tab of this page works with the store; browsers have locks over https alone. */
function isFirst() {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    // A page that is reloaded lets go a moment after the new one has asked.
    const patience = AbortSignal.timeout(1500);
    navigator.locks.request(LOCK, { signal: patience }, () => {
      resolve(true);
      // Until this tab is closed.
      return new Promise(() => {});
    }).catch(() => resolve(false));
  });
}
