// A question before something is lost; knows not what.

/** Ask with a title, what it means, and the word for yes; gives whether they are sure. */
export function areSure(title, hint, yes) {
  const dialog = document.getElementById("sure");
  dialog.querySelector("h2").textContent = title;
  dialog.querySelector('[data-part="sure-hint"]').textContent = hint;
  dialog.querySelector('[data-part="sure-yes"]').textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
