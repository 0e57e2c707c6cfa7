// The sheet that makes the canvas larger: by pixels, or to a shape; what is new is to be filled.

import { Photo, newCanvas, canvasToBlob } from "./photo.js";
import { say } from "./words.js";

const SIDES = ["left", "right", "top", "bottom"];

export class Expansion {
  #form;
  #shown;
  #current = () => null;

  /** `expand(step)` is called with what makes a step of a document; see document.js. */
  constructor(root, { document: current, expand }) {
    this.#form = root.querySelector('[data-part="canvas-form"]');
    this.#shown = root.querySelector('[data-part="canvas-size"]');
    this.#current = current;
    this.#form.addEventListener("input", (event) => {
      if (event.target.name === "shape") this.#toShape(Number(event.target.value));
      else this.#form.elements.shape.value = "";
      this.#showSize();
    });
    this.#form.addEventListener("toggle", () => { this.#form.reset(); this.#showSize(); });
    this.#form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const sides = this.#sides();
      if (!SIDES.some((side) => sides[side] > 0)) return;
      this.#form.hidePopover();
      root.querySelector("#more-sheet").hidePopover();
      await expand((shown) => expandStep(shown, sides));
    });
  }

  /** What is missing to a shape, half on each side. */
  #toShape(shape) {
    const document = this.#current();
    if (!shape || document === null) return;
    const { width, height } = document.photo;
    const across = Math.max(0, Math.round(height * shape) - width);
    const down = Math.max(0, Math.round(width / shape) - height);
    const { left, right, top, bottom } = this.#form.elements;
    left.value = Math.floor(across / 2);
    right.value = Math.ceil(across / 2);
    top.value = Math.floor(down / 2);
    bottom.value = Math.ceil(down / 2);
  }

  #sides() {
    return Object.fromEntries(SIDES.map((side) => {
      const input = this.#form.elements[side];
      return [side, Math.min(Number(input.max), Math.max(0, Math.round(Number(input.value)) || 0))];
    }));
  }

  #showSize() {
    const document = this.#current();
    if (document === null) return;
    const { width, height } = document.photo;
    const { left, right, top, bottom } = this.#sides();
    const after = `${width + left + right} × ${height + top + bottom}`;
    this.#shown.textContent = say("canvas-size", { before: `${width} × ${height}`, after });
  }
}

/** The photo on a larger canvas, as a step: the new sides are hole. */
async function expandStep(document, { left, right, top, bottom }) {
  const { photo } = document;
  const { width, height } = photo;
  const canvas = newCanvas(width + left + right, height + top + bottom);
  const context = canvas.getContext("2d");
  const picture = await photo.load();
  // Grey until it is filled: what is transparent would be kept as transparent.
  context.fillStyle = "#808080";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, left, top);
  const blob = await canvasToBlob(canvas, "image/png");
  const larger = new Photo(blob, photo.name, {
    width: canvas.width, height: canvas.height, picture: await createImageBitmap(canvas),
  });
  return { kind: "expand", photo: larger, left, top, width, height };
}
