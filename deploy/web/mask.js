// The hole as painted: steps to pixels, mask files in and out; knows no pointers and no history.

import { canvasToBlob, newCanvas, Trouble } from "./photo.js";

// Of the hole on the screen: the gold of mended cracks.
const COLOUR = [255, 186, 0];
const SHOWN_OPACITY = 0.62;
// Grey of a mask file from which on it is hole, as the service has it.
const HOLE_FROM = 128;

/**
 * Steps of a mask:
 * { kind: "stroke", erase, points: [{ x, y, width }] } in pixels of the picture,
 * { kind: "area", points: [{ x, y }] } a closed shape,
 * { kind: "picture", canvas } an imported mask, which replaces what was painted,
 * { kind: "clear" }, and { kind: "fill" }, which leaves an empty mask, too.
 */
export class Mask {
  constructor(width, height) {
    this.canvas = newCanvas(width, height);
    this.#context = this.canvas.getContext("2d");
  }

  #context;

  /** Paint again what these steps make. */
  replay(steps) {
    this.#context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const step of sinceEmpty(steps)) this.add(step);
  }

  /** Paint one more step. */
  add(step) {
    if (step.kind === "picture") this.#replace(step.canvas);
    else if (step.kind === "area") this.#fillArea(step.points);
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

  /** Draw it over the picture that a view shows. */
  show(context, view) {
    context.globalAlpha = SHOWN_OPACITY;
    context.drawImage(
      this.canvas, view.x, view.y, view.width * view.scale, view.height * view.scale,
    );
    context.globalAlpha = 1;
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

  #fillArea(points) {
    const context = this.#context;
    context.fillStyle = `rgb(${COLOUR})`;
    context.beginPath();
    for (const { x, y } of points) context.lineTo(x, y);
    context.closePath();
    context.fill();
  }

  #replace(canvas) {
    this.#context.clearRect(0, 0, canvas.width, canvas.height);
    this.#context.drawImage(canvas, 0, 0);
  }
}

/** Whether these steps can have left a hole. */
export function mayHaveHole(steps) {
  return sinceEmpty(steps).some((step) => step.kind !== "stroke" || !step.erase);
}

/** A mask file as a step. Throws Trouble when it is of another size than the photo. */
export function maskStep(file, width, height) {
  if (file.width !== width || file.height !== height) {
    throw new Trouble(
      `The mask is ${file.width} × ${file.height} pixels but the photo is ${width} × ${height}.`,
      "Save the mask at the photo's size. White is what is filled.",
    );
  }
  const canvas = newCanvas(width, height);
  const context = canvas.getContext("2d");
  context.drawImage(file.bitmap, 0, 0);
  const image = context.getImageData(0, 0, width, height);
  const data = image.data;
  for (let at = 0; at < data.length; at += 4) {
    const grey = (data[at] + data[at + 1] + data[at + 2]) / 3;
    const hole = grey >= HOLE_FROM && data[at + 3] >= HOLE_FROM;
    data[at + 3] = hole ? 255 : 0;
    if (hole) [data[at], data[at + 1], data[at + 2]] = COLOUR;
  }
  context.putImageData(image, 0, 0);
  return { kind: "picture", canvas };
}

function sinceEmpty(steps) {
  const last = steps.findLastIndex((step) => step.kind === "clear" || step.kind === "fill");
  return steps.slice(last + 1);
}
