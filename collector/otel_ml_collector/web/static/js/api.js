// Requests to the JSON API.

import { say } from "./toast.js";

/** Return a name as a segment of an address; browsers remove the segments `.` and `..`. */
export function segment(name) {
  return encodeURIComponent(/^~*\.{1,2}$/.test(name) ? `~${name}` : name);
}

/** Send JSON. Return isOk, and either the answer or the problem. isFinal: a retry cannot help. */
export async function call(method, address, content, more = {}) {
  let problem = "The collector does not answer";
  let isFinal = false;
  try {
    const response = await fetch(address, {
      method,
      headers: content === undefined ? more : { ...more, "Content-Type": "application/json" },
      body: content === undefined ? undefined : JSON.stringify(content),
    });
    if (response.ok) return { isOk: true, answer: await response.json().catch(() => ({})) };
    isFinal = response.status < 500 && response.status !== 429;
    problem = (await response.json()).error.message;
  } catch {
    // No response, or its body is not JSON.
  }
  return { isOk: false, isFinal, problem };
}

/** Show an error in the open dialog, which covers the page; without a dialog, for a short time. */
function report(problem) {
  const form = document.querySelector("dialog[open] form");
  if (!form) {
    say(problem);
    return;
  }
  const note = form.querySelector("[data-problem]") ?? document.createElement("p");
  note.className = "note error";
  note.dataset.problem = "";
  note.setAttribute("role", "alert");
  note.textContent = problem;
  form.querySelector(".row:last-of-type").before(note);
}

// A dialog opens without the error of its last use.
document.addEventListener("close", (event) => event.target.querySelector("[data-problem]")?.remove(), true);

/** Send JSON and show an error message if it fails. Return whether it succeeded. */
export async function send(...request) {
  const { isOk, problem } = await call(...request);
  if (!isOk) report(problem);
  return isOk;
}

/** Send JSON and show an error message if it fails. Return the answer, or null after an error. */
export async function request(...given) {
  const { isOk, problem, answer } = await call(...given);
  if (!isOk) report(problem);
  return isOk ? answer : null;
}

/** Parse the text of an input as JSON. Text that is not JSON stays a string. */
export function readTyped(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
