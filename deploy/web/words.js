// The page's words in the language of the person; one file a language, in languages/.

const STORED = "kintsugi.language";
/** The languages there are, each by its own name. */
export const LANGUAGES = { en: "English", de: "Deutsch", zh: "中文" };
// Attributes that are words, by the end of `data-say-…`.
const ATTRIBUTES = {
  title: "title", label: "aria-label", about: "aria-description", alt: "alt", placeholder: "placeholder",
};

let words = {};
let language = "en";

/** Load the words: of the language chosen earlier, else of the browser's first that is known. */
export async function loadWords(chosen = stored() ?? preferred()) {
  const address = new URL(`web/languages/${chosen}.json`, document.baseURI);
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  words = await answer.json();
  language = chosen;
  document.documentElement.lang = chosen;
  translate(document.documentElement);
}

/** Change the language for now and for later; `words` is dispatched on the document. */
export async function chooseLanguage(chosen) {
  await loadWords(chosen);
  localStorage.setItem(STORED, chosen);
  document.dispatchEvent(new Event("words"));
}

export const currentLanguage = () => language;

/** A text by its key; `{name}` in it becomes `values.name`. */
export function say(key, values = {}) {
  const text = words[key];
  // A text that is missing shows its key: `tests/deploy/web/test_languages.py` finds those.
  return (text ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Whether there is a text of this key. */
export const knows = (key) => Object.hasOwn(words, key);

/** A number as the language writes it. */
export const number = (value, options = {}) => new Intl.NumberFormat(language, options).format(value);

/** Put the words where `root` and what is in it ask for them. */
function translate(root) {
  for (const element of root.querySelectorAll("[data-say]")) {
    element.textContent = say(element.dataset.say);
  }
  for (const [end, attribute] of Object.entries(ATTRIBUTES)) {
    for (const element of root.querySelectorAll(`[data-say-${end}]`)) {
      element.setAttribute(attribute, say(element.getAttribute(`data-say-${end}`)));
    }
  }
}

function stored() {
  const chosen = localStorage.getItem(STORED);
  return chosen in LANGUAGES ? chosen : null;
}

function preferred() {
  const wanted = navigator.languages.map((tag) => tag.toLowerCase().split("-")[0]);
  return wanted.find((tag) => tag in LANGUAGES) ?? "en";
}
