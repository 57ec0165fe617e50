// Actions on ticked rows: add them to a labelling queue, tag them, delete them.

import { readTyped, request, segment } from "./api.js";
import { count, selected } from "./selection.js";
import { offer, say } from "./toast.js";

const MOST_DELETED = 100; // runs per request
// The choices of a queue that is created for ticked rows.
const LABELS = [
  { label: "right", passed: true },
  { label: "wrong", passed: false },
  { label: "cannot say", is_answer: false },
];

/** Load the names of the queues into the form. The last choice, the only one if there are none, is a new queue. */
async function offerQueues(form) {
  const { queues } = (await request("GET", form.dataset.queues)) ?? { queues: [] };
  const options = queues.map(({ name }) => new Option(name));
  form.elements.queue.replaceChildren(...options, new Option("New queue", ""));
  showNew(form);
}

/** Show the fields of a new queue if one is chosen. */
function showNew(form) {
  const isNew = form.elements.queue.value === "";
  form.querySelector("[data-new]").hidden = !isNew;
  form.elements.name.required = isNew;
}

/** Create a queue with the ticked runs. */
async function createQueue(form) {
  const name = form.elements.name.value.trim();
  const runIds = selected();
  const queue = { run_ids: runIds, judge: name, question: form.elements.question.value, labels: LABELS };
  const address = `${form.dataset.queues}/${segment(name)}?base=0`;
  if (!(await request("PUT", address, queue))) return false;
  offer(`Created ${name} with ${count(runIds.length)}`, "Start labelling", () => {
    location.assign(`${form.dataset.pages}/${segment(name)}`);
  });
  return true;
}

/** Open a dialog for the ticked rows. */
function open(name) {
  const dialog = document.getElementById(name);
  const form = dialog.querySelector("form");
  const title = dialog.querySelector("h2");
  const number = selected().length;
  if (name === "queue-runs") {
    title.textContent = `Add ${count(number)} to a labelling queue`;
    offerQueues(form);
  } else if (name === "tag-runs") {
    title.textContent = `Tag ${count(number)}`;
  } else {
    title.textContent = `Delete ${count(number)}?`;
  }
  dialog.showModal();
}

async function addToQueue(form) {
  const queue = form.elements.queue.value;
  if (queue === "") return createQueue(form);
  const address = `${form.dataset.queues}/${segment(queue)}/runs`;
  const runIds = selected();
  if (!(await request("POST", address, { add: runIds }))) return false;
  offer(`Added ${count(runIds.length)} to ${queue}`, "Undo", () =>
    request("POST", address, { remove: runIds }),
  );
  return true;
}

async function tag(form) {
  const { name, tag: value } = form.elements;
  const runIds = selected();
  const typed = readTyped(value.value.trim());
  const text = typeof typed === "object" ? value.value.trim() : typed;
  const body = { run_ids: runIds, tags: { [name.value.trim()]: text } };
  const stored = await request("POST", form.dataset.tags, body);
  if (!stored) return false;
  offer(`Tagged ${count(runIds.length)}`, "Undo", () =>
    request("POST", `${form.dataset.tags}/undo`, stored),
  );
  return true;
}

async function remove(form) {
  const runIds = selected();
  const inside = form.dataset.inside === "true";
  for (let at = 0; at < runIds.length; at += MOST_DELETED) {
    const part = { run_ids: runIds.slice(at, at + MOST_DELETED), inside };
    if (!(await request("POST", form.dataset.delete, part))) return false;
  }
  location.reload();
  return true;
}

const ACTIONS = { "queue-runs": addToQueue, "tag-runs": tag, "delete-runs": remove };

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-open]");
  if (button) open(button.dataset.open);
  const dialog = event.target.closest("[data-close]")?.closest("dialog");
  if (dialog?.id in ACTIONS) dialog.close();
});
document.addEventListener("change", (event) => {
  if (event.target.matches("#queue-runs [name=queue]")) showNew(event.target.form);
});
document.addEventListener("submit", async (event) => {
  const dialog = event.target.parentElement;
  const act = ACTIONS[dialog?.id];
  if (!act) return;
  event.preventDefault();
  const button = event.target.querySelector("button:not([type])");
  button.disabled = true;
  if (await act(event.target)) {
    dialog.close();
    document.querySelector("#compare")?.reset();
  }
  button.disabled = false;
});
