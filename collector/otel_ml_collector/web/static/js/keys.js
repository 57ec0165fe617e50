// Single keys. They are off inside inputs, and if the user turned them off in the help.

import { copyLink } from "./copy.js";
import { foldRoots } from "./roots.js";
import { marked, move } from "./rows.js";
import { switchTimes } from "./times.js";

const OFF = "otel-ml-keys-off";
const GO = { h: "home", r: "runs", m: "models" };
const WAIT_MS = 1000;
let goUntil = 0;

const help = document.querySelector("#help");
const off = document.querySelector("#keys-off");
if (off) {
  off.checked = localStorage.getItem(OFF) === "1";
  off.addEventListener("change", () => localStorage.setItem(OFF, off.checked ? "1" : "0"));
}

const KEYS = {
  "/": focusFilter,
  "?": () => help?.showModal(),
  j: () => move(1),
  k: () => move(-1),
  Enter: () => marked()?.querySelector(".open").click(), // without a pointer: opens the page
  f: switchRail,
  x: () => marked()?.querySelector(".not")?.click(),
  l: () => document.querySelector("#live")?.click(),
  t: switchTimes,
  m: () => marked()?.querySelector(".tk input")?.click(),
  c: copyLink,
  Escape: () => document.querySelector("#compare")?.reset(),
  g: () => (goUntil = Date.now() + WAIT_MS),
  "[": () => fold(false),
  "]": () => fold(true),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.closest("input:not([type=checkbox]), select, textarea, dialog")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (localStorage.getItem(OFF) === "1") return;
  if (event.key === "Enter" && event.target !== document.body) return;
  if (Date.now() < goUntil && GO[event.key]) {
    document.querySelector(`nav a[data-go="${GO[event.key]}"]`)?.click();
    return;
  }
  // Links and buttons of the page come first. On the page of a run, `j` and `k` open its neighbours.
  const own = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  const action = own ? () => own.click() : KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

function focusFilter() {
  const filter = document.querySelector(".filter input[name=where]");
  filter?.focus();
  filter?.select();
}

function switchRail() {
  const isOff = document.documentElement.dataset.rail === "off";
  document.querySelector(`[data-rail="${isOff ? "on" : "off"}"]`)?.click();
}

/** Unfold or fold the part of the page that has the focus, or the whole page. */
function fold(isOpen) {
  const part = document.activeElement?.closest(".box, .wf") ?? document;
  for (const details of part.querySelectorAll(".json details")) details.open = isOpen;
  foldRoots(isOpen);
}
