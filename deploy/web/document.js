// One photo with all that was done to it, as it is kept and sent; knows no screen and no service.

import { History } from "./history.js";
import { emptiedAt, isErased, Mask, mayHaveHole, softnessOf } from "./mask.js";
import { fileKey, Photo } from "./photo.js";

/**
 * Steps are those of mask.js and of pictures:
 * { kind: "fill", photo, again } an answer; `again`: another one for the hole of the one before,
 * { kind: "expand", photo, left, top, width, height } a larger canvas, on which the photo before
 *   is at left and top with its width and height,
 * { kind: "sent", key, shown, erased, again } a hole that is being filled; painting goes on
 *   meanwhile.
 */
export class Document {
  #history;
  // What can no longer be redone since something was sent.
  #lost = [];

  constructor(original, { id = fileKey(), steps = [], count = steps.length, kept = true } = {}) {
    this.id = id;
    this.original = original;
    this.#history = new History(steps, count);
    // Whether the newest answer was downloaded or copied.
    this.kept = kept;
    this.size = null;
    this.mask = new Mask(original.width, original.height);
    this.#replay();
  }

  get name() {
    return this.original.name;
  }

  /** The photo as filled so far. */
  get photo() {
    return this.#history.steps.findLast((step) => step.photo)?.photo ?? this.original;
  }

  get isFilled() {
    return this.photo !== this.original;
  }

  get hasHole() {
    return mayHaveHole(this.#history.steps);
  }

  /** Pixels by which the brushes that painted the hole were soft. */
  get softness() {
    return softnessOf(this.#history.steps);
  }

  /** Whether the hole was erased: what fills it is opaque then. */
  get isErased() {
    return isErased(this.#history.steps);
  }

  get canUndo() {
    return this.#history.canUndo && this.#history.steps.at(-1).kind !== "sent";
  }

  get canRedo() {
    return this.#history.canRedo;
  }

  /** The step that is being filled; null when none is. */
  get sent() {
    return this.#history.all.find((step) => step.kind === "sent") ?? null;
  }

  get lastStep() {
    return this.#history.steps.at(-1) ?? null;
  }

  /** Where the photo as it was opened lies on the photo as it is now: { x, y, width, height }. */
  get originalBox() {
    const { width, height } = this.original;
    const box = { x: 0, y: 0, width, height };
    for (const step of this.#history.steps) {
      if (step.kind === "expand") [box.x, box.y] = [box.x + step.left, box.y + step.top];
    }
    return box;
  }

  add(step) {
    this.#lost = this.#history.add(step);
    for (const lost of this.#lost) lost.photo?.unload();
    if (step.photo) this.kept = false;
    this.#replay();
    this.#trim();
  }

  /** Take back a step, and give it; null where there is none to take back. */
  undo() {
    const step = this.canUndo ? this.#history.undo() : null;
    if (step !== null) this.#revised();
    return step;
  }

  redo() {
    const step = this.#history.redo();
    if (step !== null) this.#revised();
    return step;
  }

  /**
   * The hole as it is now goes to be filled: the mask is empty again.
   * `again`: the hole of the answer that is the last step; that stands until there is another.
   */
  send(key, again = false) {
    const { steps } = this.#history;
    const under = stepsBefore(steps, steps.length, again);
    const { mask } = this.#paint(under);
    const step = {
      kind: "sent", key, again, shown: mask.small(), pixels: mask.boxPixels(), erased: isErased(under),
    };
    mask.free();
    this.add(step);
    return step;
  }

  /** The answer to what was sent. */
  answer(step, photo) {
    this.#history.replace(step, { kind: "fill", photo, again: step.again });
    this.#lost = [];
    this.kept = false;
    this.#revised();
  }

  /**
   * What was sent comes to nothing: its hole is there again, with what was painted since; what
   * could be redone before can be, if nothing was.
   */
  withdraw(step) {
    this.#history.remove(step, this.#lost);
    this.#lost = [];
    this.#revised();
  }

  /** Decode what is seen of it. */
  async load() {
    await Promise.all([this.original.load(), this.photo.load()]);
  }

  /** Give back the memory of pictures; what is needed is decoded again. */
  unload() {
    this.original.unload();
    for (const step of this.#history.all) step.photo?.unload();
    this.mask.free();
  }

  /** Paint the hole again after unload(). */
  wake() {
    this.#replay();
  }

  /** What is kept of it: a record without files, and the files by their keys. */
  record() {
    const files = new Map();
    const steps = this.#history.all.map((step) => {
      const { photo, canvas, shown, blob, ...rest } = step;
      if (photo) return { ...rest, photo: photo.record(files) };
      if (!blob) return rest;
      step.file ??= fileKey();
      files.set(step.file, blob);
      return { ...rest, file: step.file };
    });
    const { id, kept, size } = this;
    const original = this.original.record(files);
    return { record: { id, kept, size, original, steps, count: this.#history.count }, files };
  }

  /** From a record; `read(key)` gives a file. */
  static async restore(record, read) {
    const original = await Photo.restore(record.original, read);
    const steps = await Promise.all(record.steps.map(async (step) => {
      if (step.photo) return { ...step, photo: await Photo.restore(step.photo, read) };
      if (!step.file) return step;
      const blob = await read(step.file);
      return { ...step, blob, canvas: await createImageBitmap(blob) };
    }));
    const made = new Document(original, { ...record, steps });
    made.size = record.size;
    // For the eye alone, so it was not kept.
    if (made.sent) made.sent.shown = made.before(made.sent).mask.small();
    return made;
  }

  /** The photo and the hole that an answer to a sent step is made of. */
  before(step) {
    const { all } = this.#history;
    return this.#paint(stepsBefore(all, all.indexOf(step), step.again));
  }

  #revised() {
    this.#replay();
    this.#trim();
  }

  #replay() {
    this.#paint(this.#history.steps, this.mask);
  }

  #paint(steps, mask = new Mask(0, 0)) {
    const from = emptiedAt(steps) + 1;
    const photoOf = (some) => some.findLast((step) => step.photo)?.photo ?? this.original;
    const { width, height } = photoOf(steps.slice(0, from));
    mask.replay(steps.slice(from), width, height);
    return { photo: photoOf(steps), mask };
  }

  /** Of many fills only those stay decoded that undo and redo reach next. */
  #trim() {
    const photos = this.#history.all.filter((step) => step.photo).map((step) => step.photo);
    const at = photos.indexOf(this.photo);
    photos.forEach((photo, index) => {
      if (Math.abs(index - at) > 1) photo.unload();
    });
  }
}

/** The steps before a place; for another answer, those before the first answer to its hole. */
function stepsBefore(steps, at, again) {
  let end = at;
  if (again) {
    do end -= 1; while (steps[end].again);
  }
  return steps.slice(0, end);
}
