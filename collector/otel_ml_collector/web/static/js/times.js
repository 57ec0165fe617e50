// Times: how long ago, kept true while the page is open; `t` shows them as they are.

const STEPS = [
  [60, 1, "s"],
  [3600, 60, "min"],
  [86400, 3600, "h"],
  [Infinity, 86400, "d"],
];
const EVERY_MS = 10_000;
let absolute = sessionStorage.getItem("otel-ml-times") === "absolute";

/** Write how long ago a moment was, in its largest whole unit, as the server does. */
function ago(moment) {
  const seconds = Math.max(Math.floor((Date.now() - Date.parse(moment)) / 1000), 0);
  const [, unit, name] = STEPS.find(([below]) => seconds < below);
  return `${Math.floor(seconds / unit)} ${name}`;
}

/** Write all times below an element that were written as "ago". */
export function writeTimes(root = document) {
  for (const time of root.querySelectorAll("time[data-ago]")) {
    const text = absolute ? time.dateTime.slice(11, 19) : `${ago(time.dateTime)}${time.dataset.ago}`;
    if (time.textContent !== text) time.textContent = text;
  }
}

/** Change between how long ago and when. */
export function switchTimes() {
  absolute = !absolute;
  sessionStorage.setItem("otel-ml-times", absolute ? "absolute" : "ago");
  writeTimes();
}

// The time zone of the next page.
const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
document.cookie = `otel_ml_tz=${timeZone}; path=/; max-age=31536000`;
setInterval(writeTimes, EVERY_MS);
document.addEventListener("htmx:after:swap", () => writeTimes());
writeTimes();
