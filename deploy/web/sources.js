// Ways for a photo to come in: chosen, dropped, pasted, or a sample; knows not what becomes of it.

import { readSample } from "./service.js";
import { knows, say } from "./words.js";

/** Call `take(files)` with [[file, name], …] when files are chosen in this input. */
export function filesFrom(input, take) {
  input.addEventListener("change", () => {
    const files = named(input.files);
    // The same file can be chosen again.
    input.value = "";
    if (files.length) take(files);
  });
}

/** Call `take(files)` when files are dropped on this element. */
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
    const files = named(event.dataTransfer.files);
    if (files.length) take(files);
  });
}

/** The pictures of a paste as [[file, name], …]. */
export function ofPaste(event) {
  const files = [...(event.clipboardData?.files ?? [])];
  return named(files.filter((each) => each.type.startsWith("image/")));
}

const named = (files) => [...files].map((file) => [file, file.name || "pasted.png"]);

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
    title.dataset.say = `sample-${sample.name}`;
    title.textContent = knows(title.dataset.say) ? say(title.dataset.say) : sample.title;
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
