// The ticked rows of a list, and the bar with the actions on them.

const boxes = () => [...document.querySelectorAll(".runs tbody .tk input")];
let only = ""; // the run of a button that acts on a single run, until another button is clicked

/** Return the IDs of the ticked runs, or of the single run that a button is about. */
export function selected() {
  if (only) return [only];
  return boxes()
    .filter((box) => box.checked)
    .map((box) => box.value);
}

/** Format a number of rows with its unit, such as "3 requests". */
export function count(number) {
  const unit = document.querySelector("#compare")?.dataset.unit ?? "run";
  return `${number.toLocaleString("en")} ${unit}${number === 1 ? "" : "s"}`;
}

/** Show the number of ticked rows in the bar and its buttons. */
function write() {
  const bar = document.querySelector("#compare");
  const number = selected().length;
  if (!bar || !number) return;
  bar.querySelector("b").textContent = `${number.toLocaleString("en")} selected`;
  bar.setAttribute("aria-label", `${count(number)} selected`);
  const button = bar.querySelector("[data-counted]");
  if (button) button.textContent = `${button.dataset.counted} ${count(number)}`;
}

// The modules that open dialogs import this one, so it handles a click first.
document.addEventListener("click", ({ target }) => {
  if (!target.closest("dialog")) only = target.closest("[data-only]")?.dataset.only ?? "";
});
document.addEventListener("change", (event) => {
  if (!event.target.closest(".runs .tk")) return;
  if (event.target.matches("[data-all]")) {
    for (const box of boxes()) box.checked = event.target.checked;
  }
  write();
});
document.addEventListener("reset", (event) => {
  if (event.target.id !== "compare") return;
  const all = document.querySelector(".runs [data-all]");
  if (all) all.checked = false;
});
