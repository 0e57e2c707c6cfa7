// What begin, move and end of a stroke make with each tool; knows no screen.

/** Sizes of the brush, in pixels of the picture, for the picture's longer side. */
export function brushLimits(side) {
  return { least: 1, most: Math.max(8, Math.round(side / 2)), first: Math.max(2, Math.round(side / 16)) };
}

/**
 * The tools by name. Each starts a shape with its first point; a shape has move(point),
 * `step` (see mask.js; null while there is nothing to add) and `outline`, the points that are
 * shown while it is drawn, null for what is painted at once.
 */
export const TOOLS = {
  brush: (point, size) => new Stroke(point, size, false),
  eraser: (point, size) => new Stroke(point, size, true),
  rectangle: (point) => new Rectangle(point),
  lasso: (point) => new Lasso(point),
};

class Stroke {
  #size;

  constructor(point, size, erase) {
    this.#size = size;
    this.step = { kind: "stroke", erase, points: [] };
    this.outline = null;
    this.move(point);
  }

  move({ x, y, pressure }) {
    // Even the lightest touch of a pen paints something.
    const width = this.#size * (0.25 + 0.75 * pressure);
    this.step.points.push({ x, y, width });
  }
}

class Rectangle {
  #from;
  #to;

  constructor(point) {
    this.#from = point;
    this.#to = point;
  }

  move(point) {
    this.#to = point;
  }

  get outline() {
    // Whole pixels: an edge between two would be half a hole.
    const [left, right] = [this.#from.x, this.#to.x].sort((a, b) => a - b);
    const [top, bottom] = [this.#from.y, this.#to.y].sort((a, b) => a - b);
    const [x0, y0, x1, y1] = [left, top, right, bottom].map(Math.round);
    return [{ x: x0, y: y0 }, { x: x1, y: y0 }, { x: x1, y: y1 }, { x: x0, y: y1 }];
  }

  get step() {
    const [corner, , opposite] = this.outline;
    if (corner.x === opposite.x || corner.y === opposite.y) return null;
    return { kind: "area", points: this.outline };
  }
}

class Lasso {
  constructor(point) {
    this.outline = [point];
  }

  move(point) {
    this.outline.push(point);
  }

  get step() {
    return this.outline.length < 3 ? null : { kind: "area", points: this.outline };
  }
}
