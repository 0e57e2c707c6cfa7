// Keys of the whole page to actions of the tab that is shown; knows not what the actions do.

const PLAIN = {
  "[": "smaller",
  "]": "larger",
  "+": "zoomIn",
  "=": "zoomIn",
  "-": "zoomOut",
  0: "fit",
  b: "brush",
  e: "eraser",
  r: "rectangle",
  l: "lasso",
  s: "select",
  a: "again",
  "{": "softer",
  "}": "harder",
  PageDown: "next",
  PageUp: "previous",
  c: "compare",
  f: "fill",
  Delete: "clear",
  Backspace: "clear",
};
const WITH_CTRL = { z: "undo", y: "redo", s: "download", c: "copy", Enter: "fill" };
// Held for longer, Tab compares and the focus stays where it was; in milliseconds.
const HELD_MS = 250;

/** `current()` gives the tab that is shown; `help()` opens the list of keys. */
export function startKeys(current, help) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || writes(event.target)) return;
    if (event.key === "?") return help();
    // A slider has a use for these itself.
    if (event.key.startsWith("Page") && event.target.matches('input[type="range"]')) return;
    const action = actionOf(event);
    const tab = current();
    // What is marked on the page is copied as everywhere.
    if (action === "copy" && !getSelection().isCollapsed) return;
    if (action === undefined || !tab.isOpen || !(action in tab.actions)) return;
    event.preventDefault();
    tab.actions[action]();
  });
  startPeeking(current);
}

function actionOf(event) {
  if (event.altKey) return undefined;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!(event.ctrlKey || event.metaKey)) return PLAIN[key];
  return key === "z" && event.shiftKey ? "redo" : WITH_CTRL[key];
}

/** Whether keys mean text here, or a value of what has the focus. */
function writes(target) {
  return target.matches('input:not([type="radio"], [type="checkbox"], [type="range"]), select');
}

/**
 * Tab, held, shows the photo as it was. A press moves the focus on as it does everywhere: only
 * what the keyboard repeats while the key is held is kept from moving it further.
 */
function startPeeking(current) {
  let since = null;
  let from = null;
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Tab" || event.shiftKey || event.ctrlKey || event.altKey) return;
    if (document.querySelector("dialog[open]") || !current().canPeek) return;
    if (event.repeat) {
      event.preventDefault();
      current().peek(true);
    } else {
      since = event.timeStamp;
      from = document.activeElement;
      if (from === document.body || current().stage.contains(from)) current().peek(true);
    }
  });
  document.addEventListener("keyup", (event) => {
    if (event.key !== "Tab" || since === null) return;
    current().peek(false);
    if (event.timeStamp - since > HELD_MS) from?.focus({ preventScroll: true });
    since = null;
  });
  // What is let go elsewhere is not reported here.
  window.addEventListener("blur", () => current().peek(false));
}
