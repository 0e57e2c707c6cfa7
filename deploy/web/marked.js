// A mask's file to the hole that it marks, as the service reads it (kintsugi.imaging.mask_decoding).

import { Trouble } from "./photo.js";
import { say } from "./words.js";

// A grey mask saved as colour JPEG comes back with channels a few steps apart.
const GREY_SPREAD = 8;
// Of a mask with hard edges: half marked; of one with smooth edges, which hold some of the object.
const HARD = 128;
const SMOOTH = 16;
// Marks of this strength are neither ground nor stroke; so many along an edge make it smooth.
const MIDDLE = [64, 191];
const SMOOTH_SHARE = 0.25;

/**
 * The hole in an ImageData, 1 for each of its pixels. `options` are mask_convention, invert_mask
 * and mask_threshold, as text or as they are. Throws Trouble when the convention does not fit.
 */
export function holeIn({ data, width, height }, options) {
  const marks = strengths(data, options.mask_convention);
  if (options.invert_mask) for (let at = 0; at < marks.length; at += 1) marks[at] = 255 - marks[at];
  const threshold = options.mask_threshold === "auto"
    ? bestOf(marks, width, height, options.mask_convention)
    : Number(options.mask_threshold);
  return marks.map((mark) => (mark >= threshold ? 1 : 0));
}

/** How strongly each pixel is marked, 0-255. */
function strengths(data, convention) {
  const marks = new Uint8Array(data.length / 4);
  if (convention === "alpha" || convention === "painted") {
    let least = 255;
    for (let at = 0; at < marks.length; at += 1) {
      const alpha = data[4 * at + 3];
      least = Math.min(least, alpha);
      marks[at] = convention === "painted" ? alpha : 255 - alpha;
    }
    if (least === 255) throw new Trouble(say("mask-opaque"), say("mask-opaque-hint"));
    return marks;
  }
  for (let at = 0; at < marks.length; at += 1) {
    const red = data[4 * at];
    const green = data[4 * at + 1];
    const blue = data[4 * at + 2];
    const alpha = data[4 * at + 3];
    const spread = Math.max(red, green, blue) - Math.min(red, green, blue);
    // What cannot be seen marks nothing.
    if (weighed(spread, alpha) > GREY_SPREAD) {
      throw new Trouble(say("mask-coloured"), say("mask-coloured-hint"));
    }
    const grey = Math.floor((red + green + blue) / 3);
    marks[at] = weighed(convention === "black" ? 255 - grey : grey, alpha);
  }
  return marks;
}

const weighed = (value, alpha) => Math.floor((value * alpha + 127) / 255);

/** The threshold by how the edges are. */
function bestOf(marks, width, height, convention) {
  if (convention === "alpha" || convention === "painted") {
    // All that was touched; of a picture that is half transparent throughout, what is more so.
    return marks.reduce((least, mark) => Math.min(least, mark), 255) + 1;
  }
  let along = 0;
  let middle = 0;
  for (let row = 0, at = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1, at += 1) {
      const isMarked = marks[at] >= HARD;
      if (column > 0 && isMarked !== marks[at - 1] >= HARD) along += 1;
      if (row > 0 && isMarked !== marks[at - width] >= HARD) along += 1;
      if (marks[at] >= MIDDLE[0] && marks[at] <= MIDDLE[1]) middle += 1;
    }
  }
  return along > 0 && middle > SMOOTH_SHARE * along ? SMOOTH : HARD;
}
