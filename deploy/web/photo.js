// Files to pictures that can be drawn, and back to files; knows no page and no service.

import { number, say } from "./words.js";

// The service cannot read a file either.
const UNREADABLE = ["image_format_not_allowed", "image_undecodable", "image_empty_file"];

/** A reason in words why something cannot be done, with what to do about it. */
export class Trouble extends Error {
  constructor(message, hint = "", requestId = "", code = "") {
    super(message);
    // Of the service's problem; "" for what it did not say.
    this.code = code;
    this.hint = hint;
    this.requestId = requestId;
  }
}

/** A name for a file or a photo that no other has; crypto.randomUUID needs https. */
export function fileKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A picture as its file came, and, while `picture` is there, decoded: upright, as displayed. */
export class Photo {
  #loading = null;

  /** `shown` is a file of the same picture that the browser can show. */
  constructor(blob, name, { width, height, picture = null, shown = blob, key, shownKey }) {
    this.blob = blob;
    this.name = name;
    this.width = width;
    this.height = height;
    this.picture = picture;
    this.shown = shown;
    this.key = key ?? fileKey();
    this.shownKey = shownKey ?? (shown === blob ? this.key : fileKey());
  }

  /** The file's name without its ending. */
  get stem() {
    return this.name.replace(/\.[^.]*$/, "") || "photo";
  }

  /** Decode it, if it is not. */
  async load() {
    this.#loading ??= createImageBitmap(this.shown);
    const picture = await this.#loading;
    if (this.#loading !== null) this.picture ??= picture;
    return this.picture;
  }

  unload() {
    this.picture?.close?.();
    this.picture = null;
    this.#loading = null;
  }

  /** What is kept of it; its files are added to the map. */
  record(files) {
    files.set(this.key, this.blob);
    files.set(this.shownKey, this.shown);
    const { name, width, height, key, shownKey } = this;
    return { name, width, height, key, shownKey };
  }

  static async restore(record, read) {
    const blob = await read(record.key);
    const shown = record.shownKey === record.key ? blob : await read(record.shownKey);
    return new Photo(blob, record.name, { ...record, shown });
  }
}

/**
 * Decode a file. `limits` holds max_bytes and max_pixels of the service; missing ones do not bind.
 * `preview(blob)`, where given, makes a file that the browser can show. Throws Trouble.
 */
export async function openPhoto(blob, name, limits = {}, preview = null) {
  if (blob.size > (limits.max_bytes ?? Infinity)) {
    const [size, most] = [megabytes(blob.size), megabytes(limits.max_bytes)];
    throw new Trouble(say("file-too-large", { name, size, most }), say("file-too-large-hint"));
  }
  const { picture, shown } = await decode(blob, name, preview);
  const { width, height } = picture;
  if (width * height > (limits.max_pixels ?? Infinity)) {
    picture.close();
    const most = number(Math.round(limits.max_pixels / 1e6));
    throw new Trouble(
      say("photo-too-large", { name, size: `${width} × ${height}`, most }),
      say("photo-too-large-hint"),
    );
  }
  return new Photo(blob, name, { width, height, picture, shown });
}

async function decode(blob, name, preview) {
  try {
    return { picture: await createImageBitmap(blob), shown: blob };
  } catch {
    if (preview === null) throw new Trouble(say("no-picture", { name }), say("no-picture-hint"));
  }
  try {
    const shown = await preview(blob);
    return { picture: await createImageBitmap(shown), shown };
  } catch (error) {
    if (!UNREADABLE.includes(error.code)) throw error;
    throw new Trouble(say("no-picture", { name }), say("no-picture-hint"), error.requestId);
  }
}

/** The same picture with at most so many pixels; itself when it is small enough. */
export async function shrinkPhoto(photo, maxPixels) {
  const scale = Math.sqrt(maxPixels / (photo.width * photo.height));
  if (!(scale < 1)) return photo;
  const width = Math.max(1, Math.floor(photo.width * scale));
  const height = Math.max(1, Math.floor(photo.height * scale));
  const canvas = newCanvas(width, height);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(await photo.load(), 0, 0, width, height);
  const blob = await canvasToBlob(canvas, "image/png");
  return new Photo(blob, photo.name, { width, height });
}

export function newCanvas(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** Encode a canvas. Throws Trouble when the browser has no memory for it, or cannot write the type. */
export async function canvasToBlob(canvas, type, quality) {
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, type, quality));
  if (blob === null) throw new Trouble(say("canvas-full"), say("canvas-full-hint"));
  // Browsers write PNG in place of a type that they do not know.
  if (blob.type !== type) {
    const format = type.replace("image/", "").toUpperCase();
    throw new Trouble(say("cannot-write", { format }), say("cannot-write-hint"));
  }
  return blob;
}

/** The file for a format: PNG as the service made it, others encoded here (sRGB, no profile). */
export async function encodePhoto(photo, format) {
  if (format === "png" && photo.blob.type === "image/png") return photo.blob;
  const canvas = newCanvas(photo.width, photo.height);
  const context = canvas.getContext("2d");
  if (format === "jpeg") {
    // It has no transparency; black would be a surprise.
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  context.drawImage(await photo.load(), 0, 0);
  return canvasToBlob(canvas, `image/${format}`, 0.92);
}

/** Hand a file to the person. */
export function saveFile(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The download reads it after the click.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function megabytes(bytes) {
  return `${number(bytes / 1e6, { maximumFractionDigits: bytes < 1e7 ? 1 : 0 })} MB`;
}
