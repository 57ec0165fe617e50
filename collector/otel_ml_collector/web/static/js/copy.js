// Copy buttons. `data-copy` is the selector of the element whose text (or `data-text`) is copied.

import { say } from "./toast.js";

/** Copy a text and show a message. */
export async function copy(text, what = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
    say(what);
  } catch {
    say("The browser blocked copying. Select the text and copy it.");
  }
}

/** Copy the link to this page. Lists have a link with absolute times, which shows the same later. */
export function copyLink() {
  const link = document.querySelector("[data-link]")?.dataset.link ?? location.href;
  copy(new URL(link, location.href).href, "Link copied");
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-link]")) copyLink();
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.querySelector(button.dataset.copy);
  copy(source.dataset.text ?? source.textContent);
});
