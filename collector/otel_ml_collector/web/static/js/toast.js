// Shows a short message for two seconds; screen readers read it aloud.

/** Show a message that needs no answer. */
export function say(text) {
  document.querySelector(".toast")?.remove();
  const toast = document.createElement("div");
  toast.className = "toast";
  toast.setAttribute("role", "status");
  toast.textContent = text;
  document.body.append(toast);
  setTimeout(() => toast.remove(), 2000);
}
