// The API key that a service may ask for: a dialog for it, and where it is kept; knows no request.

// In this tab's storage, which goes when the tab is closed.
const STORED = "kintsugi.api-key";

/** The key that was entered in this tab; "" for none. */
export function storedKey() {
  return sessionStorage.getItem(STORED) ?? "";
}

/**
 * Ask the person for a key, saying `trouble`. Gives true when one was entered and false when
 * not; rejects when `signal` ends what it is for.
 */
export function askForKey(trouble, signal) {
  const dialog = document.getElementById("key");
  const form = dialog.querySelector("form");
  const input = form.elements.key;
  dialog.querySelector("h2").textContent = trouble.message;
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    const heard = new AbortController();
    const listen = { signal: heard.signal };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(STORED, input.value.trim());
      dialog.close("entered");
    }, listen);
    form.querySelector('[type="button"]').addEventListener("click", () => dialog.close(), listen);
    signal.addEventListener("abort", () => dialog.close("ended"), listen);
    dialog.addEventListener("close", () => {
      heard.abort();
      if (dialog.returnValue === "ended") reject(signal.reason);
      else resolve(dialog.returnValue === "entered");
    }, listen);
  });
}
