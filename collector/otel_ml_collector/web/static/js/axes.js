// The horizontal axis of a curve (step, point number or time), and how its numbers are written.

// Steps are whole numbers, so the axis has ticks at whole numbers only.
const WHOLE = [1, 2, 5].flatMap((digit) => [...Array(16).keys()].map((ten) => digit * 10 ** ten));
const INCREMENTS = WHOLE.sort((one, other) => one - other);
const DAY_S = 86400;
export const ZONE = document.documentElement.dataset.zone;

/** Write a whole number exactly, and others with at most four significant digits. */
export function short(number) {
  if (number === null || number === undefined) return "–";
  const near = Number(number.toPrecision(4));
  if (near !== number && Number.isInteger(number)) return number.toLocaleString("en");
  const size = Math.abs(near);
  if (size && (size >= 1e6 || size < 1e-3)) return near.toExponential();
  return near.toLocaleString("en", { maximumSignificantDigits: 4 });
}

/** Write the ticks of an axis. Ticks that need more than four digits are left out if others do not. */
export function labels(_, ticks) {
  const isShort = (tick) => Number(tick.toPrecision(4)) === tick;
  const hasShort = ticks.some((tick) => tick !== null && isShort(tick));
  return ticks.map((tick) => {
    if (tick === null) return "";
    return isShort(tick) || Number.isInteger(tick) ? short(tick) : hasShort ? "" : String(tick);
  });
}

/** Return the indexes of points between two gaps. No line is drawn to them, so they need a dot. */
export function isolated(values) {
  return [...values.keys()].filter(
    (at) => values[at] !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null,
  );
}

/** Widen the axis if all points are at one place, because an axis of length 0 cannot be drawn. */
function room(x, beside) {
  const [first, last] = [x[0], x[x.length - 1]];
  return first === last ? { range: [first - beside, last + beside] } : {};
}

/** Return the value of a point, or null (a gap) for NaN (sent as null) and infinity (sent as text). */
export function height(point) {
  return typeof point.value === "number" ? point.value : null;
}

/** Lay points out by step. If a point has no step, lay all out by point number. */
export function byStep(points) {
  const hasSteps = points.every((point) => point.step !== null);
  const ordered = hasSteps ? [...points].sort((one, other) => one.step - other.step) : points;
  const x = ordered.map((point, place) => (hasSteps ? point.step : place + 1));
  return {
    x,
    y: ordered.map(height),
    label: hasSteps ? "step" : "point number, because some points have no step",
    scale: { time: false, ...room(x, 1) },
    axis: { incrs: INCREMENTS, values: labels },
    value: (_, step) => short(step),
  };
}

/** Lay points out by time. The label shows time zone and days, the ticks show the time of day. */
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

/** Lay points out by the time since the start, so that curves of several runs can be compared. */
export function byElapsed(points, startNs) {
  return {
    x: points.map((point) => (point.time_ns - startNs) / 1e9),
    y: points.map(height),
    label: "time since the start, s",
    scale: { time: false },
    axis: { values: labels },
    value: (_, seconds) => (seconds === null ? "–" : `${short(seconds)} s`),
  };
}

/** Smooth a curve with an exponential moving average. */
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

/** Replace values that a logarithmic scale cannot show (0 and below) by gaps. */
export function above0(values) {
  return values.map((value) => (value > 0 ? value : null));
}

/** Format a time in the time zone of the page. The locale "sv" gives 2026-11-20 07:00:00. */
function local(seconds) {
  const at = new Date(seconds * 1e3);
  return at.toLocaleString("sv", { timeZone: ZONE }) + at.toISOString().slice(19, 23);
}

/** Format a tick of the time axis: dates, minutes, seconds or milliseconds, by the distance of ticks. */
function clock(seconds, increment) {
  if (seconds === null) return "";
  const text = local(seconds);
  if (increment >= DAY_S) return text.slice(5, 10);
  if (increment >= 60) return text.slice(11, 16);
  return increment >= 1 ? text.slice(11, 19) : text.slice(14, 23);
}
