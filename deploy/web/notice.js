// What went wrong and what to do about it, in words, in one place of the page.

import { Unread } from "./keep/session.js";
import { Trouble } from "./photo.js";
import { say } from "./words.js";

const CONFIRMED_MS = 2500;

export class Notice {
  #root;
  #text;
  #hint;
  #id;
  #timer = null;

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

  /** Gives note(name, error) for several photos: what goes wrong with one hides no other's. */
  several() {
    const failed = [];
    return (name, error) => {
      failed.push([name, error]);
      this.show(together(failed));
    };
  }

  show(error) {
    const known = error instanceof Trouble;
    // A bug: it belongs in the console, and the page goes on.
    if (!known) console.error(error);
    this.#put(known ? error.message : say("bug"), known ? error.hint : say("bug-hint"));
    if (known && error.requestId) this.#id.textContent = say("request", { id: error.requestId });
  }

  /** Say something good, for a moment. */
  confirm(text) {
    this.#put(text, "");
    this.#root.classList.add("good");
    this.#timer = setTimeout(() => this.hide(), CONFIRMED_MS);
  }

  /** Say something that is no failure, until it is closed. */
  inform(text, more) {
    this.#put(text, more);
    this.#root.classList.add("good");
  }

  /** Say that work could not be kept, or that what was kept cannot be read now. */
  showUnkept(error) {
    console.warn(error);
    this.show(error instanceof Unread
      ? new Trouble(say("unread", { name: error.message }), say("unread-hint"))
      : new Trouble(say("not-kept"), say("not-kept-hint")));
  }

  /** Say why work is not there after a reload, where it is not: see keep/session.js. */
  informOfKeeping({ isKept, isElsewhere }) {
    if (isElsewhere) this.inform(say("elsewhere"), say("elsewhere-hint"));
    else if (!isKept) this.inform(say("not-kept"), say("not-kept-hint"));
  }

  hide() {
    clearTimeout(this.#timer);
    this.#root.hidden = true;
  }

  #put(text, hint) {
    clearTimeout(this.#timer);
    this.#root.classList.remove("good");
    this.#text.textContent = text;
    this.#hint.textContent = hint;
    this.#id.textContent = "";
    this.#root.hidden = false;
  }
}

/** Several errors as one, each with the names of the photos: what happened to many is said once. */
function together(failed) {
  const bug = failed.find(([, error]) => !(error instanceof Trouble));
  if (bug) return bug[1];
  const texts = new Map();
  for (const [name, { message }] of failed) {
    const names = texts.get(message) ?? [];
    texts.set(message, message.includes(name) ? names : [...names, name]);
  }
  const said = [...texts].map(([text, names]) => [names.join(", "), text].filter(Boolean).join(": "));
  const hints = new Set(failed.map(([, { hint }]) => hint).filter(Boolean));
  const id = failed.length === 1 ? failed[0][1].requestId : "";
  return new Trouble(said.join(" "), [...hints].join(" "), id);
}
