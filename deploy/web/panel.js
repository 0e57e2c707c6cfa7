// Buttons, sliders and sheets of the tab that fills, brought to what the editor holds and back.

import { brushes, dropBrush, keepBrush, prefer, preferred } from "./keep/preferences.js";
import { Options } from "./options.js";
import { filesFrom } from "./sources.js";
import { number, say } from "./words.js";

// Of the slider of the brush: so many positions from the smallest size to the largest.
const POSITIONS = 100;

export class Panel {
  #root;
  #editor;
  #actions;
  #options;
  #fileOptions;
  #maskOptions;
  #chosen;

  /**
   * `declared` are the service's options in their groups, `actions` are by name; open(files),
   * importMask(file, name, options) and exportMask() are for files, touched() follows a press on
   * the stage, and chosen() a change of what `choices` holds.
   */
  constructor(root, editor, { declared, actions, open, importMask, exportMask, touched, chosen }) {
    this.#root = root;
    this.#editor = editor;
    this.#actions = actions;
    this.#chosen = chosen;
    for (const button of root.querySelectorAll("[data-action]")) this.#button(button);
    for (const input of root.querySelectorAll('input[type="file"][data-part="open"]')) {
      filesFrom(input, open);
    }
    this.#part("stage").addEventListener("pointerdown", touched);
    filesFrom(this.#part("import"), ([first]) => {
      root.querySelector("#mask-sheet").hidePopover();
      importMask(...first, this.#maskOptions.values);
    });
    this.#part("export").addEventListener("click", exportMask);
    // Not its change: the tool that is chosen already leads back from the comparison, too.
    this.#part("tools").addEventListener("click", (event) => {
      if (event.target.matches("input")) this.choose(event.target.value);
    });
    this.#part("select-bar").addEventListener("change", (event) => {
      editor.takesAway = event.target.value === "away";
      chosen();
    });
    this.#options = new Options(this.#part("options"), declared.options ?? []);
    this.#fileOptions = new Options(this.#part("file-options"), declared.file_options ?? []);
    this.#maskOptions = new Options(this.#part("mask-options"), declared.mask_options ?? []);
    for (const place of ["options", "mask-options"]) this.#part(place).addEventListener("input", chosen);
    this.#sliders();
    this.#brushes();
    document.addEventListener("words", () => { this.#brushes(); this.#hardness(); });
    // A choice in the menu closes it first: a question that follows gives the focus back to what
    // opened the menu, not to what is no longer seen.
    for (const item of root.querySelectorAll(".menu > *")) {
      item.addEventListener("click", (event) => {
        if (!event.target.matches("input, [popovertarget]")) this.#root.querySelector("#more-sheet").hidePopover();
      }, { capture: true });
    }
  }

  /** The options of a fill; the edge is as soft as the brushes that painted it. */
  options(document) {
    const values = this.#options.values;
    const feather = this.#options.control("feather");
    if (feather === null) return values;
    const softest = Math.max(Number(feather.value), document.softness);
    return { ...values, feather: Math.min(Number(feather.max), softest) };
  }

  /** Of the file to download: format, quality, whether without metadata. */
  get file() {
    return this.#fileOptions.values;
  }

  nextVariation() {
    const variation = this.#options.control("seed");
    if (variation !== null) this.#options.choose({ seed: Number(variation.value) + 1 });
  }

  /** All that is chosen here for fills to come, as it can be kept. */
  get choices() {
    const { tool, hardness, takesAway } = this.#editor;
    return {
      tool,
      hardness,
      takesAway,
      options: this.#options.chosen,
      file: this.#fileOptions.chosen,
      mask: this.#maskOptions.chosen,
    };
  }

  /** Choose what an earlier visit had chosen. */
  restore({ tool, hardness, takesAway, options, file, mask }) {
    this.#options.choose(options);
    this.#fileOptions.choose(file);
    this.#maskOptions.choose(mask);
    this.#setHardness(hardness);
    const way = this.#part("select-bar").querySelector(`[value="${takesAway ? "away" : "add"}"]`);
    way.checked = true;
    this.#editor.takesAway = takesAway;
    this.choose(tool);
  }

  choose(tool) {
    this.#root.querySelector(`input[name="tool"][value="${tool}"]`).checked = true;
    this.#part("select-bar").hidden = tool !== "select";
    this.#editor.setTool(tool);
    this.#chosen();
  }

  harden(by) {
    this.#setHardness(Math.round((this.#editor.hardness + by) * 20) / 20);
  }

  /** Bring buttons and figures to the photo on the stage. */
  show(documents) {
    const editor = this.#editor;
    const { document } = editor;
    if (document === null) return;
    const enabled = {
      undo: document.canUndo,
      redo: document.canRedo,
      clear: document.hasHole,
      compare: document.isFilled,
      peek: document.isFilled,
      download: document.isFilled,
      copy: document.isFilled,
      again: document.lastStep?.kind === "fill" && !document.sent,
      fill: !document.sent,
      sameHole: document.hasHole,
      fillAll: documents.some((each) => each.hasHole && !each.sent),
      downloadAll: documents.some((each) => each.isFilled),
    };
    for (const button of this.#root.querySelectorAll("button[data-action]")) {
      button.disabled = enabled[button.dataset.action] === false;
    }
    this.#part("compare").setAttribute("aria-pressed", String(editor.isComparing));
    this.#part("zoom").textContent = number(editor.view.scale, { style: "percent" });
    const { least, most } = editor.limits;
    const slider = this.#part("size");
    slider.value = POSITIONS * Math.log(editor.size / least) / Math.log(most / least);
    slider.setAttribute("aria-valuetext", say("pixels", { count: editor.size }));
    this.#part("size-shown").textContent = `${editor.size} px`;
    this.#root.classList.toggle("comparing", editor.isComparing);
  }

  #button(button) {
    const { action } = button.dataset;
    if (!("hold" in button.dataset)) {
      return button.addEventListener("click", () => this.#actions[action]());
    }
    // Held, by whatever: it shows the photo as it was until it is let go.
    const hold = (shown) => () => {
      this.#editor.peek(shown);
      button.classList.toggle("held", shown);
    };
    const isKey = ({ key }) => key === " " || key === "Enter";
    button.addEventListener("pointerdown", (event) => {
      button.setPointerCapture(event.pointerId);
      hold(true)();
    });
    for (const end of ["pointerup", "pointercancel", "blur", "lostpointercapture"]) {
      button.addEventListener(end, hold(false));
    }
    button.addEventListener("keydown", (event) => { if (isKey(event)) hold(true)(); });
    button.addEventListener("keyup", (event) => { if (isKey(event)) hold(false)(); });
    button.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  #sliders() {
    this.#part("size").addEventListener("input", (event) => {
      const { least, most } = this.#editor.limits;
      this.#editor.setSize(Math.round(least * (most / least) ** (event.target.value / POSITIONS)));
    });
    this.#options.control("feather")?.addEventListener("input", (event) => {
      this.#editor.feather = Number(event.target.value);
      this.#editor.view.redraw();
    });
    this.#part("hardness").addEventListener("input", (event) => {
      this.#setHardness(event.target.value / 100);
    });
    this.#hardness();
    const byItself = this.#part("fill-on-release");
    byItself.checked = preferred("fillOnRelease");
    byItself.addEventListener("change", () => prefer("fillOnRelease", byItself.checked));
    this.#part("keep-brush").addEventListener("click", () => {
      keepBrush(this.#editor.size / this.#side, this.#editor.hardness);
      this.#brushes();
    });
  }

  #setHardness(hardness) {
    this.#editor.hardness = Math.min(1, Math.max(0, hardness));
    this.#hardness();
    this.#editor.view.redraw();
    this.#chosen();
  }

  #hardness() {
    const { hardness } = this.#editor;
    this.#part("hardness").value = 100 * hardness;
    this.#part("hardness-shown").textContent = number(hardness, { style: "percent" });
  }

  /** The longer side of the photo: brushes are kept as shares of it. */
  get #side() {
    const { width, height } = this.#editor.document.original;
    return Math.max(width, height);
  }

  #brushes() {
    this.#part("brushes").replaceChildren(...brushes().map((brush) => {
      const button = document.createElement("button");
      const dot = document.createElement("i");
      const name = document.createElement("span");
      button.type = "button";
      button.className = "preset";
      dot.className = brush.hardness < 1 ? "soft" : "";
      dot.dataset.size = brush.size < 0.03 ? "small" : brush.size < 0.1 ? "medium" : "large";
      name.textContent = brush.name ? say(brush.name) : say("brush-own", {
        size: number(brush.size, { style: "percent", maximumFractionDigits: 1 }),
        hardness: number(brush.hardness, { style: "percent" }),
      });
      button.append(dot, name);
      button.addEventListener("click", () => {
        this.choose("brush");
        this.#editor.setSize(Math.max(1, Math.round(brush.size * this.#side)));
        this.#setHardness(brush.hardness);
      });
      if (brush.name) return button;
      // One's own go with Delete, or by a press on the cross.
      const cross = document.createElement("button");
      cross.type = "button";
      cross.className = "quiet";
      cross.textContent = "×";
      cross.setAttribute("aria-label", say("drop-brush", { name: name.textContent }));
      cross.addEventListener("click", () => { dropBrush(brush); this.#brushes(); });
      const both = document.createElement("span");
      both.className = "own";
      both.append(button, cross);
      return both;
    }));
  }

  #part(name) {
    return this.#root.querySelector(`[data-part="${name}"]`);
  }
}
