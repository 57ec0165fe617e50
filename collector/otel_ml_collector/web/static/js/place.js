// Back and reload restore a list: as many rows as before, scrolled to the same row.

import { findBody, mark, marked } from "./rows.js";

const WAIT_MS = 100;
const HOLD_MS = 10_000;
const MOST_ROWS = 1000; // the limit of one response
let timer = null;

function rowOf(run) {
  return findBody()?.querySelector(`tr[data-run="${CSS.escape(run ?? "")}"]`);
}

/** Save the number of rows and the scroll position in the entry of the browser's history. */
function keep() {
  const body = findBody();
  if (!body) return;
  const rows = [...body.querySelectorAll("tr[data-run]:not(.kid)")];
  const first = rows.find((row) => row.getBoundingClientRect().top >= 0);
  const list = {
    rows: rows.length,
    first: first?.dataset.run,
    top: first?.getBoundingClientRect().top,
    marked: marked()?.dataset.run,
  };
  // htmx keeps the state of an entry only if it has `htmx: true`.
  history.replaceState({ htmx: true, ...history.state, list }, "");
}

/** Load the rows that the list had in addition to those of the page. */
async function load(rows) {
  const body = findBody();
  const more = body.querySelector(".more");
  const missing = Math.min(rows - body.querySelectorAll("tr[data-run]:not(.kid)").length, MOST_ROWS);
  if (!more || missing <= 0) return;
  const address = new URL(more.getAttribute("hx-get"), location.href);
  address.searchParams.set("limit", missing);
  more.remove(); // so that htmx does not load it too
  const answer = await fetch(address).catch(() => null);
  if (answer?.ok) body.insertAdjacentHTML("beforeend", await answer.text());
  else body.append(more);
  htmx.process(body);
}

/** Keep a row in its place until the user scrolls, or until the histogram above it is loaded. */
function hold(run, top) {
  const put = () => {
    const row = rowOf(run);
    if (row) scrollBy({ top: row.getBoundingClientRect().top - top, behavior: "instant" });
  };
  const watch = new ResizeObserver(put);
  const end = () => watch.disconnect();
  put();
  watch.observe(document.body);
  for (const move of ["wheel", "touchmove", "keydown", "pointerdown"]) {
    addEventListener(move, end, { once: true, passive: true });
  }
  const settle = () => (document.querySelector(".chart") ? setTimeout(settle, HOLD_MS) : end());
  setTimeout(settle, HOLD_MS);
}

async function restore({ rows, first, top, marked: run }) {
  history.scrollRestoration = "manual";
  await load(rows);
  hold(first, top);
  const before = rowOf(run);
  if (before) mark(before);
}

const [navigation] = performance.getEntriesByType("navigation");
if (findBody() && navigation?.type !== "navigate" && history.state?.list) {
  restore(history.state.list);
}
addEventListener("scroll", () => {
  clearTimeout(timer);
  timer = setTimeout(keep, WAIT_MS);
});
for (const leave of ["click", "submit"]) document.addEventListener(leave, keep, { capture: true });
