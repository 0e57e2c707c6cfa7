// A picture cut into small pieces of one colour each (SLIC); knows not what they are for.

const ROUNDS = 6;
// How much a piece keeps together, in steps of Lab colour over its own width.
const COMPACT = 8;

/** RGBA bytes to Lab, three floats a pixel. */
export function toLab(data) {
  const count = data.length / 4;
  const lab = new Float32Array(count * 3);
  const linear = Float32Array.from({ length: 256 }, (_, value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  const bent = (t) => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116);
  for (let at = 0; at < count; at += 1) {
    const [r, g, b] = [linear[data[at * 4]], linear[data[at * 4 + 1]], linear[data[at * 4 + 2]]];
    const x = bent((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505);
    const y = bent(0.2126 * r + 0.7152 * g + 0.0722 * b);
    const z = bent((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089);
    lab[at * 3] = 116 * y - 16;
    lab[at * 3 + 1] = 500 * (x - y);
    lab[at * 3 + 2] = 200 * (y - z);
  }
  return lab;
}

/**
 * Cut a picture into about `count` pieces. Gives { of, count, colours, sizes, pairs, lengths,
 * edge }: the piece of every pixel; of every piece its mean colour (Lab) and pixels; neighbours as
 * [a, b, a, b, …] with how long their common border is; and which pieces touch the picture's edge.
 */
export function cut(lab, width, height, count) {
  const side = Math.max(2, Math.sqrt((width * height) / count));
  const rough = assign(lab, width, height, side);
  const of = connect(rough, width, height, (side * side) / 4);
  return measure(of, lab, width, height);
}

function assign(lab, width, height, side) {
  const [across, down] = [Math.max(1, Math.round(width / side)), Math.max(1, Math.round(height / side))];
  // Of each piece: x, y, L, a, b.
  const centres = new Float32Array(across * down * 5);
  for (let row = 0; row < down; row += 1) {
    for (let column = 0; column < across; column += 1) {
      const [x, y] = [((column + 0.5) * width) / across, ((row + 0.5) * height) / down];
      const pixel = Math.floor(y) * width + Math.floor(x);
      centres.set([x, y, ...lab.subarray(pixel * 3, pixel * 3 + 3)], (row * across + column) * 5);
    }
  }
  const of = new Int32Array(width * height);
  const best = new Float32Array(width * height);
  const weight = (COMPACT / side) ** 2;
  for (let round = 0; round < ROUNDS; round += 1) {
    best.fill(Infinity);
    for (let piece = 0; piece < across * down; piece += 1) {
      const [x, y, l, a, b] = centres.subarray(piece * 5, piece * 5 + 5);
      const [left, right] = [Math.max(0, Math.ceil(x - side)), Math.min(width - 1, Math.floor(x + side))];
      const [top, bottom] = [Math.max(0, Math.ceil(y - side)), Math.min(height - 1, Math.floor(y + side))];
      for (let row = top; row <= bottom; row += 1) {
        for (let column = left; column <= right; column += 1) {
          const pixel = row * width + column;
          const at = pixel * 3;
          const [dl, da, db] = [lab[at] - l, lab[at + 1] - a, lab[at + 2] - b];
          const far = dl * dl + da * da + db * db
            + weight * ((column - x) * (column - x) + (row - y) * (row - y));
          if (far < best[pixel]) [best[pixel], of[pixel]] = [far, piece];
        }
      }
    }
    recentre(centres, of, lab, width);
  }
  return of;
}

function recentre(centres, of, lab, width) {
  const sums = new Float64Array(centres.length);
  const counts = new Int32Array(centres.length / 5);
  for (let pixel = 0; pixel < of.length; pixel += 1) {
    const at = of[pixel] * 5;
    counts[of[pixel]] += 1;
    sums[at] += pixel % width;
    sums[at + 1] += Math.floor(pixel / width);
    for (let part = 0; part < 3; part += 1) sums[at + 2 + part] += lab[pixel * 3 + part];
  }
  for (let at = 0; at < centres.length; at += 1) {
    const count = counts[Math.floor(at / 5)];
    if (count) centres[at] = sums[at] / count;
  }
}

/** Number the connected pieces; those of fewer than `least` pixels join the one before them. */
function connect(rough, width, height, least) {
  const of = new Int32Array(rough.length).fill(-1);
  const stack = new Int32Array(rough.length);
  let count = 0;
  for (let start = 0; start < rough.length; start += 1) {
    if (of[start] !== -1) continue;
    let [filled, taken] = [1, 0];
    stack[0] = start;
    of[start] = count;
    let neighbour = -1;
    while (taken < filled) {
      const pixel = stack[taken];
      taken += 1;
      const x = pixel % width;
      for (const next of [x > 0 ? pixel - 1 : -1, x < width - 1 ? pixel + 1 : -1,
        pixel - width, pixel + width]) {
        if (next < 0 || next >= rough.length) continue;
        if (of[next] === -1 && rough[next] === rough[start]) {
          of[next] = count;
          stack[filled] = next;
          filled += 1;
        } else if (of[next] !== -1 && of[next] !== count) neighbour = of[next];
      }
    }
    if (filled < least && neighbour !== -1) {
      for (let at = 0; at < filled; at += 1) of[stack[at]] = neighbour;
    } else count += 1;
  }
  return of;
}

function measure(of, lab, width, height) {
  const count = of.reduce((most, piece) => Math.max(most, piece), 0) + 1;
  const colours = new Float32Array(count * 3);
  const sizes = new Int32Array(count);
  const edge = new Uint8Array(count);
  const borders = new Map();
  const meet = (a, b) => {
    if (a === b) return;
    const key = Math.min(a, b) * count + Math.max(a, b);
    borders.set(key, (borders.get(key) ?? 0) + 1);
  };
  for (let pixel = 0; pixel < of.length; pixel += 1) {
    const [piece, x, y] = [of[pixel], pixel % width, Math.floor(pixel / width)];
    sizes[piece] += 1;
    for (let part = 0; part < 3; part += 1) colours[piece * 3 + part] += lab[pixel * 3 + part];
    if (x === 0 || y === 0 || x === width - 1 || y === height - 1) edge[piece] = 1;
    if (x < width - 1) meet(piece, of[pixel + 1]);
    if (y < height - 1) meet(piece, of[pixel + width]);
  }
  for (let at = 0; at < colours.length; at += 1) colours[at] /= sizes[Math.floor(at / 3)];
  const pairs = new Int32Array(borders.size * 2);
  const lengths = new Int32Array(borders.size);
  [...borders].forEach(([key, length], index) => {
    pairs[index * 2] = Math.floor(key / count);
    pairs[index * 2 + 1] = key % count;
    lengths[index] = length;
  });
  return { of, count, colours, sizes, pairs, lengths, edge };
}
