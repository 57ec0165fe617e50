// The form that makes a queue.

import { send } from "./api.js";
import { say } from "./toast.js";

const MEANS = { pass: true, fail: false, none: null, "": null };
const dialog = document.querySelector("#make-queue");

/** Read an answer of a line of its own, such as `Yes = pass`; `none` is no answer. */
function readLabel(line) {
  const [, label, means = ""] = line.match(/^(.*?)(?:\s*=\s*(pass|fail|none))?$/);
  return { label: label.trim(), passed: MEANS[means], is_answer: means !== "none" };
}

/** Read a scale such as `1 to 5, passes from 4`; null where the text is none. */
function readScale(text) {
  const found = text.trim().match(/^(-?\d+)\s*(?:to|:)\s*(-?\d+)(?:\s*(?:,\s*passes from|:)\s*(-?\d+))?$/);
  if (!found) return null;
  const [, low, high, least] = found;
  return { low: Number(low), high: Number(high), passes_from: least ? Number(least) : null };
}

/** Save the queue, then open it. */
async function save(form) {
  const { name, where, judge, question, answers, people, limit, order, dataset, hidden } =
    form.elements;
  const lines = answers.value.split("\n").filter((line) => line.trim());
  const scale = lines.length === 1 ? readScale(lines[0]) : null;
  const wanted = {
    where: where.value.trim(),
    judge: judge.value.trim(),
    question: question.value.trim(),
    people: Number(people.value),
    limit: Number(limit.value),
    order: order.value,
    dataset: dataset.value.trim(),
    hidden: hidden.checked,
    ...(scale ? { scale } : { labels: lines.map(readLabel) }),
  };
  const path = encodeURIComponent(name.value.trim());
  // A field of the form is called `dataset`, and stands where the attributes would.
  const [queues, page] = ["data-queues", "data-page"].map((each) => form.getAttribute(each));
  // Of a name that is taken nothing is saved: another queue may stand there.
  if (await send("PUT", `${queues}/${path}?base=0`, wanted)) {
    say("Saved");
    location.assign(`${page}/${path}`);
  }
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-make-queue]")) dialog.showModal();
  else if (event.target.closest("#make-queue [data-close]")) dialog.close();
});
dialog?.addEventListener("submit", (event) => {
  event.preventDefault();
  save(event.target);
});
