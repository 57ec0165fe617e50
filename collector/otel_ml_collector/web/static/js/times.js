// Times: how long ago, updated while the page is open. The button and `t` show absolute times.

const STEPS = [
  [60, 1, "s"],
  [3600, 60, "min"],
  [86400, 3600, "h"],
  [Infinity, 86400, "d"],
];
const EVERY_MS = 10_000;
const button = document.querySelector("#times");
let absolute = sessionStorage.getItem("otel-ml-times") === "absolute";

/** Write how long ago a time was, in its largest whole unit, as the server does. */
function ago(moment) {
  const seconds = Math.max(Math.floor((Date.now() - Date.parse(moment)) / 1000), 0);
  const [, unit, name] = STEPS.find(([below]) => seconds < below);
  return `${Math.floor(seconds / unit)} ${name}`;
}

/** Write an absolute time, UTC: of today without its date. */
function when({ dateTime }) {
  const today = new Date().toISOString().slice(0, 10);
  return dateTime.startsWith(today) ? dateTime.slice(11, 19) : dateTime.slice(5, 16).replace("T", " ");
}

/** Write all times below an element that are shown as "ago". */
export function writeTimes(root = document) {
  for (const time of root.querySelectorAll("time[data-ago]")) {
    const text = absolute ? when(time) : `${ago(time.dateTime)}${time.dataset.ago}`;
    if (time.textContent !== text) time.textContent = text;
  }
}

function label() {
  if (button) button.textContent = `Times: ${absolute ? "absolute" : "relative"}`;
}

/** Switch between "3 min ago" and absolute times. */
export function switchTimes() {
  absolute = !absolute;
  sessionStorage.setItem("otel-ml-times", absolute ? "absolute" : "relative");
  label();
  writeTimes();
}

// The time zone of the next page.
const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
document.cookie = `otel_ml_tz=${timeZone}; path=/; max-age=31536000`;
button?.addEventListener("click", switchTimes);
setInterval(writeTimes, EVERY_MS);
document.addEventListener("htmx:after:swap", () => writeTimes());
label();
writeTimes();
