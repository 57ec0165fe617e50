// A labelling queue: 1 to 9 choose, Enter saves and opens the next run, s skips, u undoes.

import { call, send } from "./api.js";
import { say } from "./toast.js";

const OFF = "otel-ml-keys-off";
const FIRST_WAIT_S = 3;
const LONGEST_WAIT_S = 60;
const form = document.querySelector("#answer");
const note = document.querySelector("#unsaved");
let isSending = false;

/** Show that the answer is not saved. Resolve at the next try, or at a click on Try now. */
function waitForTry(problem, seconds) {
  note.hidden = false;
  note.children[1].textContent = `${problem}. Your answer is kept here; next try in ${seconds} s.`;
  return new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000);
    note.children[2].onclick = resolve;
  });
}

/** Read the answer from the form. Return null if none is chosen. */
function readAnswer() {
  const { run, as, kind } = form.dataset;
  const chosen = form.querySelector("[name=choice]:checked");
  if (!chosen) return null;
  const answer = { run_id: run, explanation: form.elements.explanation.value, annotator: as };
  answer[kind] = kind === "score" ? Number(chosen.value) : chosen.value;
  if (form.elements.save?.checked) answer.save = true;
  return answer;
}

/** Save the answer and open the next run. If saving fails, keep the answer and try again. */
async function save() {
  const { answers, next } = form.dataset;
  if (isSending) return;
  if (!readAnswer()) {
    say("Choose an answer first");
    return;
  }
  isSending = true;
  for (let seconds = FIRST_WAIT_S; ; seconds = Math.min(2 * seconds, LONGEST_WAIT_S)) {
    const { isOk, isFinal, problem } = await call("POST", answers, readAnswer());
    if (isOk) break;
    if (isFinal) {
      say(problem);
      isSending = false;
      return;
    }
    await waitForTry(problem, seconds);
  }
  note.hidden = true;
  location.assign(next);
}

/** Delete the last answer, and open its run again. */
async function undo(button) {
  const { answers, as } = form.dataset;
  const query = as ? `?annotator=${encodeURIComponent(as)}` : "";
  if (isSending) return;
  isSending = true;
  if (await send("DELETE", `${answers}/${button.dataset.run}${query}`)) {
    location.assign(button.dataset.open);
  } else {
    isSending = false;
  }
}

// The browser asks for confirmation before it leaves a page with an unsaved answer.
addEventListener("beforeunload", (event) => note && !note.hidden && event.preventDefault());
form?.addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
document.querySelector("#undo")?.addEventListener("click", (event) => undo(event.currentTarget));
document.addEventListener("keydown", (event) => {
  if (!form || event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = event.target.closest("textarea, dialog, input:not([type=radio])");
  if (isTyping || localStorage.getItem(OFF) === "1") return;
  const choice = /^[1-9]$/.test(event.key) && form.querySelector(`[data-choice="${event.key}"]`);
  if (choice) {
    choice.checked = true;
  } else if (event.key === "Enter" && !event.target.closest("a, button, summary")) {
    save();
  } else if (event.key === "s" || event.key === "u") {
    document.querySelector(event.key === "s" ? "#skip" : "#undo")?.click();
  } else {
    return;
  }
  event.preventDefault();
});
