// Before and after in one stage, with a divider to drag; works by mouse, finger and keys.

import { say } from "./words.js";

const KEYS = {
  ArrowLeft: (at) => at - 0.02,
  ArrowDown: (at) => at - 0.02,
  ArrowRight: (at) => at + 0.02,
  ArrowUp: (at) => at + 0.02,
  PageDown: (at) => at - 0.2,
  PageUp: (at) => at + 0.2,
  Home: () => 0,
  End: () => 1,
};

export class Comparison {
  #handle;
  #labels;
  // Of the part of the picture that is seen, from its left edge: 0-1.
  #at = 0.5;
  #view = null;

  /** `handle` is an element with role slider in the stage, `labels` the names of the two sides. */
  constructor(handle, labels) {
    this.#handle = handle;
    this.#labels = labels;
    this.shown = false;
    handle.addEventListener("keydown", (event) => this.#key(event));
  }

  attach(view) {
    this.#view = view;
  }

  /** Show or hide the divider; draw() is for when it is shown. */
  show(shown) {
    if (shown && !this.shown) this.#at = 0.5;
    this.shown = shown;
    this.#handle.hidden = !shown;
    this.#labels.hidden = !shown;
    this.place();
  }

  /** Put the divider to this x of the stage. */
  moveTo(x) {
    const [left, right] = this.#span();
    this.#set((x - left) / (right - left));
  }

  /** `before()` and `after()` draw one side each, on the whole stage. */
  draw(context, before, after) {
    const x = this.#x();
    const { clientWidth, clientHeight } = this.#view.stage;
    after();
    context.save();
    context.beginPath();
    context.rect(0, 0, x, clientHeight);
    context.clip();
    context.clearRect(0, 0, clientWidth, clientHeight);
    before();
    context.restore();
  }

  /** Put the handle where it belongs in the view as it is now. */
  place() {
    if (!this.shown || this.#view === null) return;
    const percent = Math.round(this.#at * 100);
    this.#handle.style.left = `${this.#x()}px`;
    this.#handle.setAttribute("aria-valuenow", String(percent));
    this.#handle.setAttribute("aria-valuetext", say("divider-at", { before: percent, after: 100 - percent }));
  }

  #set(at) {
    this.#at = Math.min(1, Math.max(0, at));
    this.place();
    this.#view.redraw();
  }

  #key(event) {
    const move = KEYS[event.key];
    if (move === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.#set(move(this.#at));
  }

  #x() {
    const [left, right] = this.#span();
    return left + this.#at * (right - left);
  }

  /** Left and right edge of what is seen of the picture. */
  #span() {
    const { x, width, scale, stage } = this.#view;
    const left = Math.max(0, x);
    return [left, Math.max(left + 1, Math.min(stage.clientWidth, x + width * scale))];
  }
}
