// Calls of the JSON API that change something; what goes wrong is told in the API's own words.

import { say } from "./toast.js";

/** Send JSON, perhaps with more headers; return whether it was taken. */
export async function send(method, address, content, more = {}) {
  let problem = "The collector does not answer; try again in a moment";
  try {
    const response = await fetch(address, {
      method,
      headers: content === undefined ? more : { ...more, "Content-Type": "application/json" },
      body: content === undefined ? undefined : JSON.stringify(content),
    });
    if (response.ok) return true;
    problem = (await response.json()).error.message;
  } catch {
    // Neither an answer nor one that can be read: the sentence above says so.
  }
  say(problem);
  return false;
}

/** Read what somebody typed: JSON where it is some, else the text. */
export function readTyped(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
