// What was pointed at in a photo, first in what is seen of it, then closer; the worker does the work.

import { newCanvas } from "../photo.js";
import { CLICKED, CLICKED_AWAY, GROUND, MAYBE_THING, THING, UNKNOWN } from "./seeds.js";

// Of the picture that is looked at; the longer side.
const SIDE = 480;
// How far around what was found the second look reaches, of its size.
const MARGIN = 0.12;
// A second look that sees so much more is worth its time.
const CLOSER = 1.3;
// A click is so large, in pixels of the picture that is looked at.
const CLICK = 2;
// The second look may move the edge by so many pixels of the first.
const EDGE = 4;
// What is found is widened by a pixel for so many of the photo's longer side, to so many at most: an
// edge is soft, the more so in a large photo, and what is left of it is seen around the fill.
const SOFT_SIDE = 1000;
const MOST_SOFT = 6;

export class Selector {
  #worker = null;
  #asked = new Map();
  #count = 0;

  /**
   * Find what `shapes` point at in a picture: { x, y, takesAway } for clicks and
   * { outline, takesAway } for lines around, in its pixels; `seen` is the part to look at.
   * Gives { labels, columns, rows, box }: 1 for what was found in `box` of the picture.
   */
  async find(picture, shapes, seen) {
    const window = whole(reach(seen, shapes), picture);
    const first = await this.#look(picture, window, (look) => seedsOf(shapes, look));
    const found = boxOf(first);
    if (found === null) return null;
    const closer = whole(found, picture);
    if (scaleOf(closer) < CLOSER * first.scale) return cropped(widened(first, picture));
    const second = await this.#look(picture, closer, (look) => closerSeeds(first, shapes, look));
    return cropped(widened(second, picture));
  }

  async #look(picture, box, seedsFor) {
    const scale = scaleOf(box);
    const columns = Math.max(8, Math.round(box.width * scale));
    const rows = Math.max(8, Math.round(box.height * scale));
    const canvas = newCanvas(columns, rows);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, box.x, box.y, box.width, box.height, 0, 0, columns, rows);
    const { data } = context.getImageData(0, 0, columns, rows);
    const look = { box, columns, rows, scale, scaleX: columns / box.width, scaleY: rows / box.height };
    const labels = await this.#ask(data, columns, rows, seedsFor(look));
    return { ...look, labels };
  }

  #ask(data, width, height, seeds) {
    this.#worker ??= this.#start();
    this.#count += 1;
    const id = this.#count;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#worker.postMessage({ id, data, width, height, seeds }, [data.buffer]);
    });
  }

  #start() {
    const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data: { id, labels } }) => {
      this.#asked.get(id).resolve(labels);
      this.#asked.delete(id);
    });
    worker.addEventListener("error", (event) => {
      const error = new Error(event.message || "the worker that selects did not start");
      for (const { reject } of this.#asked.values()) reject(error);
      this.#asked.clear();
      this.#worker = null;
    });
    return worker;
  }
}

const scaleOf = (box) => Math.min(1, SIDE / Math.max(box.width, box.height));

/** A box that holds all shapes as well. */
function reach(seen, shapes) {
  const points = shapes.flatMap((shape) => shape.outline ?? [shape]);
  const left = Math.min(seen.x, ...points.map(({ x }) => x));
  const top = Math.min(seen.y, ...points.map(({ y }) => y));
  const right = Math.max(seen.x + seen.width, ...points.map(({ x }) => x));
  const bottom = Math.max(seen.y + seen.height, ...points.map(({ y }) => y));
  return { x: left, y: top, width: right - left, height: bottom - top };
}

/** A box in whole pixels within the picture. */
function whole(box, picture) {
  const x = Math.max(0, Math.floor(box.x));
  const y = Math.max(0, Math.floor(box.y));
  const right = Math.min(picture.width, Math.ceil(box.x + box.width));
  const bottom = Math.min(picture.height, Math.ceil(box.y + box.height));
  return { x, y, width: Math.max(1, right - x), height: Math.max(1, bottom - y) };
}

function seedsOf(shapes, look) {
  const { columns, rows } = look;
  const seeds = new Uint8Array(columns * rows);
  const lines = shapes.filter((shape) => shape.outline);
  if (lines.length) {
    const around = lines.filter((line) => !line.takesAway);
    // Around a thing: what is outside the line is ground. Where clicks say what the thing is, not.
    if (around.length && !shapes.some((shape) => !shape.outline && !shape.takesAway)) seeds.fill(GROUND);
    for (const line of around) fillLine(seeds, line.outline, look, MAYBE_THING);
    for (const line of lines) if (line.takesAway) fillLine(seeds, line.outline, look, GROUND);
  }
  addClicks(seeds, shapes, look);
  return seeds;
}

