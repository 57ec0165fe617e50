// The form that makes items of a data set of one run, or of those that a list is filtered to.

import { readTyped, send } from "./api.js";
import { say } from "./toast.js";

const LAST = "otel-ml-data-set";

/** Find the dialog, which a filter brings anew. */
function find() {
  return document.querySelector("#save-test");
}

/** Open the form with the data set of last time. */
function open() {
  const { name } = find().querySelector("form").elements;
  name.value ||= localStorage.getItem(LAST) ?? "";
  find().showModal();
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-save-test]")) open();
  else if (event.target.closest("#save-test [data-close]")) find().close();
});
document.addEventListener("input", (event) => {
  if (!event.target.matches("#save-test [name=given]")) return;
  event.target.form.elements.expected.value = "given";
});
document.addEventListener("submit", async (event) => {
  const dialog = find();
  const form = event.target;
  if (form.parentElement !== dialog) return;
  event.preventDefault();
  const { name, expected, reason } = form.elements;
  const wanted = { ...JSON.parse(form.dataset.runs), expected: expected.value, reason: reason.value };
  if (expected.value === "given") wanted.given = readTyped(form.elements.given.value);
  const set = name.value.trim();
  if (await send("POST", `${form.dataset.save}/${encodeURIComponent(set)}/runs`, wanted)) {
    localStorage.setItem(LAST, set);
    dialog.close();
    say(`Saved in ${set}`);
  }
});
