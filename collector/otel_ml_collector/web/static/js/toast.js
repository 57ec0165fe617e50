// Short messages at the edge of the page, also for screen readers.

const SHORT_MS = 2000;
const OFFER_MS = 10_000;

/** Show a message for some time. */
function show(text, ms) {
  document.querySelector(".toast")?.remove();
  const toast = document.createElement("div");
  toast.className = "toast";
  toast.setAttribute("role", "status");
  toast.textContent = text;
  document.body.append(toast);
  setTimeout(() => toast.remove(), ms);
  return toast;
}

/** Show a message for two seconds. */
export function say(text) {
  show(text, SHORT_MS);
}

/** Show a message with a button, such as Undo. */
export function offer(text, label, act) {
  const button = document.createElement("button");
  button.className = "btn";
  button.textContent = label;
  button.addEventListener("click", async () => {
    button.disabled = true;
    if (await act()) say("Undone");
  });
  show(text, OFFER_MS).append(button);
}
