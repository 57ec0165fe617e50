// A queue, worked by keys: 1 to 9 choose, Enter saves and goes on, s skips, u takes back.

import { send } from "./api.js";
import { say } from "./toast.js";

const OFF = "otel-ml-keys-off";
const form = document.querySelector("#answer");
let isSending = false;

/** Send the chosen answer, then open the next run. */
async function save() {
  const { answers, run, next, as, kind } = form.dataset;
  const chosen = form.querySelector("[name=choice]:checked");
  if (!chosen) {
    say("Choose an answer first");
    return;
  }
  const said = { run_id: run, explanation: form.elements.explanation.value, annotator: as };
  said[kind] = kind === "score" ? Number(chosen.value) : chosen.value;
  if (form.elements.save?.checked) said.save = true;
  if (isSending) return;
  isSending = true;
  if (await send("POST", answers, said)) location.assign(next);
  else isSending = false;
}

/** Take the last answer back, and open its run again. */
async function takeBack(button) {
  const { answers, as } = form.dataset;
  const whose = as ? `?annotator=${encodeURIComponent(as)}` : "";
  if (isSending) return;
  isSending = true;
  if (await send("DELETE", `${answers}/${button.dataset.run}${whose}`)) {
    location.assign(button.dataset.open);
  } else {
    isSending = false;
  }
}

form?.addEventListener("submit", (event) => {
  event.preventDefault();
  save();
});
document.querySelector("#take-back")?.addEventListener("click", (event) => takeBack(event.currentTarget));
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
    document.querySelector(event.key === "s" ? "#skip" : "#take-back")?.click();
  } else {
    return;
  }
  event.preventDefault();
});
