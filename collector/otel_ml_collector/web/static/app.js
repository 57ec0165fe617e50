// Keys, copy buttons and the address of the API call; every page works without it.

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.querySelector(button.dataset.copy);
  const text = source.dataset.text ?? source.textContent;
  navigator.clipboard.writeText(text).then(() => say("Copied"));
});

// A choice that needs no button.
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "/") {
    const filter = document.querySelector(".filter input");
    if (filter) {
      event.preventDefault();
      filter.focus();
      filter.select();
    }
    return;
  }
  if (event.key === "Enter") {
    if (event.target === document.body) document.querySelector(".runs .cur .open")?.click();
    return;
  }
  const link = document.querySelector(`a[data-key="${CSS.escape(event.key)}"]`);
  if (link) link.click();
  else if (event.key === "j" || event.key === "k") move(event.key === "j" ? 1 : -1);
});

/** Move the marked row of the runs table. */
function move(step) {
  const rows = [...document.querySelectorAll(".runs tbody tr:not(.more)")];
  if (!rows.length) return;
  const at = rows.findIndex((row) => row.classList.contains("cur"));
  const next = rows[Math.min(Math.max(at + step, 0), rows.length - 1)];
  rows[at]?.classList.remove("cur");
  next.classList.add("cur");
  next.scrollIntoView({ block: "nearest" });
}

/** Tell the user something for two seconds, also through a screen reader. */
function say(text) {
  document.querySelector(".toast")?.remove();
  const toast = document.createElement("div");
  toast.className = "toast";
  toast.setAttribute("role", "status");
  toast.textContent = text;
  document.body.append(toast);
  setTimeout(() => toast.remove(), 2000);
}

// The call as it is typed: with this server's own address.
const call = document.querySelector("#api-call");
if (call) {
  const key = "key" in call.dataset ? '-H "x-api-key: $OTEL_ML_API_KEY" ' : "";
  call.textContent = `curl ${key}'${location.origin}${call.dataset.path.replaceAll("'", "%27")}'`;
}
