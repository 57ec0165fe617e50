// The preview of a run next to the list, and the rail of facets.

import { findBody, mark, marked } from "./rows.js";

const RAIL = "otel-ml-rail";
const MOVE_MS = 120;
const NARROW = matchMedia("(max-width: 900px)");
const pane = document.querySelector("#preview");
let turn = 0;
let waiting = 0;
let wanted = "";

/** Return the address of the list alone. */
function listOf({ href }) {
  const address = new URL(href);
  address.searchParams.delete("preview");
  return `${address.pathname}?${address.searchParams}`;
}

let list = listOf(location);

const isOpen = () => pane && !pane.hidden;
const rowOf = (run) => findBody()?.querySelector(`tr[data-run="${CSS.escape(run)}"]`);

/** Load the preview of a run. A newer request replaces an older one. */
async function load(run) {
  const own = ++turn;
  wanted = run;
  const path = rowOf(run)?.querySelector(".open").pathname;
  if (!path) return;
  const headers = { "hx-request": "true", "Otel-Ml-Tz": document.documentElement.dataset.zone };
  const answer = await fetch(`${path}/preview`, { headers }).catch(() => null);
  if (own !== turn) return;
  if (!answer?.ok) {
    pane.textContent = "This run could not be loaded. Press Enter to open its page.";
    return;
  }
  const part = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const link of part.querySelectorAll("[hx-push-url]")) link.removeAttribute("hx-push-url");
  pane.replaceChildren(...part.body.childNodes);
  pane.scrollTop = 0;
  pane.dataset.run = run;
  htmx.process(pane);
  document.dispatchEvent(new Event("htmx:after:swap", { bubbles: true }));
}

/** Write the previewed run into the address; null for none. */
function remember(run, isNew) {
  const address = new URL(location.href);
  if (run) address.searchParams.set("preview", run);
  else address.searchParams.delete("preview");
  const state = { ...history.state, htmx: true };
  if (isNew) history.pushState(state, "", address);
  else history.replaceState(state, "", address);
}

/** Show the preview of a row. */
export function preview(row) {
  remember(row.dataset.run, !isOpen());
  open(row);
}

function open(row) {
  pane.hidden = false;
  document.documentElement.classList.add("previewed");
  if (!pane.dataset.run) pane.textContent = "Loading …";
  load(row.dataset.run);
  mark(row);
}

function hide() {
  turn++;
  wanted = "";
  pane.hidden = true;
  delete pane.dataset.run;
  pane.replaceChildren();
  document.documentElement.classList.remove("previewed");
}

function close() {
  if (!isOpen()) return false;
  hide();
  remember(null, false);
  marked()?.querySelector(".open").focus({ preventScroll: true });
  return true;
}

function showTab(link) {
  for (const part of pane.querySelectorAll("[data-panel]")) part.hidden = part.dataset.panel !== link.dataset.tab;
  for (const other of pane.querySelectorAll("[data-tab]")) {
    if (other === link) other.setAttribute("aria-current", "true");
    else other.removeAttribute("aria-current");
  }
}

/** Show or hide the rail; in narrow windows it is a drawer. */
function switchRail(isOn) {
  if (NARROW.matches) {
    document.documentElement.classList.toggle("drawer", isOn);
    return;
  }
  localStorage.setItem(RAIL, isOn ? "1" : "0");
  document.documentElement.dataset.rail = isOn ? "on" : "off";
}

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button) return;
  const { target } = event;
  const rail = target.closest("[data-rail]");
  if (rail) return switchRail(rail.dataset.rail === "on");
  if (!target.closest("#facets")) document.documentElement.classList.remove("drawer");
  if (target.closest("[data-close-preview]")) return void close();
  const tab = target.closest("#preview [data-tab]");
  if (tab) {
    event.preventDefault();
    return showTab(tab);
  }
  const link = target.closest(".runs tbody a.open");
  if (!link || !pane || event.detail === 0) return; // the keyboard opens the page
  event.preventDefault();
  preview(link.closest("tr"));
});
document.addEventListener("dblclick", (event) => {
  const link = event.target.closest(".runs tbody a.open");
  if (link && pane) location.assign(link.href);
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  if (event.target.closest("input, select, textarea, dialog, summary, button")) return;
  if (event.key === "Escape" && close()) event.preventDefault();
  if (event.key !== " " || event.target.closest("#preview")) return;
  const row = marked() ?? findBody()?.querySelector("tr[data-run]");
  if (!row || !pane) return;
  event.preventDefault();
  if (isOpen() && pane.dataset.run === row.dataset.run) close();
  else preview(row);
});
// After a pause, so that a held key does not load every run.
document.addEventListener("otel-ml:marked", (event) => {
  clearTimeout(waiting);
  if (!isOpen() || wanted === event.detail) return;
  waiting = setTimeout(() => {
    remember(event.detail, false);
    load(event.detail);
  }, MOVE_MS);
});
// htmx listens to `navigation` where browsers have it, else to `popstate`.
window.navigation?.addEventListener(
  "navigate",
  (event) => {
    const isBack = event.navigationType === "traverse" && pane && findBody();
    if (isBack && listOf({ href: event.destination.url }) === list) event.stopImmediatePropagation();
  },
  { capture: true },
);
// Back and Forward between the list and its preview need no new page, which htmx would load.
addEventListener(
  "popstate",
  (event) => {
    const run = new URL(location.href).searchParams.get("preview");
    if (!pane || listOf(location) !== list || !findBody()) return;
    event.stopImmediatePropagation();
    if (run && rowOf(run)) open(rowOf(run));
    else hide();
  },
  { capture: true },
);
document.querySelector("#filter")?.addEventListener("htmx:after:swap", () => {
  list = listOf(location);
  close();
});

const run = new URL(location.href).searchParams.get("preview");
const first = run && pane && rowOf(run);
if (first) open(first);
