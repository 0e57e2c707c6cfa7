// What a person prefers, kept from one visit to the next: brushes, and what happens by itself.

const STORED = "kintsugi.preferences";
const MOST_BRUSHES = 6;
/** Brushes to begin with: size as a share of the photo's longer side, hardness 0-1. */
const FIRST = [
  { name: "brush-fine", size: 0.012, hardness: 1 },
  { name: "brush-medium", size: 0.0625, hardness: 1 },
  { name: "brush-soft", size: 0.125, hardness: 0.5 },
];

const preferences = { fillOnRelease: false, brushes: [], ...read() };

export const preferred = (name) => preferences[name];

export function prefer(name, value) {
  preferences[name] = value;
  localStorage.setItem(STORED, JSON.stringify(preferences));
}

/** All brushes: the first have the key of a name, those of one's own have none. */
export const brushes = () => [...FIRST, ...preferences.brushes];

/** Keep a brush; the oldest of one's own gives way. */
export function keepBrush(size, hardness) {
  prefer("brushes", [...preferences.brushes, { size, hardness }].slice(-MOST_BRUSHES));
}

export function dropBrush(brush) {
  prefer("brushes", preferences.brushes.filter((each) => each !== brush));
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(STORED) ?? "{}");
  } catch {
    // Of a version that wrote it otherwise.
    return {};
  }
}
