// The hole as painted: steps to pixels, mask files in and out; knows no pointers and no history.

import { canvasToBlob, newCanvas, Trouble } from "./photo.js";
import { holeIn } from "./marked.js";
import { say } from "./words.js";

// Of the hole on the screen: the gold of mended cracks.
const COLOUR = [255, 186, 0];
const SHOWN_OPACITY = 0.62;
// Of what is shown while it is filled; the longer side.
const SMALL_SIDE = 1600;
const EMPTYING = ["clear", "fill", "sent"];

/**
 * Steps of a mask:
 * { kind: "stroke", erase, soft, points: [{ x, y, width }] } in pixels of the picture,
 * { kind: "area", points: [{ x, y }] } a closed shape,
 * { kind: "region", canvas, blob, x, y, width, height, clicks } what was selected, in this place;
 *   the one after it, with more clicks, replaces it,
 * { kind: "picture", canvas, blob, erased } an imported mask, which replaces what was painted;
 *   `erased`: transparency meant hole, so that what fills it is opaque,
 * { kind: "expand", … } see document.js: what is new is hole,
 * { kind: "clear" }, and "fill" and "sent", which leave an empty mask, too.
 */
export class Mask {
  #context;

  constructor(width, height) {
    this.#resize(width, height);
  }

  /** Paint what these steps make, from an empty mask of this size on. */
  replay(steps, width, height) {
    this.#resize(width, height);
    steps.forEach((step, index) => {
      if (step.kind !== "region" || steps[index + 1]?.kind !== "region") this.add(step);
    });
  }

  /** Paint one more step. */
  add(step) {
    if (step.kind === "picture") this.#replace(step.canvas);
    else if (step.kind === "area") this.#fillArea(step.points);
    else if (step.kind === "region") this.#place(step);
    else if (step.kind === "expand") this.#expand(step);
    else if (step.kind === "stroke") this.extend(step, 0);
    else this.#context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  /** Paint the points of a stroke from this one on; a stroke grows while it is drawn. */
  extend(stroke, from) {
    const context = this.#context;
    context.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
    context.strokeStyle = context.fillStyle = `rgb(${COLOUR})`;
    context.lineCap = "round";
    for (let index = from; index < stroke.points.length; index += 1) {
      const point = stroke.points[index];
      context.beginPath();
      if (index === 0) {
        // A line that ends where it begins would paint nothing.
        context.arc(point.x, point.y, point.width / 2, 0, 2 * Math.PI);
        context.fill();
        continue;
      }
      const before = stroke.points[index - 1];
      context.lineWidth = point.width;
      context.moveTo(before.x, before.y);
      context.lineTo(point.x, point.y);
      context.stroke();
    }
    context.globalCompositeOperation = "source-over";
  }

  /** Draw it over the picture that a view shows, its edge as soft as so many pixels. */
  show(context, view, soft) {
    context.save();
    context.globalAlpha = SHOWN_OPACITY;
    // Half: the edge fades on both sides of where it is.
    if (soft * view.scale > 1) context.filter = `blur(${soft * view.scale / 2}px)`;
    drawOver(context, view, this.canvas);
    context.restore();
  }

  /** A small copy for the eye. */
  small() {
    const { width, height } = this.canvas;
    const scale = Math.min(1, SMALL_SIDE / Math.max(width, height));
    const copy = newCanvas(Math.max(1, width * scale), Math.max(1, height * scale));
    copy.getContext("2d").drawImage(this.canvas, 0, 0, copy.width, copy.height);
    return copy;
  }

  /** About how many pixels the rectangle around the hole has. */
  boxPixels() {
    const small = this.small();
    const { width, height } = small;
    const { data } = small.getContext("2d").getImageData(0, 0, width, height);
    let [left, top, right, bottom] = [width, height, 0, 0];
    for (let at = 3; at < data.length; at += 4) {
      if (data[at] === 0) continue;
      const [x, y] = [(at >> 2) % width, Math.floor((at >> 2) / width)];
      [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
    }
    const scale = this.canvas.width / width;
    return Math.max(0, right - left) * Math.max(0, bottom - top) * scale * scale;
  }

  /** A PNG of it as it is painted, for another photo. */
  picture() {
    return canvasToBlob(this.canvas, "image/png");
  }

  /** A PNG: transparent is hole, as after an eraser. */
  toErased() {
    const canvas = newCanvas(this.canvas.width, this.canvas.height);
    const context = canvas.getContext("2d");
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = "destination-out";
    context.drawImage(this.canvas, 0, 0);
    return canvasToBlob(canvas, "image/png");
  }

  /** A PNG: white is hole, black is not. */
  toBlob() {
    const canvas = newCanvas(this.canvas.width, this.canvas.height);
    const context = canvas.getContext("2d");
    context.drawImage(this.canvas, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    return canvasToBlob(canvas, "image/png");
  }

  /** Give its memory back; replay() takes it again. */
  free() {
    this.canvas = newCanvas(0, 0);
  }

  #resize(width, height) {
    if (this.canvas?.width === width && this.canvas.height === height) {
      this.#context.clearRect(0, 0, width, height);
      return;
    }
    this.canvas = newCanvas(width, height);
    this.#context = this.canvas.getContext("2d");
  }

  #fillArea(points) {
    const context = this.#context;
    context.fillStyle = `rgb(${COLOUR})`;
    context.beginPath();
    for (const { x, y } of points) context.lineTo(x, y);
    context.closePath();
    context.fill();
  }

  #place({ canvas, x, y, width, height }) {
    this.#context.imageSmoothingQuality = "high";
    this.#context.drawImage(canvas, x, y, width, height);
  }

