// The steps made on one photo, to be undone and redone; knows not what a step does.

export class History {
  #steps;
  #count;

  /** With steps of an earlier visit; the first `count` of them are in force. */
  constructor(steps = [], count = steps.length) {
    this.#steps = steps;
    this.#count = count;
  }

  /** Steps that are in force, oldest first. */
  get steps() {
    return this.#steps.slice(0, this.#count);
  }

  /** All of them, also those that were taken back. */
  get all() {
    return [...this.#steps];
  }

  get count() {
    return this.#count;
  }

  get canUndo() {
    return this.#count > 0;
  }

  get canRedo() {
    return this.#count < this.#steps.length;
  }

  /** Add a step, and give those that can no longer be redone. */
  add(step) {
    const lost = this.#steps.splice(this.#count);
    this.#steps.push(step);
    this.#count += 1;
    return lost;
  }

  /** Take back the newest step and give it; null when there is none. */
  undo() {
    if (!this.canUndo) return null;
    this.#count -= 1;
    return this.#steps[this.#count];
  }

  redo() {
    if (!this.canRedo) return null;
    this.#count += 1;
    return this.#steps[this.#count - 1];
  }

  /** Put another step in the place of one. */
  replace(step, other) {
    this.#steps[this.#steps.indexOf(step)] = other;
  }

  /** As if it had never been made: what it made lost can be redone, if nothing was done since. */
  remove(step, lost = []) {
    const at = this.#steps.indexOf(step);
    this.#steps.splice(at, 1);
    if (at < this.#count) this.#count -= 1;
    if (at === this.#steps.length) this.#steps.push(...lost);
  }
}
