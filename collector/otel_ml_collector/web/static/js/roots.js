// Rows of requests. The first click loads the calls of a request below it, later ones fold them.

import { findBody } from "./rows.js";

function* kids(row) {
  for (let next = row.nextElementSibling; next; next = next.nextElementSibling) {
    if (!next.classList.contains("kid")) return;
    yield next;
  }
}

async function load(row, address) {
  const answer = await fetch(address).catch(() => null);
  if (!answer?.ok || !kids(row).next().done) return;
  row.insertAdjacentHTML("afterend", await answer.text());
}

async function turn(button) {
  const row = button.closest("tr");
  const isOpen = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(isOpen));
  if (isOpen && kids(row).next().done) await load(row, button.dataset.calls);
  for (const kid of kids(row)) kid.hidden = button.getAttribute("aria-expanded") !== "true";
}

/** Fold or unfold the marked request. If no row is marked, fold all requests. */
export function foldRoots(isOpen) {
  const body = findBody();
  const row = body?.querySelector("tr.cur");
  for (const button of (row ?? (isOpen ? null : body))?.querySelectorAll("button.twist") ?? []) {
    if ((button.getAttribute("aria-expanded") === "true") !== isOpen) turn(button);
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest(".runs button.twist");
  if (button) turn(button);
});
