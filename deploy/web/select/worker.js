// What is selected is found here, off the page's thread.

import { CLICKED, CLICKED_AWAY, GROUND, THING } from "./seeds.js";
import { Picture } from "./segment.js";

addEventListener("message", ({ data: { id, data, width, height, seeds } }) => {
  const labels = smooth(new Picture(data, width, height).select(seeds), width, height);
  // What somebody said is never smoothed away.
  seeds.forEach((seed, at) => {
    if (seed === THING || seed === CLICKED) labels[at] = 1;
    if (seed === GROUND || seed === CLICKED_AWAY) labels[at] = 0;
  });
  postMessage({ id, labels }, [labels.buffer]);
});

/** Every pixel as most of the 5x5 around it: pieces have ragged edges. */
function smooth(labels, width, height) {
  const across = sums(labels, width, height, 1, width);
  const both = sums(across, width, height, width, height);
  return both.map((sum) => (sum > 12 ? 1 : 0));
}

/** Sums of five pixels `step` apart, along rows (step 1) or columns; the edge repeats. */
function sums(values, width, height, step, length) {
  const out = new Uint8Array(values.length);
  for (let at = 0; at < values.length; at += 1) {
    const along = step === 1 ? at % width : Math.floor(at / width);
    for (let off = -2; off <= 2; off += 1) {
      const inside = Math.min(length - 1, Math.max(0, along + off)) - along;
      out[at] += values[at + inside * step];
    }
  }
  return out;
}
