// What went wrong and what to do about it, in words, in one place of the page.

import { Trouble } from "./photo.js";

export class Notice {
  #root;
  #text;
  #hint;
  #id;

  constructor(root) {
    this.#root = root;
    this.#text = root.querySelector(".notice-text");
    this.#hint = root.querySelector(".notice-hint");
    this.#id = root.querySelector(".notice-id");
    root.querySelector("button").addEventListener("click", () => this.hide());
  }

  /** Do something and show what goes wrong; what the person cancelled is no error. */
  async watch(work, cancelled) {
    this.hide();
    try {
      await work();
    } catch (error) {
      if (error.name === "AbortError") cancelled();
      else this.show(error);
    }
  }

  show(error) {
    const known = error instanceof Trouble;
    // A bug: it belongs in the console, and the page goes on.
    if (!known) console.error(error);
    this.#text.textContent = known ? error.message : "Something failed that should not have.";
    this.#hint.textContent = known ? error.hint : "Reload the page and try again.";
    this.#id.textContent = known && error.requestId ? `Request ${error.requestId}` : "";
    this.#root.hidden = false;
  }

  hide() {
    this.#root.hidden = true;
  }
}
