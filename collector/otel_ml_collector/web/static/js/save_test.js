// The form that saves runs as items of a data set: one run, ticked runs, or all that match.

import { readTyped, segment, send } from "./api.js";
import { count, selected } from "./selection.js";
import { say } from "./toast.js";

const LAST = "otel-ml-data-set";
const MOST_RUNS = 100; // per request
let runIds = [];

// A new filter replaces the dialog.
function find() {
  return document.querySelector("#save-test");
}

/** Suggest names of data sets. */
async function offerNames(address) {
  const answer = await fetch(address).catch(() => null);
  if (!answer?.ok) return;
  const { datasets } = await answer.json();
  const options = datasets.map(({ name }) => Object.assign(document.createElement("option"), { value: name }));
  document.querySelector("#save-test-names").replaceChildren(...options);
}

/** Open the form for the ticked rows, or for the runs of the button. */
function open(button) {
  const dialog = find();
  const form = dialog.querySelector("form");
  const title = dialog.querySelector("h2");
  title.dataset.text ??= title.textContent;
  runIds = button.dataset.saveTest === "selected" ? selected() : [];
  const tests = runIds.length === 1 ? "a test" : "tests";
  title.textContent = runIds.length ? `Save ${count(runIds.length)} as ${tests}` : title.dataset.text;
  if (button.dataset.expected) form.elements.expected.value = button.dataset.expected;
  form.elements.name.value ||= localStorage.getItem(LAST) ?? "";
  offerNames(form.dataset.save);
  dialog.showModal();
}

/** Return the bodies of the requests. */
function requestsOf(form) {
  if (!runIds.length) return [JSON.parse(form.dataset.runs)];
  const parts = [];
  for (let at = 0; at < runIds.length; at += MOST_RUNS) {
    parts.push({ run_ids: runIds.slice(at, at + MOST_RUNS) });
  }
  return parts;
}

async function save(form) {
  const { name, expected, reason } = form.elements;
  const set = name.value.trim();
  const more = { expected: expected.value, reason: reason.value };
  if (expected.value === "given") more.given = readTyped(form.elements.given.value);
  for (const runs of requestsOf(form)) {
    const address = `${form.dataset.save}/${segment(set)}/runs`;
    if (!(await send("POST", address, { ...runs, ...more }))) return;
  }
  localStorage.setItem(LAST, set);
  find().close();
  say(`Saved in ${set}`);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-save-test]");
  if (button) open(button);
  else if (event.target.closest("#save-test [data-close]")) find().close();
});
document.addEventListener("input", (event) => {
  if (!event.target.matches("#save-test [name=given], #save-test [name=expected]")) return;
  const { expected, given } = event.target.form.elements;
  if (event.target === given) expected.value = "given";
  if (given) given.required = expected.value === "given";
});
document.addEventListener("submit", (event) => {
  if (event.target.parentElement !== find()) return;
  event.preventDefault();
  save(event.target);
});
// Problems link to this form.
const asked = location.hash === "#save" && document.querySelector("[data-save-test=all]");
if (asked) open(asked);
