// The result out of the page: a file, or the clipboard; knows no stage.

import { encodePhoto, saveFile, Trouble } from "./photo.js";
import { saveAs } from "./service.js";
import { say } from "./words.js";

const FORMATS = ["png", "jpeg", "webp", "tiff", "heif", "avif", "bmp", "gif", "jp2"];
const WRITTEN_HERE = ["jpeg", "webp"];
// Of files, where it is another word than the format's.
const ENDINGS = { jpeg: "jpg", tiff: "tif", heif: "heic" };

/**
 * Give the photos of documents as files; `options` are format, quality and strip_metadata.
 * `saved(document)` is called for each. Resolves to what could not be kept, by name; "" for nothing.
 */
export async function savePhotos(documents, options, saved) {
  const lost = [];
  for (const each of documents) {
    const notes = await savePhoto(each, options);
    if (notes) lost.push(`${each.name}: ${notes}`);
    saved(each);
  }
  return lost.join(" ");
}

async function savePhoto(document, options) {
  const { photo, original } = document;
  const { file, notes } = await fileOf(photo, original, options);
  const type = file.type.replace("image/", "");
  saveFile(file, `${original.stem}-filled.${ENDINGS[type] ?? type}`);
  return notes;
}

async function fileOf(photo, original, options) {
  const { format } = options;
  const own = format === "same" ? original.blob.type : `image/${format}`;
  const isExpanded = photo.width !== original.width || photo.height !== original.height;
  const isWritten = own === photo.blob.type && own === "image/png" && !options.strip_metadata;
  // Nothing of the photo's file is in it but what the canvas has.
  if (isExpanded && isWritten) return { file: photo.blob, notes: "" };
  const job = { signal: new AbortController().signal, waiting() {} };
  try {
    // What was expanded is another photo than the file's, and is written as itself.
    const source = isExpanded ? photo.blob : original.blob;
    const chosen = { ...options, format: isExpanded ? wordOf(own) : format };
    return await saveAs(source, photo.blob, chosen, job);
  } catch (error) {
    if (error.code !== "gone") throw error;
    // As the service made it for the page.
    if (isWritten) return { file: photo.blob, notes: "" };
    // Without the service: what the browser can write, in its own colours and without metadata.
    const format = WRITTEN_HERE.includes(wordOf(own)) ? wordOf(own) : "png";
    return { file: await encodePhoto(photo, format), notes: say("written-here") };
  }
}

/** A type of a file as the word of a format; what a browser has no type for is written as PNG. */
function wordOf(type) {
  const word = { "image/heic": "heif", "image/x-ms-bmp": "bmp" }[type] ?? type.replace("image/", "");
  return FORMATS.includes(word) ? word : "png";
}

/** Put a photo into the clipboard. Throws Trouble where the browser lets no page do so. */
export async function copyPhoto(photo) {
  if (!navigator.clipboard?.write) throw new Trouble(say("no-clipboard"), say("no-clipboard-hint"));
  // Given as a promise: some browsers forget the press of a button while it is made.
  const item = new ClipboardItem({ "image/png": encodePhoto(photo, "png") });
  try {
    await navigator.clipboard.write([item]);
  } catch (error) {
    if (error.name !== "NotAllowedError") throw error;
    throw new Trouble(say("no-clipboard"), say("no-clipboard-hint"));
  }
}
