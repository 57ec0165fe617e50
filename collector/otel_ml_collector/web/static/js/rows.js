// The marked row of a table of runs, moved with the keyboard.

function rows() {
  return [...document.querySelectorAll(".runs tbody tr[data-run]")];
}

/** Return the marked row, if there is one. */
export function marked() {
  return document.querySelector(".runs tbody tr.cur");
}

/** Mark the row that is some steps on. */
export function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.indexOf(marked());
  const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
  all[at]?.classList.remove("cur");
  next.classList.add("cur");
  next.scrollIntoView({ block: "nearest" });
}
