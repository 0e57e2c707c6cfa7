// What begin, move and end of a stroke make with each tool; knows no screen.

/** Sizes of the brush, in pixels of the picture, for the picture's longer side. */
export function brushLimits(side) {
  return { least: 1, most: Math.max(8, Math.round(side / 2)), first: Math.max(2, Math.round(side / 16)) };
}

/**
 * The tools by name. Each starts a shape with its first point and { size, soft, takesAway }; a
 * shape has move(point), `step` (see mask.js; null while there is nothing to add) and `outline`,
 * the points that are shown while it is drawn, null for what is painted at once. One that
 * `selects` has no step: what it points at is found in the picture.
 */
export const TOOLS = {
  brush: (point, { size, soft }) => new Stroke(point, size, { erase: false, soft }),
  eraser: (point, { size }) => new Stroke(point, size, { erase: true, soft: 0 }),
  rectangle: (point) => new Rectangle(point),
  lasso: (point) => new Lasso(point),
  select: (point, { takesAway }) => new Selecting(point, takesAway),
};

class Stroke {
  #size;

  constructor(point, size, { erase, soft }) {
    this.#size = size;
    this.step = { kind: "stroke", erase, soft, points: [] };
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

/** A click on a thing, or a line drawn around it. */
class Selecting extends Lasso {
  constructor(point, takesAway) {
    super(point);
    this.selects = true;
    this.takesAway = takesAway;
  }

  get step() {
    return null;
  }

  /** Of the line, in pixels of the picture. */
  get length() {
    const far = (point, index) => {
      const { x, y } = this.outline[Math.max(0, index - 1)];
      return Math.hypot(point.x - x, point.y - y);
    };
    return this.outline.reduce((sum, point, index) => sum + far(point, index), 0);
  }
}
