// A picture in a stage of any size: how large and where it is shown; knows not what is drawn.

const MAX_SCALE = 40;
const MARGIN = 16;

export class View {
  #canvas;
  #draw;
  #queued = false;
  // Whether the person has not moved the picture: then it is fitted again when the stage changes.
  #fitted = true;

  /**
   * `draw(context, view)` is called with a context in CSS pixels of the stage,
   * `moved()` after every change of scale or place.
   */
  constructor(stage, canvas, { draw, moved = () => {} }) {
    this.stage = stage;
    this.#canvas = canvas;
    this.#draw = draw;
    this.moved = moved;
    this.width = 1;
    this.height = 1;
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    new ResizeObserver(() => this.#resize()).observe(stage);
  }

  /** The picture's size in pixels; another size is fitted to the stage. */
  setPicture(width, height) {
    if (width === this.width && height === this.height) return this.redraw();
    this.width = width;
    this.height = height;
    this.fit();
  }

  get fitScale() {
    const across = (this.stage.clientWidth - 2 * MARGIN) / this.width;
    const down = (this.stage.clientHeight - 2 * MARGIN) / this.height;
    // A small picture is not blown up beyond recognition.
    return Math.max(0.001, Math.min(across, down, 4));
  }

  fit() {
    this.#fitted = true;
    this.#place(
      this.fitScale,
      (this.stage.clientWidth - this.width * this.fitScale) / 2,
      (this.stage.clientHeight - this.height * this.fitScale) / 2,
    );
  }

  /** Scale by a factor; what is at (x, y) of the stage stays there. */
  zoom(factor, x = this.stage.clientWidth / 2, y = this.stage.clientHeight / 2) {
    const least = Math.min(1, this.fitScale) / 2;
    const scale = Math.min(MAX_SCALE, Math.max(least, this.scale * factor));
    const real = scale / this.scale;
    this.#fitted = false;
    this.#place(scale, x - (x - this.x) * real, y - (y - this.y) * real);
  }

  pan(dx, dy) {
    this.#fitted = false;
    this.#place(this.scale, this.x + dx, this.y + dy);
  }

  /** From the stage's CSS pixels to the picture's pixels. */
  toPicture(x, y) {
    return { x: (x - this.x) / this.scale, y: (y - this.y) / this.scale };
  }

  toStage(x, y) {
    return { x: x * this.scale + this.x, y: y * this.scale + this.y };
  }

  /** Move the picture so that this point of it is seen. */
  reveal(x, y) {
    const at = this.toStage(x, y);
    const inside = (value, size) => Math.min(size - MARGIN, Math.max(MARGIN, value)) - value;
    const dx = inside(at.x, this.stage.clientWidth);
    const dy = inside(at.y, this.stage.clientHeight);
    if (dx || dy) this.pan(dx, dy);
  }

  /** The part of the picture that is on the stage, in its pixels. */
  get seen() {
    const { clientWidth, clientHeight } = this.stage;
    const [from, to] = [this.toPicture(0, 0), this.toPicture(clientWidth, clientHeight)];
    const x = Math.max(0, from.x);
    const y = Math.max(0, from.y);
    return { x, y, width: Math.min(this.width, to.x) - x, height: Math.min(this.height, to.y) - y };
  }

  redraw() {
    if (this.#queued) return;
    this.#queued = true;
    requestAnimationFrame(() => this.#paint());
  }

  #place(scale, x, y) {
    this.scale = scale;
    // Some of the picture stays in sight.
    this.x = Math.min(this.stage.clientWidth - 40, Math.max(40 - this.width * scale, x));
    this.y = Math.min(this.stage.clientHeight - 40, Math.max(40 - this.height * scale, y));
    this.moved();
    this.redraw();
  }

  #resize() {
    if (this.stage.clientWidth === 0) return;
    if (this.#fitted) this.fit();
    else this.#place(this.scale, this.x, this.y);
  }

  #paint() {
    this.#queued = false;
    const density = window.devicePixelRatio || 1;
    const width = Math.round(this.stage.clientWidth * density);
    const height = Math.round(this.stage.clientHeight * density);
    if (width === 0 || height === 0) return;
    if (this.#canvas.width !== width || this.#canvas.height !== height) {
      this.#canvas.width = width;
      this.#canvas.height = height;
    }
    const context = this.#canvas.getContext("2d");
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = this.scale < 4;
    context.imageSmoothingQuality = "high";
    this.#draw(context, this);
  }
}

/** Draw a picture where the view shows it; `box` is its place on the view's picture, or all of it. */
export function drawPicture(context, view, picture, box = null) {
  const { x, y, width, height, scale } = view;
  const place = box ?? { x: 0, y: 0, width, height };
  context.drawImage(
    picture, x + place.x * scale, y + place.y * scale, place.width * scale, place.height * scale,
  );
}
