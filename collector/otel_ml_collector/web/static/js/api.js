// Calls of the JSON API that change something.

import { say } from "./toast.js";

/** Send JSON; return whether that worked, with the answer or the problem and whether it is final. */
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
    // No answer, or none that can be read.
  }
  return { isOk: false, isFinal, problem };
}

/** Send JSON, and show the problem if there is one; return whether it was accepted. */
export async function send(...request) {
  const { isOk, problem } = await call(...request);
  if (!isOk) say(problem);
  return isOk;
}

/** Send JSON, and show the problem if there is one; return the answer, or null. */
export async function request(...given) {
  const { isOk, problem, answer } = await call(...given);
  if (!isOk) say(problem);
  return isOk ? answer : null;
}

/** Read typed text as JSON if possible, else as text. */
export function readTyped(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
