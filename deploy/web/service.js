// The service over HTTP: what is sent, what its errors mean in words; knows no page.

import { askForKey, storedKey } from "./access.js";
import { Trouble } from "./photo.js";

// Busy, and too many requests: both pass.
const AGAIN = [429, 503];
const MAX_RETRIES = 8;
const LONGEST_PAUSE_SECONDS = 30;
// No key was sent, and one that the service does not know.
const KEY_CODES = ["key_missing", "key_wrong"];

// What the service says to programs, said to people, by the problem's code.
const WORDS = {
  mask_empty: ["Nothing is left to fill.", "Paint over what should go, then fill."],
  key_missing: ["This service asks for a key.", "Fill again to enter one."],
  key_wrong: ["The service does not know this key.", "Fill again to enter another one."],
  mask_full: ["The whole photo is painted over.", "Leave some of it: the fill is made from that."],
};

// Relative to the page: it may lie below any path of a proxy.
const address = (path) => new URL(path, document.baseURI);

/** What the service says of itself: samples to try, and its limits. */
export async function readSettings() {
  const response = await request("web/settings.json", {});
  return whole(response.json());
}

/** One of the samples, as a file. */
export async function readSample(sample) {
  const response = await request(sample.url, {});
  return whole(response.blob());
}

/**
 * Fill the hole that `mask` (PNG, white is hole) marks in `image`.
 * `options` are fields of the form; `job` has an AbortSignal `signal` and `waiting(seconds)`,
 * called when the service is busy. Gives a PNG. Throws Trouble, or AbortError when cancelled.
 */
export function inpaint(image, mask, options, job) {
  // As every browser shows it; the file for the person is asked for or encoded later.
  return send("v1/inpaint", { image, mask }, { format: "png", ...options }, job);
}

/** Give `content` the look of `style`; otherwise as inpaint. */
export function stylize(content, style, options, job) {
  return send("v1/stylize", { content, style }, options, job);
}

async function send(path, files, options, job) {
  const body = new FormData();
  for (const [name, blob] of Object.entries(files)) body.append(name, blob, name);
  for (const [name, value] of Object.entries(options)) body.append(name, String(value));
  for (let attempt = 0; ; attempt += 1) {
    const headers = storedKey() ? { "x-api-key": storedKey() } : {};
    const response = await fetchOrSay(path, { method: "POST", body, headers, signal: job.signal });
    if (response.ok) return whole(response.blob());
    if (!AGAIN.includes(response.status) || attempt === MAX_RETRIES) {
      const trouble = await troubleOf(response);
      if (KEY_CODES.includes(trouble.code) && await askForKey(trouble, job.signal)) continue;
      throw trouble;
    }
    const seconds = pauseSeconds(response.headers.get("retry-after"));
    job.waiting(seconds);
    await pause(seconds, job.signal);
  }
}

async function request(path, options) {
  const response = await fetchOrSay(path, options);
  if (!response.ok) throw await troubleOf(response);
  return response;
}

const fetchOrSay = (path, options) => whole(fetch(address(path), options));

/** What a fetch or a body gives; a connection that breaks meanwhile is Trouble. */
async function whole(coming) {
  try {
    return await coming;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(
      "The service did not answer.",
      "Look whether it is still running and this machine is connected, then try again."
        + " What you painted is still here.",
    );
  }
}

/** The problem document (RFC 9457) of an answer, in words. */
async function troubleOf(response) {
  const requestId = response.headers.get("x-request-id") ?? "";
  const kind = response.headers.get("content-type") ?? "";
  if (!kind.startsWith("application/problem+json")) {
    // Of something that stands in front of the service.
    return new Trouble(
      `The service could not be reached: ${response.status} ${response.statusText}.`,
      response.status === 413 ? "Use a smaller photo." : "Try again in a minute.",
      requestId,
    );
  }
  const problem = await whole(response.json());
  const said = [sentence(problem.detail), sentence(problem.hint)];
  return new Trouble(...(WORDS[problem.code] ?? said), problem.request_id, problem.code);
}

/** First letter large, full stop at the end; "" stays. */
function sentence(text) {
  if (!text) return "";
  const whole = text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}

function pauseSeconds(retryAfter) {
  const asked = /^\d+$/.test(retryAfter ?? "") ? Number(retryAfter) : 1;
  return Math.min(asked, LONGEST_PAUSE_SECONDS);
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    }, { once: true });
  });
}
