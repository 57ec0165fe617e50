// The button that marks a run for a later look: a tag of the run, which a second click takes back.

import { send } from "./api.js";

for (const button of document.querySelectorAll("[data-mark]")) {
  button.addEventListener("click", async () => {
    const isMarked = button.getAttribute("aria-pressed") !== "true";
    if (await send("POST", button.dataset.mark, { tags: { [button.dataset.tag]: isMarked } })) {
      button.setAttribute("aria-pressed", isMarked);
    }
  });
}
