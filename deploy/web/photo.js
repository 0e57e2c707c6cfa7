// Files to pictures that can be drawn, and back to files; knows no page and no service.

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

/** A picture as its file came, and decoded: upright, as it is displayed. */
export class Photo {
  constructor(blob, name, bitmap) {
    this.blob = blob;
    this.name = name;
    this.bitmap = bitmap;
    this.width = bitmap.width;
    this.height = bitmap.height;
  }

  /** The file's name without its ending. */
  get stem() {
    return this.name.replace(/\.[^.]*$/, "") || "photo";
  }
}

/**
 * Decode a file. `limits` holds max_bytes and max_pixels of the service; missing ones do not bind.
 * Throws Trouble.
 */
export async function openPhoto(blob, name, limits = {}) {
  if (blob.size > (limits.max_bytes ?? Infinity)) {
    throw new Trouble(
      `${name} has ${megabytes(blob.size)}; at most ${megabytes(limits.max_bytes)} can be sent.`,
      "Save it as JPEG or WebP, or make it smaller, and open it again.",
    );
  }
  const bitmap = await decode(blob, name);
  if (bitmap.width * bitmap.height > (limits.max_pixels ?? Infinity)) {
    const most = `${(limits.max_pixels / 1e6).toFixed(0)} megapixels`;
    const size = `${bitmap.width} × ${bitmap.height}`;
    bitmap.close();
    throw new Trouble(`${name} is ${size} pixels; at most ${most} are taken.`, "Make it smaller.");
  }
  return new Photo(blob, name, bitmap);
}

async function decode(blob, name) {
  try {
    return await createImageBitmap(blob);
  } catch {
    throw new Trouble(
      `${name} is not a picture that this browser can show.`,
      "Open a PNG, JPEG or WebP. Others, such as TIFF and HEIC, must be saved as one of these first.",
    );
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
  context.drawImage(photo.bitmap, 0, 0, width, height);
  const blob = await canvasToBlob(canvas, "image/png");
  return new Photo(blob, photo.name, await createImageBitmap(canvas));
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
  if (blob === null) {
    throw new Trouble("The browser could not save a picture of this size.", "Use a smaller photo.");
  }
  // Browsers write PNG in place of a type that they do not know.
  if (blob.type !== type) {
    const format = type.replace("image/", "").toUpperCase();
    throw new Trouble(`This browser cannot save ${format}.`, "Choose PNG or JPEG in the options.");
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
  context.drawImage(photo.bitmap, 0, 0);
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
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
