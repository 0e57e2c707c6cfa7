// The photos that are open, as a strip of small pictures; knows not what is done to them.

import { newCanvas } from "./photo.js";
import { say } from "./words.js";

const SIDE = 72;

export class Tray {
  #list;
  #chosen;
  #closed;
  #items = new Map();
  #current = null;

  /** `chosen(document)` and `closed(document)` are what the person asks for. */
  constructor(list, { chosen, closed }) {
    this.#list = list;
    this.#chosen = chosen;
    this.#closed = closed;
  }

  /** Show these photos, and which of them is on the stage. */
  show(documents, current) {
    const items = documents.map((each) => this.#itemOf(each));
    for (const [each, item] of this.#items) {
      if (documents.includes(each)) continue;
      item.root.remove();
      this.#items.delete(each);
    }
    items.forEach((item, index) => {
      if (this.#list.children[index] !== item.root) this.#list.insertBefore(item.root, this.#list.children[index] ?? null);
    });
    documents.forEach((each, index) => this.#mark(items[index], each, each === current));
    this.#reveal(current);
  }

  /** Scroll to the photo that is on the stage, once: who scrolls on is left alone. */
  #reveal(current) {
    if (current === this.#current) return;
    this.#current = current;
    this.#items.get(current)?.root.scrollIntoView({ block: "nearest", inline: "center" });
  }

  focus(shown) {
    this.#items.get(shown)?.pick.focus();
  }

  /** Draw the small picture of a photo whose picture is decoded. */
  draw(shown) {
    const item = this.#items.get(shown);
    const picture = shown.photo.picture;
    if (!item || picture === null) return;
    const { canvas } = item;
    const context = canvas.getContext("2d");
    const scale = Math.max(canvas.width / picture.width, canvas.height / picture.height);
    const [width, height] = [picture.width * scale, picture.height * scale];
    const place = [(canvas.width - width) / 2, (canvas.height - height) / 2, width, height];
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, ...place);
    if (shown.mask.canvas.width > 0) {
      context.globalAlpha = 0.7;
      context.drawImage(shown.mask.canvas, ...place);
      context.globalAlpha = 1;
    }
  }

  #itemOf(shown) {
    const known = this.#items.get(shown);
    if (known) return known;
    const root = document.createElement("li");
    const pick = document.createElement("button");
    const canvas = newCanvas(SIDE * 2, SIDE * 2);
    const name = document.createElement("span");
    const state = document.createElement("small");
    const close = document.createElement("button");
    pick.type = close.type = "button";
    pick.className = "photo";
    name.className = "unseen";
    close.className = "close";
    close.textContent = "×";
    canvas.setAttribute("aria-hidden", "true");
    pick.append(canvas, name, state);
    pick.addEventListener("click", () => this.#chosen(shown));
    close.addEventListener("click", () => this.#closed(shown));
    root.append(pick, close);
    const item = { root, pick, canvas, name, state, close };
    this.#items.set(shown, item);
    return item;
  }

  #mark({ pick, name, state, close }, shown, isCurrent) {
    const { name: title } = shown;
    const key = stateOf(shown);
    pick.setAttribute("aria-current", String(isCurrent));
    pick.title = title;
    name.textContent = title;
    state.textContent = key ? say(key) : "";
    state.dataset.state = key;
    close.setAttribute("aria-label", say("close-photo", { name: title }));
    close.title = say("close-photo", { name: title });
  }
}

function stateOf(shown) {
  if (shown.sent) return "state-filling";
  if (shown.hasHole) return "state-painted";
  return shown.isFilled ? "state-filled" : "";
}
