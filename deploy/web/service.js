// The service over HTTP: what is sent, what its errors mean in words; knows no page.

import { askForKey, storedKey } from "./access.js";
import { Trouble } from "./photo.js";
import { knows, say } from "./words.js";

// Busy, and too many requests: both pass.
const AGAIN = [429, 503];
const MAX_RETRIES = 8;
const LONGEST_PAUSE_SECONDS = 30;
// No key was sent, one that the service does not know, and one that it knew.
const KEY_CODES = ["key_missing", "key_wrong", "key_expired"];

// Without loss, with all that the photo's file says, and every browser shows it.
const WORKING = { format: "png" };

// Relative to the page: it may lie below any path of a proxy.
const address = (path) => new URL(path, document.baseURI);

/** What the service says of itself: samples to try, its limits, and whether it takes jobs. */
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
export async function inpaint(image, mask, options, job) {
  const body = formOf({ image, mask }, { ...WORKING, ...options });
  return whole((await send("v1/inpaint", body, job)).blob());
}

/** Give `content` the look of `style`; otherwise as inpaint. */
export async function stylize(content, style, options, job) {
  const body = formOf({ content, style }, { ...WORKING, ...options });
  return whole((await send("v1/stylize", body, job)).blob());
}

/** A file of the same picture that browsers can show. */
export async function preview(image, job) {
  const response = await send("v1/preview", formOf({ image }, {}), job);
  return whole(response.blob());
}

/**
 * The file that `image` is, or as `options` say, with the pixels of `filled`; and what could not be
 * kept of it, in the service's words.
 */
export async function saveAs(image, filled, options, job) {
  const response = await send("v1/save", formOf({ image, filled }, options), job);
  return { file: await whole(response.blob()), notes: response.headers.get("x-image-notes") ?? "" };
}

/** Have a hole filled while nobody waits; sent again with its key it is the same job. Gives its id. */
export async function startJob(image, mask, { options, key, job }) {
  const body = formOf({ image, mask }, { kind: "inpaint", ...WORKING, ...options });
  const response = await send("v1/jobs", body, job, { "idempotency-key": key });
  return (await whole(response.json())).id;
}

/** How a job stands: its document. Throws Trouble of the code "" while nobody answers. */
export async function readJob(id, job) {
  const response = await send(`v1/jobs/${id}`, null, job);
  return whole(response.json());
}

/** The image of a job that is done. */
export async function readResult(id, job) {
  const response = await send(`v1/jobs/${id}/result`, null, job);
  return whole(response.blob());
}

/** Give a job up and have its images deleted; nobody waits for it. */
export function dropJob(id) {
  const headers = storedKey() ? { "x-api-key": storedKey() } : {};
  // Also while the page goes away; when it is not heard, the job expires.
  fetch(address(`v1/jobs/${id}`), { method: "DELETE", headers, keepalive: true }).catch(() => {});
}

/** Why a job failed, in words. */
export const jobTrouble = (problem) => inWords(problem);

function formOf(files, options) {
  const body = new FormData();
  for (const [name, blob] of Object.entries(files)) body.append(name, blob, name);
  for (const [name, value] of Object.entries(options)) body.append(name, String(value));
  return body;
}

/** Post a body, or get where there is none; what passes is tried again. */
async function send(path, body, job, more = {}) {
  const method = body === null ? "GET" : "POST";
  for (let attempt = 0; ; attempt += 1) {
    const headers = storedKey() ? { ...more, "x-api-key": storedKey() } : more;
    const response = await fetchOrSay(path, { method, body, headers, signal: job.signal });
    if (response.ok) return response;
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

/** What a fetch or a body gives; a connection that breaks meanwhile is Trouble of the code "gone". */
async function whole(coming) {
  try {
    return await coming;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble(say("service-gone"), say("service-gone-hint"), "", "gone");
  }
}

/** The problem document (RFC 9457) of an answer, in words. */
async function troubleOf(response) {
  const requestId = response.headers.get("x-request-id") ?? "";
  const kind = response.headers.get("content-type") ?? "";
  if (!kind.startsWith("application/problem+json")) {
    // Of something that stands in front of the service.
    const status = `${response.status} ${response.statusText}`.trim();
    const hint = say(response.status === 413 ? "photo-too-large-hint" : "try-in-a-minute");
    return new Trouble(say("not-reached", { status }), hint, requestId, "gone");
  }
  return inWords(await whole(response.json()));
}

/** What the service says to programs, said to people, by the problem's code where it has words. */
function inWords(problem) {
  const key = `problem-${problem.code}`;
  const said = knows(key)
    ? [say(key), say(`${key}-hint`)]
    : [sentence(problem.detail), sentence(problem.hint)];
  return new Trouble(...said, problem.request_id, problem.code);
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

/** Wait; ends early, with its reason, when the signal is given. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const end = () => {
      clearTimeout(timer);
      // A job asks for as long as it takes: none of its pauses stays behind.
      signal.removeEventListener("abort", end);
      if (signal.aborted) reject(signal.reason);
      else resolve();
    };
    const timer = setTimeout(end, seconds * 1000);
    signal.addEventListener("abort", end);
  });
}
