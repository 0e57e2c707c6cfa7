// The thing that was pointed at: seeds to a region, as GrabCut does it, over superpixels.
// Colours of thing and ground are learned from the seeds, parted by the cheapest cut, and learned
// again from what that gave.

import { minimumCut } from "./flow.js";
import { CLICKED, CLICKED_AWAY, GROUND, MAYBE_THING, THING, UNKNOWN } from "./seeds.js";
import { cut, toLab } from "./superpixels.js";

const PIECES = 1600;
const ROUNDS = 4;
// Colours that a thing, and its ground, consist of.
const COLOURS = 5;
// In Lab: pieces nearer than this are of one colour to the eye.
const NOISE = 4;
// Cost of parting two pieces of one colour, for each pixel of their border.
const SMOOTH = 2.2;
const NEVER = 1e9;

/** A picture (RGBA) that things can be selected in. */
export class Picture {
  constructor(data, width, height) {
    this.width = width;
    this.height = height;
    this.pieces = cut(toLab(data), width, height, PIECES);
  }

  /**
   * Select by seeds: one of seeds.js for each pixel. Gives 1 for the pixels of the thing.
   */
  select(seeds) {
    const { of } = this.pieces;
    const seeded = this.#seedPieces(seeds);
    const far = this.#farFromThing(seeded);
    this.#addGround(seeded, far);
    let labels = this.#firstLabels(seeded, far);
    for (let round = 0; round < ROUNDS; round += 1) {
      const next = this.#cut(labels, seeded);
      const same = next.every((label, piece) => label === labels[piece]);
      labels = next;
      if (same) break;
    }
    labels = this.#reachable(labels, seeded);
    return Uint8Array.from(of, (piece) => labels[piece]);
  }

