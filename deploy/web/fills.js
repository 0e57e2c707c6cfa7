// Holes to be filled, one after the other: at once or as jobs, across reloads; knows no stage.

import { fileKey, openPhoto } from "./photo.js";
import {
  dropJob, inpaint, jobTrouble, pause, readJob, readResult, startJob,
} from "./service.js";

const PACE = "kintsugi.pace";
// What is thought to take longer goes as a job.
const DIRECT_SECONDS = 4;
// Megapixels of a hole below which its size says little.
const LEAST_WORK = 0.05;
const POLL_SECONDS = [0.3, 0.5, 1];
// A service that is started again is back after a while.
const LOST_SECONDS = 2;
const UNENDED = ["queued", "running"];

export class Fills {
  #settings;
  #job;
  #kept;
  #queue = Promise.resolve();
  #waiting = new Set();

  /** `job` shows one fill; `kept(document)` is called, and awaited, when there is news to keep. */
  constructor(settings, job, kept) {
    this.#settings = settings;
    this.#job = job;
    this.#kept = kept;
  }

  get isRunning() {
    return this.#waiting.size > 0;
  }

  /**
   * Fill the hole of a photo as it is now; resolves when the photo is as new. What is painted
   * meanwhile stays. Throws Trouble, or AbortError when cancelled: then the hole is there again.
   * `named`: whether the progress says which photo it is; `again`: another answer for the hole
   * that was filled last, whose answer stands until then.
   */
  ask(document, options, { named = false, again = false } = {}) {
    const step = document.send(fileKey(), again);
    step.options = options;
    step.asJob = this.#takesLong(step);
    return this.#line(document, step, named);
  }

  /** Go on with what an earlier visit has sent; what was no job is painted again. */
  async resume(document) {
    const step = document.sent;
    if (step === null) return;
    if (step.asJob && this.#settings.jobs) return this.#line(document, step, false);
    document.withdraw(step);
    await this.#kept(document);
  }

  /** Give up what runs or waits: of one photo, or all. */
  cancel(document = null) {
    for (const turn of this.#waiting) {
      if (document !== null && turn.document !== document) continue;
      turn.given = true;
      if (turn.runs) this.#job.cancel();
    }
  }

  #line(document, step, named) {
    const turn = { document, given: false, runs: false };
    this.#waiting.add(turn);
    const done = this.#queue.then(() => this.#fill(document, step, { turn, named }));
    this.#queue = done.catch(() => {}).finally(() => this.#waiting.delete(turn));
    return done;
  }

  async #fill(document, step, { turn, named }) {
    try {
      await this.#kept(document);
      if (turn.given) throw new DOMException("cancelled", "AbortError");
      turn.runs = true;
      const started = performance.now();
      const blob = await this.#job.run((job) => this.#answer(document, step, job),
        named ? document.name : "");
      this.#learn(step, (performance.now() - started) / 1000);
      document.answer(step, await openPhoto(blob, document.name));
    } catch (error) {
      if (step.job) dropJob(step.job);
      document.withdraw(step);
      await this.#kept(document);
      throw error;
    }
    await this.#kept(document);
    if (step.job) dropJob(step.job);
  }

  async #answer(document, step, job) {
    const { photo, mask } = document.before(step);
    // Filled, what was erased is opaque; elsewhere the photo's transparency stays.
    const options = step.erased ? { ...step.options, mask_convention: "alpha" } : step.options;
    const sent = await (step.erased ? mask.toErased() : mask.toBlob());
    if (!step.asJob) return inpaint(photo.blob, sent, options, job);
    if (!step.job) {
      const { key } = step;
      step.job = await patiently(job, () => startJob(photo.blob, sent, { options, key, job }));
      await this.#kept(document);
    }
    return follow(step.job, job);
  }

  #takesLong(step) {
    const pace = Number(localStorage.getItem(PACE));
    return Boolean(this.#settings.jobs) && !(pace && pace * work(step) < DIRECT_SECONDS);
  }

  #learn(step, seconds) {
    localStorage.setItem(PACE, String(seconds / work(step)));
  }
}

/** Megapixels that have to do with the hole. */
const work = (step) => Math.max(LEAST_WORK, step.pixels / 1e6);

/** Wait for a job, also for a service that is away for a while, and give its image. */
async function follow(id, job) {
  for (let asked = 0; ; asked += 1) {
    const state = await patiently(job, () => readJob(id, job));
    if (state.state === "done") return patiently(job, () => readResult(id, job));
    if (!UNENDED.includes(state.state)) {
      const problem = state.problem ?? { code: `job_${state.state}`, detail: "", hint: "" };
      throw jobTrouble(problem);
    }
    if (state.step) job.progress(...shares(state.step));
    await pause(POLL_SECONDS[Math.min(asked, POLL_SECONDS.length - 1)], job.signal);
  }
}

/** Try until the service answers. */
async function patiently(job, ask) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (error.code !== "gone") throw error;
    }
    job.lost();
    await pause(LOST_SECONDS, job.signal);
  }
}

/** How much of 1 is done, and how much when the scale in work is: each costs twice the one before. */
function shares({ crop, crops, scale, scales }) {
  const done = (count) => (2 ** count - 1) / (2 ** scales - 1);
  return [(crop + done(scale)) / crops, (crop + done(scale + 1)) / crops];
}
