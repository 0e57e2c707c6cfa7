// A photo with a hole that is painted on it: stage, tools, steps; knows no service and no buttons.

import { Gestures } from "./gestures.js";
import { History } from "./history.js";
import { drawCross, drawOutline, drawRing } from "./marks.js";
import { Mask, mayHaveHole } from "./mask.js";
import { brushLimits, TOOLS } from "./tools.js";
import { drawPicture, View } from "./view.js";

// Of a press of an arrow key, in CSS pixels; with Shift the first.
const KEY_STEPS = [1, 12];

export class Editor {
  #comparison;
  #history = new History();
  #original = null;
  #mask = null;
  #shape = null;
  // In the picture's pixels, where keys paint; null while the mouse does.
  #cursor = null;
  #hover = null;
  #peeking = false;

  /** `changed()` follows every change; `said(text)` is for who cannot see it. */
  constructor(stage, canvas, { comparison, changed, said }) {
    this.#comparison = comparison;
    this.changed = changed;
    this.said = said;
    this.tool = "brush";
    this.size = 40;
    // While something is made of the mask, it stays as it is.
    this.locked = false;
    this.view = new View(stage, canvas, {
      draw: (context) => this.#draw(context),
      moved: () => { comparison.place(); changed(); },
    });
    comparison.attach(this.view);
    new Gestures(this.view, this);
    stage.addEventListener("keydown", (event) => this.#key(event));
    stage.addEventListener("blur", () => this.#dropCursor());
  }

  /** Begin with a photo; steps made on the one before are forgotten. */
  open(photo) {
    this.#close(this.#history.steps);
    this.#original?.bitmap.close();
    this.#history = new History();
    this.#original = photo;
    this.#mask = new Mask(photo.width, photo.height);
    this.#shape = null;
    this.#cursor = null;
    this.size = this.limits.first;
    this.view.setPicture(photo.width, photo.height);
    this.view.fit();
    this.compare(false);
  }

  /** The photo as filled so far; null before one is open. */
  get photo() {
    return this.#history.steps.findLast((step) => step.kind === "fill")?.photo ?? this.#original;
  }

  get original() {
    return this.#original;
  }

  get limits() {
    return brushLimits(Math.max(this.#original.width, this.#original.height));
  }

  get hasHole() {
    return mayHaveHole(this.#history.steps);
  }

  get isFilled() {
    return this.photo !== this.#original;
  }

  get isComparing() {
    return this.#comparison.shown;
  }

  get canUndo() {
    return this.#history.canUndo;
  }

  get canRedo() {
    return this.#history.canRedo;
  }

  maskBlob() {
    return this.#mask.toBlob();
  }

  /** Do a step; see mask.js. */
  add(step) {
    this.#close(this.#history.add(step));
    this.#mask.replay(this.#history.steps);
    if (step.kind === "fill") this.view.setPicture(step.photo.width, step.photo.height);
    this.#update();
  }

  undo() {
    if (this.locked) return;
    this.#revise(this.#history.undo());
  }

  redo() {
    if (this.locked) return;
    this.#revise(this.#history.redo());
  }

  setTool(tool) {
    this.cancel();
    this.tool = tool;
    this.compare(false);
  }

  setSize(size) {
    const { least, most } = this.limits;
    this.size = Math.min(most, Math.max(least, size));
    this.#update();
  }

  /** A step larger (1) or smaller (-1). */
  resize(direction) {
    const next = this.size * 1.15 ** direction;
    this.setSize(direction > 0 ? Math.ceil(next) : Math.floor(next));
  }

  /** Show before and after with the divider, or the hole and the brush. */
  compare(shown) {
    this.#comparison.show(shown && this.isFilled);
    this.#update();
  }

  /** Show the photo as it was opened, until it is called with false. */
  peek(shown) {
    this.#peeking = shown && this.isFilled;
    this.view.stage.classList.toggle("peeking", this.#peeking);
    this.view.redraw();
  }

  // What Gestures calls.

  begin(point) {
    if (this.isComparing) return this.#comparison.moveTo(point.x);
    this.#cursor = null;
    this.#begin({ ...this.view.toPicture(point.x, point.y), pressure: point.pressure });
  }

  move(point) {
    if (this.isComparing) return this.#comparison.moveTo(point.x);
    this.#move({ ...this.view.toPicture(point.x, point.y), pressure: point.pressure });
  }

  end() {
    const step = this.#shape?.step ?? null;
    this.#shape = null;
    if (step !== null) this.add(step);
    else this.view.redraw();
  }

  cancel() {
    if (this.#shape === null) return;
    this.#shape = null;
    this.#mask.replay(this.#history.steps);
    this.view.redraw();
  }

  hover(point) {
    this.#hover = point;
    this.view.redraw();
  }

  #begin(point) {
    if (this.#original === null || this.locked) return;
    this.#shape = TOOLS[this.tool](point, this.size);
    this.#paintNew(0);
  }

  #move(point) {
    if (this.#shape === null) return;
    this.#shape.move(point);
    this.#paintNew(this.#shape.step?.points.length - 1);
  }

  #paintNew(from) {
    if (this.#shape.outline === null) this.#mask.extend(this.#shape.step, from);
    this.view.redraw();
  }

  #key(event) {
    if (event.target !== this.view.stage || event.ctrlKey || event.metaKey) return;
    const [dx, dy] = ARROWS[event.key] ?? [0, 0];
    if (dx || dy) this.#moveCursor(dx, dy, KEY_STEPS[event.shiftKey ? 0 : 1]);
    else if (event.key === "Enter") this.#pen();
    else if (event.key === "Escape" && this.#shape) this.cancel();
    else if (event.key === "Escape") this.view.fit();
    else return;
    event.preventDefault();
  }

  #moveCursor(dx, dy, step) {
    if (this.isComparing) return this.view.pan(-dx * step, -dy * step);
    const { x, y } = this.#cursor ?? this.#middle();
    const far = step / this.view.scale;
    const inside = (value, size) => Math.min(size, Math.max(0, value));
    this.#cursor = {
      x: inside(x + dx * far, this.photo.width),
      y: inside(y + dy * far, this.photo.height),
    };
    this.#move({ ...this.#cursor, pressure: 1 });
    this.view.reveal(this.#cursor.x, this.#cursor.y);
    this.view.redraw();
  }

  /** Put the pen down where the cursor is, or lift it. */
  #pen() {
    if (this.isComparing || this.locked) return;
    this.#cursor ??= this.#middle();
    const at = `${Math.round(this.#cursor.x)}, ${Math.round(this.#cursor.y)}`;
    if (this.#shape) {
      this.end();
      this.said(`Lifted at ${at}`);
    } else {
      this.#begin({ ...this.#cursor, pressure: 1 });
      this.said(`Painting from ${at}: arrow keys move, Enter ends`);
    }
  }

  #middle() {
    const { clientWidth, clientHeight } = this.view.stage;
    return this.view.toPicture(clientWidth / 2, clientHeight / 2);
  }

  #dropCursor() {
    if (this.#cursor !== null) this.end();
    this.#cursor = null;
  }

  #revise(step) {
    if (step === null) return;
    this.#shape = null;
    this.#mask.replay(this.#history.steps);
    if (step.kind === "fill" || !this.isFilled) this.#comparison.show(false);
    this.#update();
  }

  #close(steps) {
    for (const step of steps) step.photo?.bitmap.close();
  }

  #update() {
    this.view.redraw();
    this.changed();
  }

  #draw(context) {
    if (this.#original === null) return;
    if (this.isComparing && !this.#peeking) {
      return this.#comparison.draw(context, this.#original.bitmap, this.photo.bitmap);
    }
    drawPicture(context, this.view, (this.#peeking ? this.#original : this.photo).bitmap);
    if (this.#peeking) return;
    this.#mask.show(context, this.view);
    if (this.#shape?.outline) drawOutline(context, this.view, this.#shape.outline);
    const at = this.#cursor ? this.view.toStage(this.#cursor.x, this.#cursor.y) : this.#hover;
    if (at === null) return;
    const paints = this.tool === "brush" || this.tool === "eraser";
    if (paints) drawRing(context, at, this.size * this.view.scale);
    if (!paints || this.#cursor) drawCross(context, at);
  }
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