  /** What most of its seeds say of each piece; of a click a single pixel is enough. */
  #seedPieces(seeds) {
    const { of, count, sizes } = this.pieces;
    const seeded = new Uint8Array(count);
    const said = new Int32Array(count * 4);
    for (let pixel = 0; pixel < of.length; pixel += 1) said[of[pixel] * 4 + (seeds[pixel] & 3)] += 1;
    for (let piece = 0; piece < count; piece += 1) {
      for (const seed of [THING, GROUND, MAYBE_THING]) {
        if (said[piece * 4 + seed] * 2 > sizes[piece]) seeded[piece] = seed;
      }
    }
    for (let pixel = 0; pixel < of.length; pixel += 1) {
      if (seeds[pixel] === CLICKED) seeded[of[pixel]] = THING;
      if (seeds[pixel] === CLICKED_AWAY) seeded[of[pixel]] = GROUND;
    }
    return seeded;
  }

  /** The way to the next piece of the thing, long where colours change along it. */
  #farFromThing(seeded) {
    const { count } = this.pieces;
    const far = new Float64Array(count).fill(Infinity);
    const heap = new Heap();
    for (let piece = 0; piece < count; piece += 1) {
      if (seeded[piece] === THING) heap.add(far[piece] = 0, piece);
    }
    const around = this.#neighbours();
    for (let next = heap.take(); next !== null; next = heap.take()) {
      const [way, piece] = next;
      if (way > far[piece]) continue;
      for (const other of around[piece]) {
        const step = way + Math.max(0, this.#apart(piece, other) - NOISE / 2) + 0.3;
        if (step < far[other]) heap.add(far[other] = step, other);
      }
    }
    return far;
  }

  /** Where nobody said what is ground: the picture's edge, but for what is most like the thing. */
  #addGround(seeded, far) {
    const { edge } = this.pieces;
    if (seeded.includes(MAYBE_THING)) return;
    const ways = [...edge.keys()].filter((piece) => edge[piece] && seeded[piece] === UNKNOWN)
      .sort((a, b) => far[a] - far[b]);
    const near = far[ways[Math.floor(ways.length / 2)]] / 2;
    for (const piece of ways) if (far[piece] > near) seeded[piece] = GROUND;
  }

  #firstLabels(seeded, far) {
    if (seeded.includes(MAYBE_THING)) {
      return Uint8Array.from(seeded, (seed) => (seed === THING || seed === MAYBE_THING ? 1 : 0));
    }
    // Nearer to the thing than to the ground, by ways that cross few edges.
    const opposite = this.#farFromThing(seeded.map((seed) => [UNKNOWN, GROUND, THING][seed]));
    return far.map((way, piece) => (way < opposite[piece] ? 1 : 0));
  }

  #cut(labels, seeded) {
    const { count, pairs, lengths, sizes } = this.pieces;
    const thing = this.#learn(labels, 1);
    const ground = this.#learn(labels, 0);
    const toThing = new Float64Array(count);
    const toGround = new Float64Array(count);
    const spread = this.#spread();
    for (let piece = 0; piece < count; piece += 1) {
      if (seeded[piece] === THING) toThing[piece] = NEVER;
      else if (seeded[piece] === GROUND) toGround[piece] = NEVER;
      else {
        const weight = Math.sqrt(sizes[piece]);
        toThing[piece] = weight * Math.min(12, this.#unlike(piece, ground));
        toGround[piece] = weight * Math.min(12, this.#unlike(piece, thing));
      }
    }
    const costs = Float64Array.from(lengths, (length, index) => {
      const apart = this.#apart(pairs[index * 2], pairs[index * 2 + 1]);
      return SMOOTH * length * Math.exp(-(apart * apart) / (2 * spread)) + 0.1 * length;
    });
    return minimumCut(toThing, toGround, pairs, costs);
  }

  /** Colours of the pieces of one label, by k-means: [{ colour, variance, share }]. */
  #learn(labels, label) {
    const { count, colours, sizes } = this.pieces;
    const members = [];
    for (let piece = 0; piece < count; piece += 1) if (labels[piece] === label) members.push(piece);
    if (members.length === 0) return [];
    const colour = (piece) => colours.subarray(piece * 3, piece * 3 + 3);
    // The first is the largest; each next one the furthest from all before it.
    const middles = [Float64Array.from(colour(members.reduce((a, b) => (sizes[a] < sizes[b] ? b : a))))];
    const nearest = (piece) => Math.min(...middles.map((middle) => squared(colour(piece), middle)));
    while (middles.length < Math.min(COLOURS, members.length)) {
      const furthest = members.reduce((a, b) => (nearest(a) < nearest(b) ? b : a));
      middles.push(Float64Array.from(colour(furthest)));
    }
    let groups = [];
    for (let round = 0; round < 6; round += 1) {
      groups = middles.map(() => ({ size: 0, sum: [0, 0, 0], square: 0, members: [] }));
      for (const piece of members) {
        const ways = middles.map((middle) => squared(colour(piece), middle));
        const group = groups[ways.indexOf(Math.min(...ways))];
        group.size += sizes[piece];
        group.members.push(piece);
        colour(piece).forEach((part, index) => { group.sum[index] += part * sizes[piece]; });
      }
      groups = groups.filter((group) => group.size > 0);
      middles.length = 0;
      for (const group of groups) middles.push(Float64Array.from(group.sum, (sum) => sum / group.size));
    }
    const total = groups.reduce((sum, group) => sum + group.size, 0);
    return groups.map((group, index) => {
      const spread = group.members.reduce(
        (sum, piece) => sum + sizes[piece] * squared(colour(piece), middles[index]), 0,
      );
      const variance = spread / group.size / 3 + NOISE * NOISE;
      return { colour: middles[index], variance, share: group.size / total };
    });
  }

  /** How little a piece is like what was learned: minus the logarithm of how likely it is. */
  #unlike(piece, learned) {
    const colour = this.pieces.colours.subarray(piece * 3, piece * 3 + 3);
    const ways = learned.map(({ colour: middle, variance, share }) =>
      squared(colour, middle) / (2 * variance) + 1.5 * Math.log(variance) - Math.log(share));
    return ways.length ? Math.min(...ways) : 12;
  }

  /** Of the thing only what hangs together with a seed; and its holes, where nobody cut them. */
  #reachable(labels, seeded) {
    const around = this.#neighbours();
    const reach = (starts, inside) => {
      const seen = new Uint8Array(labels.length);
      const stack = starts.filter(inside);
      for (const piece of stack) seen[piece] = 1;
      while (stack.length) {
        for (const next of around[stack.pop()]) {
          if (!seen[next] && inside(next)) stack.push(next), seen[next] = 1;
        }
      }
      return seen;
    };
    const all = [...labels.keys()];
    const starts = all.filter((piece) => seeded[piece] === THING);
    // A line around it names no piece; then everything in it counts.
    const kept = starts.length ? reach(starts, (piece) => labels[piece] === 1) : labels;
    const outside = all.filter((piece) => this.pieces.edge[piece] || seeded[piece] === GROUND);
    const open = reach(outside, (piece) => !kept[piece]);
    return open.map((seen) => (seen ? 0 : 1));
  }

  #neighbours() {
    if (this.around) return this.around;
    const { count, pairs } = this.pieces;
    this.around = Array.from({ length: count }, () => []);
    for (let at = 0; at < pairs.length; at += 2) {
      this.around[pairs[at]].push(pairs[at + 1]);
      this.around[pairs[at + 1]].push(pairs[at]);
    }
    return this.around;
  }

  #apart(a, b) {
    const { colours } = this.pieces;
    return Math.sqrt(squared(colours.subarray(a * 3, a * 3 + 3), colours.subarray(b * 3, b * 3 + 3)));
  }

  /** How far neighbours are apart in general, squared. */
  #spread() {
    const { pairs } = this.pieces;
    let sum = 0;
    for (let at = 0; at < pairs.length; at += 2) sum += this.#apart(pairs[at], pairs[at + 1]) ** 2;
    return Math.max(1, sum / (pairs.length / 2));
  }
}

const squared = (a, b) => (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2;

/** Takes the least first. */
class Heap {
  #items = [];

  add(rank, value) {
    const items = this.#items;
    let at = items.push([rank, value]) - 1;
    while (at > 0 && items[(at - 1) >> 1][0] > items[at][0]) {
      const up = (at - 1) >> 1;
      [items[at], items[up]] = [items[up], items[at]];
      at = up;
    }
  }

  take() {
    const items = this.#items;
    if (items.length === 0) return null;
    const first = items[0];
    const last = items.pop();
    if (items.length) {
      items[0] = last;
      for (let at = 0; ;) {
        let least = at;
        for (const down of [2 * at + 1, 2 * at + 2]) {
          if (down < items.length && items[down][0] < items[least][0]) least = down;
        }
        if (least === at) break;
        [items[at], items[least]] = [items[least], items[at]];
        at = least;
      }
    }
    return first;
  }
}
