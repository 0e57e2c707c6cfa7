// A place for one picture: chosen, dropped or taken from the samples, seen, and taken out again.

import { filesFrom, fromDrop, fromSamples } from "./sources.js";
import { say } from "./words.js";

export class Well {
  #part;
  #word;
  #name = "";

  /**
   * `part(name)` finds an element of it; `word` names its picture for those who do not see it.
   * `take(file, name)` and `close()` are called; `failed(error)` where a sample is not there.
   */
  constructor(part, word, { samples, take, close, failed }) {
    this.#part = part;
    this.#word = word;
    filesFrom(part("open"), ([first]) => take(...first));
    fromDrop(part("well"), ([first]) => take(...first));
    fromSamples(part("samples"), samples, { take, failed });
    part("close").textContent = "×";
    part("close").addEventListener("click", close);
  }

  /** Show a picture, or none. */
  put(photo) {
    const picture = this.#part("picture");
    URL.revokeObjectURL(picture.src);
    this.#name = photo?.name ?? "";
    picture.hidden = photo === null;
    this.#part("close").hidden = photo === null;
    if (photo === null) picture.removeAttribute("src");
    else picture.src = URL.createObjectURL(photo.shown);
    this.name();
  }

  /** Name it in the language of the page. */
  name() {
    const close = this.#part("close");
    this.#part("picture").alt = say(this.#word, { name: this.#name });
    close.title = say("close-photo", { name: this.#name });
    close.setAttribute("aria-label", close.title);
  }

  focus() {
    this.#part("well").querySelector("input").focus();
  }
}
