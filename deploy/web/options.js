// Controls of a request's options, made of what the service declares (deploy/options.py).

import { knows, say } from "./words.js";

// Numbers up to here have a slider; others are typed.
const LONGEST_SLIDER = 1000;

export class Options {
  #inputs = new Map();

  /** Put a control for each option in front of what is in a sheet already. */
  constructor(sheet, declared) {
    const rows = document.createDocumentFragment();
    for (const option of declared) rows.append(this.#row(option));
    sheet.querySelector("h2").after(rows);
  }

  /** Each option's value, by its name. */
  get values() {
    const values = {};
    for (const [name, input] of this.#inputs) {
      values[name] = input.type === "checkbox" ? input.checked : input.value || input.defaultValue;
    }
    return values;
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
      for (const word of option.enum) input.add(new Option(word, word, word === option.default));
      input.value = option.default;
      return row;
    }
    input.type = option.maximum <= LONGEST_SLIDER ? "range" : "number";
    input.min = option.minimum;
    input.step = option.type === "integer" ? 1 : "any";
    // A larger one would be rounded: JavaScript has no such whole numbers.
    input.max = Math.min(option.maximum, Number.MAX_SAFE_INTEGER);
    input.defaultValue = option.default;
    if (input.type === "range") {
      row.append(shown(input));
      row.className = "slider";
    }
    return row;
  }
}

/** An option's name in the language of the page, or as the service has it. */
function titleOf(option) {
  const title = document.createElement("span");
  const key = `option-${option.name}`;
  title.textContent = knows(key) ? say(key) : option.title;
  if (knows(key)) title.dataset.say = key;
  return title;
}

/** A slider's value as text. */
function shown(input) {
  const output = document.createElement("output");
  const show = () => { output.textContent = input.value; };
  input.addEventListener("input", show);
  show();
  return output;
}
