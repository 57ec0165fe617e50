// What a curve is drawn along: steps, the numbers of points, or time; and how numbers read.

// Steps are whole numbers, and so are their marks.
const WHOLE = [1, 2, 5].flatMap((digit) => [...Array(16).keys()].map((ten) => digit * 10 ** ten));
const INCREMENTS = WHOLE.sort((one, other) => one - other);
const DAY_S = 86400;
export const ZONE = document.documentElement.dataset.zone;

/** Write a number of an axis in few characters. */
export function short(number) {
  if (number === null) return "";
  const size = Math.abs(number);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return number.toExponential(2).replace(/\.?0+e/, "e");
  return String(Number(number.toPrecision(6)));
}

/** Find the points that no line reaches: those between two gaps. */
export function isolated(values) {
  return [...values.keys()].filter(
    (at) => values[at] !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null,
  );
}

/** Leave room around a single place: there is no length to draw along. */
function room(x, beside) {
  const [first, last] = [x[0], x[x.length - 1]];
  return first === last ? { range: [first - beside, last + beside] } : {};
}

/** The height of a point; NaN is null, an infinity a text, and both leave a gap. */
export function height(point) {
  return typeof point.value === "number" ? point.value : null;
}

/** Draw by step, in the order of the steps; by number where a point has no step. */
export function byStep(points) {
  const hasSteps = points.every((point) => point.step !== null);
  const ordered = hasSteps ? [...points].sort((one, other) => one.step - other.step) : points;
  const x = ordered.map((point, place) => (hasSteps ? point.step : place + 1));
  return {
    x,
    y: ordered.map(height),
    label: hasSteps ? "step" : "point number, because some points have no step",
    scale: { time: false, ...room(x, 1) },
    axis: { incrs: INCREMENTS, values: (_, ticks) => ticks.map(short) },
    value: (_, step) => (step === null ? "–" : step.toLocaleString("en")),
  };
}

/** Draw by time: the label says the zone and the day, the marks the hours below it. */
export function byTime(points) {
  const x = points.map((point) => point.time_ns / 1e9);
  const days = [...new Set([x[0], x[x.length - 1]].map((at) => local(at).slice(0, 10)))];
  return {
    x,
    y: points.map(height),
    label: `time, ${ZONE}, ${days.join(" to ")}`,
    scale: { time: true, ...room(x, 60) },
    axis: {
      space: 72,
      values: (_, ticks, __, ___, increment) => ticks.map((at) => clock(at, increment)),
    },
    value: (_, at) => (at === null ? "–" : `${local(at)} ${ZONE}`),
  };
}

/** Draw by the time since each began, so that several lie over each other. */
export function byElapsed(points, startNs) {
  return {
    x: points.map((point) => (point.time_ns - startNs) / 1e9),
    y: points.map(height),
    label: "time since the start, s",
    scale: { time: false },
    axis: { values: (_, ticks) => ticks.map(short) },
    value: (_, seconds) => (seconds === null ? "–" : `${short(seconds)} s`),
  };
}

/** Smooth a curve: a moving average in which a point weighs less the longer ago it was. */
export function smoothed(values, weight) {
  let sum = 0;
  let of = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return value;
    sum = sum * weight + value * (1 - weight);
    of = of * weight + (1 - weight);
    return sum / of;
  });
}

/** Keep what a logarithmic scale has a place for; anything else leaves a gap. */
export function above0(values) {
  return values.map((value) => (value > 0 ? value : null));
}

/** Write a time in the zone of the page: "sv" writes it as 2026-11-20 07:00:00. */
function local(seconds) {
  const at = new Date(seconds * 1e3);
  return at.toLocaleString("sv", { timeZone: ZONE }) + at.toISOString().slice(19, 23);
}

/** Write a mark on the axis of time as finely as its distance to the next one asks for. */
function clock(seconds, increment) {
  if (seconds === null) return "";
  const text = local(seconds);
  if (increment >= DAY_S) return text.slice(5, 10);
  if (increment >= 60) return text.slice(11, 16);
  return increment >= 1 ? text.slice(11, 19) : text.slice(14, 23);
}
