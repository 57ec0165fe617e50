// The form that adds, changes or removes an item. Each change makes a new version of the data set.

import { readTyped, send } from "./api.js";
import { say } from "./toast.js";

const dialog = document.querySelector("#edit-item");
const form = dialog.querySelector("form");
const { id, inputs, expected, tags } = form.elements;
let item = {};

/** Format a value for an input. Text that looks like JSON gets quotes, so that it stays text. */
function shown(value) {
  const isText = typeof value === "string" && readTyped(value) === value;
  return isText ? value : JSON.stringify(value, null, 1);
}

/** Open the form for an item, or an empty form for a new item. */
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

/** Make the new version and open its page. */
async function change(content) {
  const body = { ...content, reason: form.elements.reason.value };
  const headers = { "If-Match": form.dataset.version };
  if (await send("POST", form.dataset.save, body, headers)) {
    dialog.close();
    location.assign(form.dataset.page);
  }
}

/** Read the item from the form. If its tags are not JSON, show a message and return null. */
function readItem() {
  let newTags = {};
  try {
    newTags = JSON.parse(tags.value || "{}");
  } catch {
    say('Tags must be a JSON object, such as {"topic": "sums"}');
    return null;
  }
  const right = expected.value.trim() ? readTyped(expected.value) : null;
  const { source_run = "", source_session = "" } = item;
  const source = { source_run, source_session };
  return { id: id.value, inputs: readTyped(inputs.value), expected: right, tags: newTags, ...source };
}

for (const button of document.querySelectorAll("[data-edit]")) {
  button.addEventListener("click", () => open(button));
}
dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
dialog.querySelector("[data-remove]").addEventListener("click", () => change({ remove: [item.id] }));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const made = readItem();
  if (made) change({ items: [made] });
});
