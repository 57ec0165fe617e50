// The marked row of a table of runs, moved with the keyboard; its link has the focus.

/** Return the table's body, if there is one: a filter brings another. */
export function findBody() {
  return document.querySelector(".runs tbody");
}

function rows() {
  return [...document.querySelectorAll(".runs tbody tr[data-run]:not([hidden])")];
}

/** Return the marked row, if there is one. */
export function marked() {
  return document.querySelector(".runs tbody tr.cur");
}

/** Mark a row and no other. */
export function mark(row) {
  marked()?.classList.remove("cur");
  row.classList.add("cur");
  row.querySelector(".open").focus({ preventScroll: true });
}

/** Mark the row that is some steps on. */
export function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.indexOf(marked());
  mark(all[Math.min(Math.max(at + step, 0), all.length - 1)]);
  marked().scrollIntoView({ block: "nearest" });
}
