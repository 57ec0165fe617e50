// Submits a form as soon as one of its menus changes.

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

// A click elsewhere, or Escape, closes an open list.
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.switch[open]")) {
    if (!open.contains(event.target)) open.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const open of document.querySelectorAll("details.switch[open]")) {
    if (open.contains(document.activeElement)) open.querySelector("summary").focus();
    open.open = false;
  }
});
