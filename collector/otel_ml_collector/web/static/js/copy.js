// Copy buttons: each names the element whose text, or `data-text`, it copies.

import { say } from "./toast.js";

/** Copy a text, and say so. */
export async function copy(text, what = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
    say(what);
  } catch {
    say("The browser does not let this page copy: mark the text and copy it yourself");
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.querySelector(button.dataset.copy);
  copy(source.dataset.text ?? source.textContent);
});
