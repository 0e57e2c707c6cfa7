// What takes a while, on the screen: how far it is, how long it will take, a button that ends it.

import { number, say } from "./words.js";

// Of the first part, while nothing is known of the pace: seconds after which it looks half done.
const FIRST_GUESS_SECONDS = 12;
// From this share on, what has passed says what is left.
const ESTIMATE_FROM = 0.12;

export class Job {
  #root;
  #text;
  #bar;
  #controller = null;
  #verb;

  /** `root` holds the progress, a text and a button; `verb` is the key of a word for what is done. */
  constructor(root, verb) {
    this.#root = root;
    this.#verb = verb;
    this.#text = root.querySelector(".job-text");
    this.#bar = root.querySelector("progress");
    root.querySelector("button").addEventListener("click", () => this.cancel());
  }

  get isRunning() {
    return this.#controller !== null;
  }

  cancel() {
    this.#controller?.abort(new DOMException("cancelled", "AbortError"));
  }

  /**
   * Run `work(job)` and give what it gives; one at a time. `job` has the AbortSignal `signal`,
   * waiting(seconds) for a service that is busy, lost() for one that does not answer, and
   * progress(share, next): so much of 1 is done, and when the part in work is done, so much.
   * `what` names it, "" where that is clear.
   */
  async run(work, what = "") {
    this.#controller = new AbortController();
    const pace = new Pace();
    let trouble = "";
    const update = () => {
      const parts = [what, `${say(this.#verb)} …`, ...this.#progress(pace), trouble];
      this.#text.textContent = parts.filter(Boolean).join(" · ");
    };
    update();
    this.#root.hidden = false;
    const timer = setInterval(update, 250);
    const says = (text) => { trouble = text; update(); };
    try {
      return await work({
        signal: this.#controller.signal,
        waiting: (seconds) => says(say("busy", { seconds })),
        lost: () => says(say("lost")),
        progress: (share, next) => { pace.note(share, next); says(""); },
      });
    } finally {
      clearInterval(timer);
      this.#root.hidden = true;
      this.#controller = null;
    }
  }

  /** Percent and time left where they are known, otherwise the seconds so far. */
  #progress(pace) {
    const { share, seconds, left } = pace.now();
    if (share === null) {
      this.#bar.removeAttribute("value");
      return [say("seconds", { seconds: number(Math.round(seconds)) })];
    }
    this.#bar.value = share;
    const percent = number(share, { style: "percent" });
    return left === null ? [percent] : [percent, say(...inRound(left))];
  }
}

/** How far something is between two reports, by the pace so far. */
class Pace {
  #started = performance.now();
  #noted = null;

  note(share, next) {
    if (share === this.#noted?.share) return;
    this.#noted = { share, next, at: performance.now() };
  }

  now() {
    const now = performance.now();
    const seconds = (now - this.#started) / 1000;
    if (this.#noted === null) return { share: null, seconds, left: null };
    const { share, next, at } = this.#noted;
    const passed = (at - this.#started) / 1000;
    const expected = share > 0 ? passed * (next - share) / share : FIRST_GUESS_SECONDS;
    // It comes ever nearer to the next report and never beyond it.
    const within = 1 - Math.exp(-(now - at) / 1000 / Math.max(0.5, expected));
    const shown = share + (next - share) * within;
    const left = share < ESTIMATE_FROM ? null : Math.max(1, seconds * (1 - shown) / shown);
    return { share: shown, seconds, left };
  }
}

/** Key and values of a text for so many seconds, as coarse as it is known. */
function inRound(seconds) {
  if (seconds < 10) return ["left-seconds", { seconds: number(Math.ceil(seconds)) }];
  if (seconds < 90) return ["left-seconds", { seconds: number(Math.ceil(seconds / 5) * 5) }];
  return ["left-minutes", { minutes: number(Math.ceil(seconds / 60)) }];
}
