// The stage on which a hole is painted on one photo: tools, keys, what is drawn; knows no service.

import { Gestures } from "./gestures.js";
import { drawCross, drawOutline, drawRing, drawSeeds } from "./marks.js";
import { drawSent } from "./mask.js";
import { brushLimits, TOOLS } from "./tools.js";
import { drawPicture, View } from "./view.js";
import { say } from "./words.js";

// Of a press of an arrow key, in CSS pixels; with Shift the first.
const KEY_STEPS = [1, 12];
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Editor {
  #comparison;
  #document = null;
  #shape = null;
  // In the picture's pixels, where keys paint; null while the mouse does.
  #cursor = null;
  #hover = null;
  #peeking = false;

  /**
   * `changed()` follows every change, `painted()` every stroke that has ended, `resized()` a change
   * of the brush's size, and `select(shape)` a shape of the tool that selects; `said(text)` is for
   * who cannot see it.
   */
  constructor(stage, canvas, { comparison, changed, painted, resized, select, said }) {
    this.#comparison = comparison;
    this.changed = changed;
    this.painted = painted;
    this.resized = resized;
    this.select = select;
    this.said = said;
    this.tool = "brush";
    this.size = 40;
    // 0-1: how much of the brush, from its middle, is hard.
    this.hardness = 1;
    this.feather = 0;
    this.takesAway = false;
    this.view = new View(stage, canvas, {
      draw: (context) => this.#draw(context),
      moved: () => { comparison.place(); changed(); },
    });
    comparison.attach(this.view);
    new Gestures(this.view, this);
    stage.addEventListener("keydown", (event) => this.#key(event));
    stage.addEventListener("blur", () => this.#dropCursor());
  }

  get document() {
    return this.#document;
  }

  /** Show another photo, or none; its pictures are decoded. */
  show(shown) {
    this.#shape = null;
    this.#cursor = null;
    this.#document = shown;
    this.#comparison.show(false);
    if (shown !== null) {
      this.size = shown.size ?? this.limits.first;
      this.view.setPicture(shown.photo.width, shown.photo.height);
      this.view.fit();
    }
    this.#update();
  }

  get limits() {
    const { width, height } = this.#document.original;
    return brushLimits(Math.max(width, height));
  }

  get isComparing() {
    return this.#comparison.shown;
  }

  /** Do a step; see document.js. */
  add(step) {
    this.#document.add(step);
    this.refresh();
  }

  undo() {
    this.#revise(this.#document.undo());
  }

  redo() {
    this.#revise(this.#document.redo());
  }

  /** Bring the stage to what the photo has become. */
  refresh() {
    const { photo, isFilled } = this.#document;
    this.view.setPicture(photo.width, photo.height);
    if (!isFilled) this.#comparison.show(false);
    if (photo.picture === null) photo.load().then(() => this.view.redraw());
    this.#update();
  }

  setTool(tool) {
    this.cancel();
    this.tool = tool;
    this.compare(false);
  }

  setSize(size) {
    const { least, most } = this.limits;
    this.size = Math.min(most, Math.max(least, size));
    this.#document.size = this.size;
    this.#update();
    this.resized();
  }

  /** A step larger (1) or smaller (-1). */
  resize(direction) {
    const next = this.size * 1.15 ** direction;
    this.setSize(direction > 0 ? Math.ceil(next) : Math.floor(next));
  }

  /** Show before and after with the divider, or the hole and the brush. */
  compare(shown) {
    this.#comparison.show(shown && this.#document.isFilled);
    this.#update();
  }

  /** Show the photo as it was opened, until it is called with false. */
  peek(shown) {
    this.#peeking = shown && this.#document !== null && this.#document.isFilled;
    this.view.stage.classList.toggle("peeking", this.#peeking);
    this.view.redraw();
  }

  // What Gestures calls.

  begin(point, event) {
    if (this.isComparing) return this.#comparison.moveTo(point.x);
    this.#cursor = null;
    this.#begin({ ...this.view.toPicture(point.x, point.y), pressure: point.pressure }, event.altKey);
  }

  move(point) {
    if (this.isComparing) return this.#comparison.moveTo(point.x);
    this.#move({ ...this.view.toPicture(point.x, point.y), pressure: point.pressure });
  }

  end() {
    const shape = this.#shape;
    this.#shape = null;
    if (shape?.selects) return this.#select(shape);
    const step = shape?.step ?? null;
    if (step === null) return this.view.redraw();
    this.add(step);
    this.painted(step);
  }

  cancel() {
    if (this.#shape === null) return;
    this.#shape = null;
    this.#document.wake();
    this.view.redraw();
  }

  hover(point) {
    this.#hover = point;
    this.view.redraw();
  }

  #begin(point, other = false) {
    if (this.#document === null) return;
    const soft = Math.round((1 - this.hardness) * this.size / 2);
    const takesAway = other !== this.takesAway;
    this.#shape = TOOLS[this.tool](point, { size: this.size, soft, takesAway });
    this.#paintNew(0);
  }

  #move(point) {
    if (this.#shape === null) return;
    this.#shape.move(point);
    this.#paintNew(this.#shape.step?.points.length - 1);
  }

  #paintNew(from) {
    if (this.#shape.outline === null) this.#document.mask.extend(this.#shape.step, from);
    this.view.redraw();
  }

  #select(shape) {
    this.view.redraw();
    // A finger is never quite still.
    this.select(shape, shape.length * this.view.scale < 8);
  }

  #key(event) {
    if (event.target !== this.view.stage || event.ctrlKey || event.metaKey) return;
    const [dx, dy] = ARROWS[event.key] ?? [0, 0];
    if (dx || dy) this.#moveCursor(dx, dy, KEY_STEPS[event.shiftKey ? 0 : 1]);
    else if (event.key === "Enter") this.#pen(event.altKey);
    else if (event.key === "Escape" && this.#shape) this.cancel();
    else if (event.key === "Escape") this.view.fit();
    else return;
    event.preventDefault();
  }

  #moveCursor(dx, dy, step) {
    if (this.isComparing) return this.view.pan(-dx * step, -dy * step);
    const { x, y } = this.#cursor ?? this.#middle();
    const far = step / this.view.scale;
    const { width, height } = this.#document.photo;
    const inside = (value, size) => Math.min(size, Math.max(0, value));
    this.#cursor = { x: inside(x + dx * far, width), y: inside(y + dy * far, height) };
    this.#move({ ...this.#cursor, pressure: 1 });
    this.view.reveal(this.#cursor.x, this.#cursor.y);
    this.view.redraw();
  }

  /** Put the pen down where the cursor is, or lift it; what selects is put down twice for a drag. */
  #pen(other) {
    if (this.isComparing) return;
    this.#cursor ??= this.#middle();
    const at = { x: Math.round(this.#cursor.x), y: Math.round(this.#cursor.y) };
    if (this.#shape) {
      this.end();
      this.said(say("pen-lifted", at));
    } else {
      this.#begin({ ...this.#cursor, pressure: 1 }, other);
      this.said(say("pen-down", at));
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
    if (step.photo) this.#comparison.show(false);
    this.refresh();
  }

  #update() {
    this.view.redraw();
    this.changed();
  }

  #draw(context) {
    const shown = this.#document;
    if (shown === null || shown.original.picture === null) return;
    const before = (box = shown.originalBox) => {
      drawPicture(context, this.view, shown.original.picture, box);
    };
    const after = () => drawPicture(context, this.view, shown.photo.picture ?? shown.original.picture);
    if (this.#peeking) return before();
    if (this.isComparing) return this.#comparison.draw(context, before, after);
    after();
    if (shown.sent?.shown) drawSent(context, this.view, shown.sent.shown);
    shown.mask.show(context, this.view, Math.max(this.feather, shown.softness));
    this.#drawTool(context);
  }

  #drawTool(context) {
    const { lastStep } = this.#document;
    if (this.tool === "select" && lastStep?.kind === "region") {
      drawSeeds(context, this.view, lastStep.clicks);
    }
    if (this.#shape?.outline) drawOutline(context, this.view, this.#shape.outline);
    const at = this.#cursor ? this.view.toStage(this.#cursor.x, this.#cursor.y) : this.#hover;
    if (at === null) return;
    const paints = this.tool === "brush" || this.tool === "eraser";
    const across = this.size * this.view.scale;
    if (paints) drawRing(context, at, across);
    if (paints && this.hardness < 1) drawRing(context, at, across * this.hardness);
    if (!paints || this.#cursor) drawCross(context, at);
  }
}
