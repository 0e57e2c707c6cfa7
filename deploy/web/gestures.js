// Mouse, pen and fingers on a stage to strokes, pinches and pans; knows not what they paint.

// A stroke this young, in milliseconds, was the first finger of a pinch.
const PINCH_AFTER_MS = 300;

export class Gestures {
  #view;
  #handler;
  // What the pointers do now: null, "stroke", "pan", "pinch" or, until all are up, "over".
  #doing = null;
  #pointers = new Map();
  #began = 0;
  #penSeen = 0;
  #panKey = false;

  /**
   * `handler` has begin(point, event), move(point), end(), cancel(), hover(point or null) and
   * resize(direction); a point has x and y in the stage's CSS pixels and pressure 0-1.
   */
  constructor(view, handler) {
    this.#view = view;
    this.#handler = handler;
    const stage = view.stage;
    const on = (name, listen) => stage.addEventListener(name, listen.bind(this), { passive: false });
    on("pointerdown", this.#down);
    on("pointermove", this.#move);
    on("pointerup", this.#up);
    on("pointercancel", this.#up);
    on("pointerleave", () => handler.hover(null));
    on("wheel", this.#wheel);
    on("contextmenu", (event) => event.preventDefault());
    on("keydown", (event) => this.#space(event, true));
    on("keyup", (event) => this.#space(event, false));
    on("blur", () => this.#setPanKey(false));
  }

  #down(event) {
    if (event.target.closest("button")) return;
    if (this.#isPalm(event)) return;
    this.#view.stage.focus({ preventScroll: true });
    event.preventDefault();
    this.#view.stage.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#point(event));
    if (this.#pointers.size === 2 && event.pointerType === "touch") return this.#pinch();
    if (this.#doing !== null) return;
    if (event.button === 1 || this.#panKey) {
      this.#doing = "pan";
    } else if (event.button === 0 || event.button === 5) {
      this.#doing = "stroke";
      this.#began = event.timeStamp;
      this.#handler.begin(this.#point(event), event);
    }
  }

  #pinch() {
    if (this.#doing === "stroke") {
      if (performance.now() - this.#began < PINCH_AFTER_MS) this.#handler.cancel();
      else this.#handler.end();
    }
    this.#doing = "pinch";
  }

  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    const now = this.#point(event);
    if (event.pointerType !== "touch") this.#handler.hover(now);
    if (before === undefined) return;
    if (this.#doing === "pan") this.#view.pan(now.x - before.x, now.y - before.y);
    if (this.#doing === "pinch") this.#pinchTo(event.pointerId, now);
    if (this.#doing === "stroke") {
      const steps = event.getCoalescedEvents?.() ?? [];
      for (const step of steps.length ? steps : [event]) this.#handler.move(this.#point(step));
    }
    this.#pointers.set(event.pointerId, now);
  }

  #pinchTo(id, now) {
    const [first, second] = [...this.#pointers.keys()];
    const other = this.#pointers.get(id === first ? second : first);
    const before = this.#pointers.get(id);
    if (other === undefined) return;
    const apart = (a, b) => Math.max(10, Math.hypot(a.x - b.x, a.y - b.y));
    const [x, y] = [(now.x + other.x) / 2, (now.y + other.y) / 2];
    this.#view.pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    this.#view.zoom(apart(now, other) / apart(before, other), x, y);
  }

  #up(event) {
    if (!this.#pointers.delete(event.pointerId)) return;
    if (this.#doing === "stroke") {
      if (event.type === "pointercancel") this.#handler.cancel();
      else this.#handler.end();
      this.#doing = "over";
    }
    if (this.#doing === "pinch") this.#doing = "over";
    if (this.#pointers.size === 0) this.#doing = null;
  }

  #wheel(event) {
    event.preventDefault();
    if (event.altKey) return this.#handler.resize(-Math.sign(event.deltaY));
    const { x, y } = this.#point(event);
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1;
    // Trackpads report a pinch as a wheel with Ctrl, in small steps.
    const speed = event.ctrlKey ? 0.01 : 0.0018;
    this.#view.zoom(Math.exp(-event.deltaY * lines * speed), x, y);
  }

  #space(event, down) {
    if (event.key !== " " || event.target !== this.#view.stage) return;
    event.preventDefault();
    this.#setPanKey(down);
  }

  #setPanKey(down) {
    this.#panKey = down;
    this.#view.stage.classList.toggle("panning", down);
  }

  /** Whether this is the hand that holds the pen. */
  #isPalm(event) {
    if (event.pointerType === "pen") this.#penSeen = event.timeStamp;
    return event.pointerType === "touch" && this.#penSeen && event.timeStamp - this.#penSeen < 1000;
  }

  #point(event) {
    const box = this.#view.stage.getBoundingClientRect();
    // Only pens report how hard they press.
    const pressure = event.pointerType === "pen" ? event.pressure || 0.5 : 1;
    return { x: event.clientX - box.left, y: event.clientY - box.top, pressure };
  }
}
