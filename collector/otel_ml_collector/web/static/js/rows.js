// The marked row of a table of runs. Its link has the focus; `j` and `k` move the mark.

/** Return the body of the table, or null. A new filter replaces it, so do not keep it. */
export function findBody() {
  return document.querySelector(".runs tbody");
}

function rows() {
  return [...document.querySelectorAll(".runs tbody tr[data-run]:not([hidden])")];
}

/** Return the marked row, or null. */
export function marked() {
  return document.querySelector(".runs tbody tr.cur");
}

/** Mark this row only. */
export function mark(row) {
  marked()?.classList.remove("cur");
  row.classList.add("cur");
  row.querySelector(".open").focus({ preventScroll: true });
  document.dispatchEvent(new CustomEvent("otel-ml:marked", { detail: row.dataset.run }));
}

/** Move the mark by a number of rows. */
export function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.indexOf(marked());
  mark(all[Math.min(Math.max(at + step, 0), all.length - 1)]);
  marked().scrollIntoView({ block: "nearest" });
}