  #replace(canvas) {
    this.#context.clearRect(0, 0, canvas.width, canvas.height);
    this.#context.drawImage(canvas, 0, 0);
  }

  #expand({ photo, left, top, width, height }) {
    const before = this.canvas;
    this.#resize(photo.width, photo.height);
    this.#context.fillStyle = `rgb(${COLOUR})`;
    this.#context.fillRect(0, 0, photo.width, photo.height);
    this.#context.clearRect(left, top, width, height);
    this.#context.drawImage(before, left, top);
  }
}

/** Draw a hole that is being filled. */
export function drawSent(context, view, canvas) {
  context.save();
  context.globalAlpha = SHOWN_OPACITY / 2;
  drawOver(context, view, canvas);
  context.restore();
}

function drawOver(context, view, canvas) {
  context.drawImage(canvas, view.x, view.y, view.width * view.scale, view.height * view.scale);
}

/** Whether these steps can have left a hole. */
export function mayHaveHole(steps) {
  return steps.slice(emptiedAt(steps) + 1).some((step) => step.kind !== "stroke" || !step.erase);
}

/** Whether the hole that these steps left was erased: see "picture". */
export function isErased(steps) {
  const pictures = steps.slice(emptiedAt(steps) + 1).filter((step) => step.kind === "picture");
  // The last one took the place of those before.
  return Boolean(pictures.at(-1)?.erased);
}

/** How soft, in pixels, the softest stroke of the hole that these steps left is. */
export function softnessOf(steps) {
  const strokes = steps.slice(emptiedAt(steps) + 1).filter((step) => !step.erase);
  return Math.max(0, ...strokes.map((step) => step.soft ?? 0));
}

/** The last step that left an empty mask; -1 for none. */
export function emptiedAt(steps) {
  return steps.findLastIndex((step) => EMPTYING.includes(step.kind));
}

/** A mask file as a step. Throws Trouble when it is of another size, or marks nothing so. */
export async function maskStep(file, width, height, options) {
  if (file.width !== width || file.height !== height) {
    throw new Trouble(
      say("mask-size", { mask: `${file.width} × ${file.height}`, photo: `${width} × ${height}` }),
      say("mask-size-hint"),
    );
  }
  const canvas = newCanvas(width, height);
  const context = canvas.getContext("2d");
  context.drawImage(file.picture, 0, 0);
  const image = context.getImageData(0, 0, width, height);
  const hole = holeIn(image, options);
  const { data } = image;
  for (let at = 0; at < hole.length; at += 1) {
    data[4 * at + 3] = hole[at] ? 255 : 0;
    if (hole[at]) [data[4 * at], data[4 * at + 1], data[4 * at + 2]] = COLOUR;
  }
  context.putImageData(image, 0, 0);
  const erased = options.mask_convention === "alpha";
  return { kind: "picture", canvas, blob: await canvasToBlob(canvas, "image/png"), erased };
}

/** What was selected (1 in `labels`, row by row) as a step of the mask; `box` is its place. */
export async function regionStep(labels, columns, rows, box, clicks) {
  const canvas = newCanvas(columns, rows);
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let at = 0; at < labels.length; at += 1) {
    if (labels[at]) image.data.set([...COLOUR, 255], at * 4);
  }
  context.putImageData(image, 0, 0);
  const blob = await canvasToBlob(canvas, "image/png");
  return { kind: "region", canvas, blob, ...box, clicks };
}
