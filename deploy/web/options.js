// Controls of a request's options, made of what the service declares (deploy/options.py).

import { knows, say } from "./words.js";

// Numbers up to here have a slider; others, and those that are found by themselves, are typed.
const LONGEST_SLIDER = 1000;
// Words that are names, the same in every language.
const NAMES = {
  jpeg: "JPEG", webp: "WebP", tiff: "TIFF", heif: "HEIC", avif: "AVIF", bmp: "BMP", gif: "GIF", jp2: "JPEG 2000",
};

export class Options {
  #inputs = new Map();
  #declared = new Map();

  /** Put a control for each option below a place's heading, or where there is none at its end. */
  constructor(place, declared) {
    const rows = document.createDocumentFragment();
    for (const option of declared) rows.append(this.#row(option));
    const heading = place.querySelector("h2");
    if (heading) heading.after(rows);
    else place.append(rows);
  }

  /** Each option's value, by its name. */
  get values() {
    const values = {};
    for (const [name, input] of this.#inputs) {
      const preset = this.#declared.get(name).default;
      values[name] = input.type === "checkbox" ? input.checked : input.value || String(preset);
    }
    return values;
  }

  /** Those values that differ from the service's own. */
  get chosen() {
    const differs = ([name, value]) => String(value) !== String(this.#declared.get(name).default);
    return Object.fromEntries(Object.entries(this.values).filter(differs));
  }

  /** Choose these again; what this service no longer has stays as it is. */
  choose(values) {
    for (const [name, value] of Object.entries(values)) {
      const input = this.#inputs.get(name);
      const words = this.#declared.get(name)?.enum;
      if (!input || (words && !words.includes(value))) continue;
      if (input.type === "checkbox") input.checked = value;
      else input.value = value;
      // For whom it concerns what is chosen, as if by hand.
      input.dispatchEvent(new Event("input", { bubbles: true }));
    }
  }

  /** The control of an option; null where the service declares none of this name. */
  control(name) {
    return this.#inputs.get(name) ?? null;
  }

  #row(option) {
    const row = document.createElement("label");
    const input = document.createElement(option.enum ? "select" : "input");
    input.dataset.option = option.name;
    this.#inputs.set(option.name, input);
    this.#declared.set(option.name, option);
    if (option.type === "boolean") {
      input.type = "checkbox";
      input.defaultChecked = option.default;
      row.className = "check";
      row.append(input, titleOf(option));
      return row;
    }
    row.append(titleOf(option), input);
    row.className = "row";
    if (option.enum) {
      for (const word of option.enum) input.add(choiceOf(option, word));
      input.value = option.default;
      return row;
    }
    const isFound = option.default === "auto";
    input.type = option.maximum <= LONGEST_SLIDER && !isFound ? "range" : "number";
    input.min = option.minimum;
    input.step = option.type === "integer" ? 1 : "any";
    // A larger one would be rounded: JavaScript has no such whole numbers.
    input.max = Math.min(option.maximum, Number.MAX_SAFE_INTEGER);
    if (isFound) {
      input.dataset.sayPlaceholder = "automatic";
      input.placeholder = say("automatic");
    } else {
      input.defaultValue = option.default;
    }
    if (input.type === "range") {
      row.append(shown(input));
      row.className = "slider";
    }
    return row;
  }
}

/** An option's name in the language of the page, or as the service has it. */
function titleOf(option) {
  return named(document.createElement("span"), `option-${option.name}`, option.name);
}

/** One of the words of an option. */
function choiceOf(option, word) {
  const choice = new Option("", word, word === option.default);
  return named(choice, `option-${option.name}-${word}`, NAMES[word] ?? word);
}

/** Give an element a text by its key, where there is one in every language. */
function named(element, key, otherwise) {
  element.textContent = knows(key) ? say(key) : otherwise;
  if (knows(key)) element.dataset.say = key;
  return element;
}

/** A slider's value as text. */
function shown(input) {
  const output = document.createElement("output");
  const show = () => { output.textContent = input.value; };
  input.addEventListener("input", show);
  show();
  return output;
}
