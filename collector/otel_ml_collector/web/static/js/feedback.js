// The form for feedback on a run.

import { send } from "./api.js";
import { say } from "./toast.js";

/** Return the dialog. Selecting another span of the trace replaces it, so do not keep it. */
function find() {
  return document.querySelector("#feedback");
}

/** Read the evaluation from the form. Return null if it has neither verdict, score nor comment. */
function readEvaluation(form) {
  const { judge, passed, score, explanation } = form.elements;
  const evaluation = { run_id: form.dataset.run, judge: judge.value.trim(), source: "human" };
  if (passed.value) evaluation.passed = passed.value === "true";
  if (score.value) evaluation.score = Number(score.value);
  if (explanation.value) evaluation.explanation = explanation.value;
  const isEmpty = !passed.value && !score.value && !explanation.value;
  return isEmpty ? null : evaluation;
}

document.addEventListener("click", (event) => {
  if (event.target.closest("#add-feedback")) find().showModal();
  else if (event.target.closest("#feedback [data-close]")) find().close();
});
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.parentElement !== find()) return;
  event.preventDefault();
  const evaluation = readEvaluation(form);
  if (!evaluation) {
    say("Choose a verdict, or enter a score or a comment");
    return;
  }
  if (await send("POST", form.dataset.feedback, { evaluations: [evaluation] })) location.reload();
});
