// The form that makes items of a data set of one run, or of those that a list is filtered to.

import { readTyped, send } from "./api.js";
import { say } from "./toast.js";

const LAST = "otel-ml-data-set";
const dialog = document.querySelector("#save-test");
const form = dialog?.querySelector("form");

/** Open the form with the data set of last time. */
function open() {
  form.elements.name.value ||= localStorage.getItem(LAST) ?? "";
  dialog.showModal();
}

for (const button of document.querySelectorAll("[data-save-test]")) {
  button.addEventListener("click", open);
}
dialog?.querySelector("[data-close]").addEventListener("click", () => dialog.close());
form?.elements.given?.addEventListener("input", () => {
  form.elements.expected.value = "given";
});
form?.addEventListener("submit", async (event) => {
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
