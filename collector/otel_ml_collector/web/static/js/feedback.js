// The form for feedback on a run.

import { send } from "./api.js";
import { say } from "./toast.js";

const dialog = document.querySelector("#feedback");
const form = dialog?.querySelector("form");

/** Read the evaluation from the form. Return null if it has neither verdict, score nor comment. */
function readEvaluation() {
  const { judge, passed, score, explanation } = form.elements;
  const evaluation = { run_id: form.dataset.run, judge: judge.value.trim(), source: "human" };
  if (passed.value) evaluation.passed = passed.value === "true";
  if (score.value) evaluation.score = Number(score.value);
  if (explanation.value) evaluation.explanation = explanation.value;
  const isEmpty = !passed.value && !score.value && !explanation.value;
  return isEmpty ? null : evaluation;
}

document.querySelector("#add-feedback")?.addEventListener("click", () => dialog.showModal());
dialog?.querySelector("[data-close]").addEventListener("click", () => dialog.close());
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const evaluation = readEvaluation();
  if (!evaluation) {
    say("Choose a verdict, or enter a score or a comment");
    return;
  }
  if (await send("POST", form.dataset.feedback, { evaluations: [evaluation] })) location.reload();
});
