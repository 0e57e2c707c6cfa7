// Ways for a photo to come in: chosen, dropped, pasted, or a sample; knows not what becomes of it.

import { readSample } from "./service.js";

/** Call `take(file, name)` when a file is chosen in this input. */
export function fromInput(input, take) {
  input.addEventListener("change", () => {
    const [file] = input.files;
    // The same file can be chosen again.
    input.value = "";
    if (file) take(file, file.name);
  });
}

/** Call `take(file, name)` when a file is dropped on this element. */
export function fromDrop(target, take) {
  let depth = 0;
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    target.classList.toggle("dropping", depth > 0);
  };
  target.addEventListener("dragenter", (event) => { event.preventDefault(); mark(1); });
  target.addEventListener("dragleave", () => mark(-1));
  target.addEventListener("dragover", (event) => event.preventDefault());
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    depth = 0;
    mark(0);
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
  });
}

/** The picture of a paste as [file, name]; null when there is none. */
export function ofPaste(event) {
  const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
  return file ? [file, file.name || "pasted.png"] : null;
}

/** Fill a list with one button for each sample; `take(file, name)` gets what is chosen. */
export function fromSamples(list, samples, { take, failed }) {
  list.replaceChildren(...samples.map((sample) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    const picture = document.createElement("img");
    const title = document.createElement("span");
    button.type = "button";
    button.className = "sample";
    picture.src = new URL(sample.url, document.baseURI);
    picture.alt = "";
    title.textContent = sample.title;
    button.append(picture, title);
    button.addEventListener("click", async () => {
      try {
        await take(await readSample(sample), sample.name);
      } catch (error) {
        failed(error);
      }
    });
    item.append(button);
    return item;
  }));
}
