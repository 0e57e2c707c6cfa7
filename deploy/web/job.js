// One request that takes a while: how long it has been going on, and a button that ends it.

export class Job {
  #root;
  #text;
  #controller = null;
  #verb;

  /** `root` holds the progress, a text and a button; `verb` is such as "Filling". */
  constructor(root, verb) {
    this.#root = root;
    this.#verb = verb;
    this.#text = root.querySelector(".job-text");
    root.querySelector("button").addEventListener("click", () => this.cancel());
  }

  get isRunning() {
    return this.#controller !== null;
  }

  cancel() {
    this.#controller?.abort(new DOMException("cancelled", "AbortError"));
  }

  /** Run `work({ signal, waiting })` and give what it gives; one at a time. */
  async run(work) {
    this.#controller = new AbortController();
    const started = performance.now();
    let busy = "";
    const tell = () => {
      const seconds = Math.round((performance.now() - started) / 1000);
      this.#text.textContent = `${this.#verb} … ${seconds} s${busy}`;
    };
    tell();
    this.#root.hidden = false;
    // The button that was pressed is disabled meanwhile; this is what is left to do.
    this.#root.querySelector("button").focus();
    const timer = setInterval(tell, 500);
    const waiting = (seconds) => {
      busy = `, the service is busy: trying again every ${seconds} s`;
      tell();
    };
    try {
      return await work({ signal: this.#controller.signal, waiting });
    } finally {
      clearInterval(timer);
      this.#root.hidden = true;
      this.#controller = null;
    }
  }
}
