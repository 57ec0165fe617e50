// The form for feedback on a run.

import { send } from "./api.js";
import { say } from "./toast.js";

const dialog = document.querySelector("#feedback");
const form = dialog?.querySelector("form");

/** Read what was filled in; null when it says nothing. */
function evaluation() {
  const { judge, passed, score, explanation } = form.elements;
  const said = { run_id: form.dataset.run, judge: judge.value.trim(), source: "human" };
  if (passed.value) said.passed = passed.value === "true";
  if (score.value) said.score = Number(score.value);
  if (explanation.value) said.explanation = explanation.value;
  return "passed" in said || "score" in said || "explanation" in said ? said : null;
}

document.querySelector("#add-feedback")?.addEventListener("click", () => dialog.showModal());
dialog?.querySelector("[data-close]").addEventListener("click", () => dialog.close());
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = evaluation();
  if (!said) {
    say("Choose a verdict, or enter a score or a comment");
    return;
  }
  if (await send("POST", form.dataset.feedback, { evaluations: [said] })) location.reload();
});
