// Live tail: adds new runs that match the filter to the table.

import { findBody } from "./rows.js";

const find = () => document.querySelector("#live"); // a new filter replaces this button
const MOST_ROWS = 1000;
const GATHER_MS = 250;
let source = null;
let waiting = null;
let earliest = null;
let held = []; // rows that arrived while the user reads

/** Insert new rows in the order of their start, newest first. Replace rows that are in the table. */
function place(html) {
  const body = findBody();
  const fresh = document.createElement("tbody");
  fresh.innerHTML = html;
  for (const row of fresh.querySelectorAll("tr[data-run]")) {
    const there = body.querySelector(`tr[data-run="${CSS.escape(row.dataset.run)}"]`);
    if (there) {
      there.replaceWith(row);
      continue;
    }
    const after = [...body.querySelectorAll("tr[data-run]:not(.kid)")].find(
      (other) => BigInt(other.dataset.start) <= BigInt(row.dataset.start),
    );
    row.classList.add("fresh");
    body.insertBefore(row, after ?? body.querySelector(".more"));
  }
  const rows = body.querySelectorAll("tr[data-run]:not(.kid)");
  for (const row of [...rows].slice(MOST_ROWS)) row.remove();
}

/** Return whether new rows would move what the user reads. */
function isReading() {
  const isSelected = findBody()?.querySelector(".tk :checked");
  return scrollY > 200 || isSelected || document.documentElement.classList.contains("previewed");
}

/** Hold new rows back, and show their number. */
function hold(html) {
  held.push(html);
  const fresh = document.createElement("tbody");
  fresh.innerHTML = held.join("");
  const runs = new Set([...fresh.querySelectorAll("tr[data-run]")].map((row) => row.dataset.run));
  for (const row of findBody().querySelectorAll("tr[data-run]")) runs.delete(row.dataset.run);
  const button = document.querySelector("#new-runs");
  button.hidden = !runs.size;
  button.textContent = `${runs.size.toLocaleString("en")} new`;
}

function release() {
  for (const html of held) place(html);
  held = [];
  document.querySelector("#new-runs").hidden = true;
  scrollTo({ top: 0 });
}

/** Fetch the rows of all runs that arrived since the last request. */
async function fetchRows() {
  waiting = null;
  if (!findBody()) {
    location.reload(); // an empty list has no table yet
    return;
  }
  const address = new URL(find().dataset.rows, location.href);
  address.searchParams.set("start", earliest);
  earliest = null;
  const answer = await fetch(address);
  if (!answer.ok) return;
  const html = await answer.text();
  if (isReading()) hold(html);
  else place(html);
}

function onRun(event) {
  const run = JSON.parse(event.data);
  if (earliest === null || run.start_time < earliest) earliest = run.start_time;
  waiting ??= setTimeout(fetchRows, GATHER_MS);
}

function start() {
  source = new EventSource(find().dataset.live);
  source.addEventListener("run", onRun);
  source.addEventListener("error", () => {
    if (source?.readyState === EventSource.CLOSED) stop();
  });
  find().setAttribute("aria-checked", "true");
}

function stop() {
  source?.close();
  source = null;
  find()?.setAttribute("aria-checked", "false");
}

/** Keep the state in the address, so that a reload and a copied link are live too. */
function remember(isLive) {
  const address = new URL(location.href);
  if (isLive) address.searchParams.set("live", "1");
  else address.searchParams.delete("live");
  history.replaceState(history.state, "", address);
}

document.addEventListener("click", (event) => {
  if (event.target.closest("#new-runs")) release();
  if (!event.target.closest("#live")) return;
  if (source) stop();
  else start();
  remember(source !== null);
});
document.querySelector("#filter").addEventListener("htmx:after:swap", () => {
  held = [];
  if (!source) return;
  stop();
  start();
  remember(true);
});
if (find() && new URL(location.href).searchParams.has("live")) start(); // a sorted list has no button
addEventListener("pagehide", () => source?.close());
