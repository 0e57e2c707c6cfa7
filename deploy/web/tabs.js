// The two tabs: by mouse, by arrow keys, and by the address' fragment.

/** `shown(name)` is called with the id of the panel that is shown. */
export function startTabs(list, shown) {
  const tabs = [...list.querySelectorAll('[role="tab"]')];
  const panelOf = (tab) => document.getElementById(tab.getAttribute("aria-controls"));

  function select(tab) {
    for (const each of tabs) {
      each.setAttribute("aria-selected", String(each === tab));
      each.tabIndex = each === tab ? 0 : -1;
      panelOf(each).hidden = each !== tab;
    }
    history.replaceState(null, "", `#${panelOf(tab).id}`);
    shown(panelOf(tab).id);
  }

  for (const tab of tabs) tab.addEventListener("click", () => select(tab));
  list.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    select(next);
  });
  select(tabs.find((tab) => `#${panelOf(tab).id}` === location.hash) ?? tabs[0]);
}
