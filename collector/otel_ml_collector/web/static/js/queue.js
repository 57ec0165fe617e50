// A labelling queue: 1 to 9 choose, Enter saves and opens the next run, s skips, u undoes.

import { call, send } from "./api.js";
import { say } from "./toast.js";

const find = (selector) => document.querySelector(selector);
const keys = []; // pressed while an answer is saved or the next run is opened
let isBusy = false;

/** Show another run in this document, so that no key is lost. */
const open = (path) => htmx.ajax("GET", path, { target: "main", select: "main", swap: "outerHTML" });

/** Show that the answer is not saved. Resolve at the next try, or at a click on Try now. */
function waitForTry(problem, seconds) {
  const note = find("#unsaved");
  note.hidden = false;
  note.children[1].textContent = `${problem}. Your answer is kept here; next try in ${seconds} s.`;
  return new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000);
    note.children[2].onclick = resolve;
  });
}

/** Read the answer from the form. Return null if none is chosen. */
function readAnswer(form) {
  const { run, as, kind } = form.dataset;
  const chosen = form.querySelector("[name=choice]:checked");
  if (!chosen) return null;
  const answer = { run_id: run, explanation: form.elements.explanation.value, annotator: as };
  answer[kind] = kind === "score" ? Number(chosen.value) : chosen.value;
  if (form.elements.save?.checked) answer.save = true;
  return answer;
}

/** Save the answer and open the next run. If saving fails, keep the answer and try again. */
async function save(form) {
  let problem = "Choose an answer first";
  for (let seconds = 3; readAnswer(form); seconds = Math.min(2 * seconds, 60)) {
    const saved = await call("POST", form.dataset.answers, readAnswer(form));
    if (saved.isOk) {
      find("#unsaved").hidden = true;
      return open(form.dataset.next);
    }
    problem = saved.problem;
    if (saved.isFinal) break;
    await waitForTry(problem, seconds);
  }
  say(problem);
  keys.length = 0; // they were meant for other runs
}

/** Delete the last answer, and open its run again. */
async function undo({ dataset }, button) {
  const query = dataset.as ? `?annotator=${encodeURIComponent(dataset.as)}` : "";
  const path = `${dataset.answers}/${button.dataset.run}${query}`;
  if (await send("DELETE", path)) await open(button.dataset.open);
}

/** Do what a key says, after the keys before it. */
async function press(key) {
  keys.push(key);
  if (isBusy) return;
  isBusy = true;
  while (keys.length) {
    const [form, button] = [find("#answer"), find("#undo")];
    const next = form && keys.shift();
    const choice = form?.querySelector(`[data-choice="${next}"]`);
    if (choice) choice.checked = true;
    else if (next === "Enter") await save(form);
    else if (next === "s") await open(find("#skip").href);
    else if (next === "u" && button) await undo(form, button);
    else if (!form) keys.length = 0;
  }
  isBusy = false;
}

// The browser asks for confirmation before it leaves a page with an unsaved answer.
addEventListener("beforeunload", (event) => find("#unsaved:not([hidden])") && event.preventDefault());
addEventListener("submit", (event) => {
  if (event.target.id !== "answer") return;
  event.preventDefault();
  press("Enter");
});
addEventListener("click", ({ target }) => target.closest("#undo") && press("u"));
addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || !/^([1-9su]|Enter)$/.test(key)) return;
  if (target.closest("textarea, dialog, input:not([type=radio])") || !find("#answer")) return;
  if (key === "Enter" && target.closest("a, button, summary")) return;
  if (localStorage.getItem("otel-ml-keys-off") === "1") return;
  press(key);
  event.preventDefault();
});
