// Relative times such as "3 min ago", kept up to date. The button and `t` switch to absolute times.

const STEPS = [
  [60, 1, "s"],
  [3600, 60, "min"],
  [86400, 3600, "h"],
  [Infinity, 86400, "d"],
];
const EVERY_MS = 10_000;
const button = document.querySelector("#times");
let absolute = sessionStorage.getItem("otel-ml-times") === "absolute";

/** Format how long ago a time was in its largest unit, such as "3 min". The server does the same. */
function ago(moment) {
  const seconds = Math.max(Math.floor((Date.now() - Date.parse(moment)) / 1000), 0);
  const [, unit, name] = STEPS.find(([below]) => seconds < below);
  return `${Math.floor(seconds / unit)} ${name}`;
}

/** Format an absolute time in UTC, without the date if it is today. */
function when({ dateTime }) {
  const today = new Date().toISOString().slice(0, 10);
  return dateTime.startsWith(today) ? dateTime.slice(11, 19) : dateTime.slice(5, 16).replace("T", " ");
}

/** Update all relative times below an element. */
export function writeTimes(root = document) {
  for (const time of root.querySelectorAll("time[data-ago]")) {
    const text = absolute ? when(time) : `${ago(time.dateTime)}${time.dataset.ago}`;
    if (time.textContent !== text) time.textContent = text;
  }
}

function label() {
  if (button) button.textContent = `Times: ${absolute ? "absolute" : "relative"}`;
}

/** Switch between relative and absolute times. */
export function switchTimes() {
  absolute = !absolute;
  sessionStorage.setItem("otel-ml-times", absolute ? "absolute" : "relative");
  label();
  writeTimes();
}

// The server shows the times of the next page in this time zone.
const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
document.cookie = `otel_ml_tz=${timeZone}; path=/; max-age=31536000`;
button?.addEventListener("click", switchTimes);
setInterval(writeTimes, EVERY_MS);
document.addEventListener("htmx:after:swap", () => writeTimes());
label();
writeTimes();
