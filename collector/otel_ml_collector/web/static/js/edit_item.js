// The form that adds, changes or removes an item: each makes a new version of the data set.

import { readTyped, send } from "./api.js";
import { say } from "./toast.js";

const dialog = document.querySelector("#edit-item");
const form = dialog.querySelector("form");
const { id, inputs, expected, tags } = form.elements;
let item = {};

/** Write a value so that it is read back as it was: a text that could be JSON in quotes. */
function shown(value) {
  const isText = typeof value === "string" && readTyped(value) === value;
  return isText ? value : JSON.stringify(value, null, 1);
}

/** Open the form with an item, or empty for a new one. */
function open(button) {
  item = JSON.parse(button.dataset.edit);
  const isNew = item.id === undefined;
  id.value = item.id ?? "";
  id.readOnly = !isNew;
  inputs.value = isNew || item.fixed ? "" : shown(item.inputs);
  expected.value = (item.expected ?? null) === null ? "" : shown(item.expected);
  tags.value = Object.keys(item.tags ?? {}).length ? JSON.stringify(item.tags) : "";
  for (const one of [inputs, expected, tags]) one.closest("label").hidden = item.fixed ?? false;
  form.querySelector("[data-fixed]").hidden = !item.fixed;
  form.querySelector("[data-save-item]").hidden = item.fixed ?? false;
  form.querySelector("[data-remove]").hidden = isNew;
  dialog.showModal();
}

/** Make the new version; where it is made, show it. */
async function change(content) {
  const body = { ...content, reason: form.elements.reason.value };
  const headers = { "If-Match": form.dataset.version };
  if (await send("POST", form.dataset.save, body, headers)) {
    dialog.close();
    location.assign(form.dataset.page);
  }
}

/** Read the form; null, with a word, where something in it is no JSON. */
function wanted() {
  let told = {};
  try {
    told = JSON.parse(tags.value || "{}");
  } catch {
    say('Tags are no JSON: expected such as {"topic": "sums"}');
    return null;
  }
  const right = expected.value.trim() ? readTyped(expected.value) : null;
  const { source_run = "", source_session = "" } = item;
  const source = { source_run, source_session };
  return { id: id.value, inputs: readTyped(inputs.value), expected: right, tags: told, ...source };
}

for (const button of document.querySelectorAll("[data-edit]")) {
  button.addEventListener("click", () => open(button));
}
dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
dialog.querySelector("[data-remove]").addEventListener("click", () => change({ remove: [item.id] }));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const made = wanted();
  if (made) change({ items: [made] });
});
