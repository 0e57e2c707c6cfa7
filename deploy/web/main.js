// Start of the page: words, settings of the service, the two tabs, and what concerns both.

import { FillTab } from "./fill.js";
import { Session } from "./keep/session.js";
import { startKeys } from "./keys.js";
import { LookTab } from "./look.js";
import { fromDrop, ofPaste } from "./sources.js";
import { readSettings } from "./service.js";
import { startTabs } from "./tabs.js";
import { chooseLanguage, currentLanguage, LANGUAGES, loadWords } from "./words.js";

async function start() {
  await loadWords();
  startLanguages(document.getElementById("language"));
  let settings = { samples: [] };
  try {
    settings = await readSettings();
  } catch (error) {
    // Painting works without the service, and filling will say that it is not there.
    console.warn(error.message);
  }
  const tabs = {
    fill: new FillTab(document.getElementById("fill"), settings),
    look: new LookTab(document.getElementById("look"), settings),
  };
  let shown = tabs.fill;
  startTabs(document.querySelector('[role="tablist"]'), (name) => { shown = tabs[name]; });
  fromDrop(document.body, (files) => shown.takeAll(files));
  document.addEventListener("paste", (event) => {
    const pasted = ofPaste(event);
    if (pasted.length) shown.takeAll(pasted);
  });
  const help = document.getElementById("help");
  document.getElementById("help-open").addEventListener("click", () => help.showModal());
  document.getElementById("help-close").addEventListener("click", () => help.close());
  startKeys(() => shown, () => help.showModal());
  const session = await Session.open((error) => shown.notKept(error));
  await tabs.fill.restore(session);
  await tabs.look.restore(session);
  document.documentElement.dataset.ready = "true";
}

function startLanguages(select) {
  for (const [tag, name] of Object.entries(LANGUAGES)) {
    const option = new Option(name, tag, false, tag === currentLanguage());
    option.lang = tag;
    select.append(option);
  }
  select.addEventListener("change", () => chooseLanguage(select.value));
}

start();