/** Sure of what is well inside or outside what was found, unsure along its edge. */
function closerSeeds(first, shapes, look) {
  const { columns, rows, box } = look;
  const seeds = new Uint8Array(columns * rows);
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const x = ((column + 0.5) / look.scaleX + box.x - first.box.x) * first.scaleX;
      const y = ((row + 0.5) / look.scaleY + box.y - first.box.y) * first.scaleY;
      seeds[row * columns + column] = around(first, Math.floor(x), Math.floor(y));
    }
  }
  addClicks(seeds, shapes, look);
  return seeds;
}

function around({ labels, columns, rows }, x, y) {
  const at = (column, row) => {
    const inside = Math.min(columns - 1, Math.max(0, column)) + Math.min(rows - 1, Math.max(0, row)) * columns;
    return labels[inside];
  };
  const here = at(x, y);
  for (const [dx, dy] of [[EDGE, 0], [-EDGE, 0], [0, EDGE], [0, -EDGE],
    [EDGE, EDGE], [-EDGE, -EDGE], [EDGE, -EDGE], [-EDGE, EDGE]]) {
    if (at(x + dx, y + dy) !== here) return here ? MAYBE_THING : UNKNOWN;
  }
  return here ? THING : GROUND;
}

function addClicks(seeds, shapes, { box, columns, rows, scaleX, scaleY }) {
  for (const shape of shapes) {
    if (shape.outline) continue;
    const [x, y] = [Math.floor((shape.x - box.x) * scaleX), Math.floor((shape.y - box.y) * scaleY)];
    for (let row = y - CLICK; row <= y + CLICK; row += 1) {
      for (let column = x - CLICK; column <= x + CLICK; column += 1) {
        if (row < 0 || column < 0 || row >= rows || column >= columns) continue;
        seeds[row * columns + column] = shape.takesAway ? CLICKED_AWAY : CLICKED;
      }
    }
  }
}

function fillLine(seeds, outline, { box, columns, rows, scaleX, scaleY }, value) {
  const canvas = newCanvas(columns, rows);
  const context = canvas.getContext("2d");
  context.beginPath();
  for (const { x, y } of outline) context.lineTo((x - box.x) * scaleX, (y - box.y) * scaleY);
  context.closePath();
  context.fill();
  const { data } = context.getImageData(0, 0, columns, rows);
  for (let at = 0; at < seeds.length; at += 1) if (data[at * 4 + 3] > 127) seeds[at] = value;
}

/** Where in the picture something was found, with some of what is around it; null for nowhere. */
function boxOf(look, margin = MARGIN) {
  const { labels, columns, rows, box, scaleX, scaleY } = look;
  let [left, top, right, bottom] = [columns, rows, 0, 0];
  labels.forEach((label, at) => {
    if (!label) return;
    const [x, y] = [at % columns, Math.floor(at / columns)];
    [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
    [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
  });
  if (right <= left) return null;
  const [across, down] = [(right - left) * margin + 6, (bottom - top) * margin + 6];
  return {
    x: box.x + (left - across) / scaleX,
    y: box.y + (top - down) / scaleY,
    width: (right - left + 2 * across) / scaleX,
    height: (bottom - top + 2 * down) / scaleY,
  };
}

/** The same with the soft edge of what was found. */
function widened(look, picture) {
  const { labels, columns, rows, scale } = look;
  const soft = Math.min(MOST_SOFT, Math.max(picture.width, picture.height) / SOFT_SIDE);
  const reach = Math.max(1, Math.round(soft * scale));
  const wide = Uint8Array.from(labels);
  labels.forEach((label, at) => {
    if (!label) return;
    const [x, y] = [at % columns, Math.floor(at / columns)];
    for (let row = Math.max(0, y - reach); row <= Math.min(rows - 1, y + reach); row += 1) {
      for (let column = Math.max(0, x - reach); column <= Math.min(columns - 1, x + reach); column += 1) {
        if ((row - y) ** 2 + (column - x) ** 2 <= reach ** 2) wide[row * columns + column] = 1;
      }
    }
  });
  return { ...look, labels: wide };
}

function cropped({ labels, columns, rows, box }) {
  return labels.includes(1) ? { labels, columns, rows, box } : null;
}
