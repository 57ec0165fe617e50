// The button that marks a run for later. The mark is a tag; a second click sets it to false.

import { send } from "./api.js";

for (const button of document.querySelectorAll("[data-mark]")) {
  button.addEventListener("click", async () => {
    const isMarked = button.getAttribute("aria-pressed") !== "true";
    if (await send("POST", button.dataset.mark, { tags: { [button.dataset.tag]: isMarked } })) {
      button.setAttribute("aria-pressed", isMarked);
    }
  });
}
