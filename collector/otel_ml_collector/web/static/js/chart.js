// Metric curves. A series is fetched when its box scrolls into view.

import { above0, byElapsed, byStep, byTime, isolated, labels, short, smoothed, ZONE } from "./axes.js";

const HEIGHT = 312; // 240 of them for the curves, the rest for the axis
const FEW = 60;
// Colours when several runs are compared: the baseline, the best run, and the others in turn.
const TOKENS = { base: "--text", a: "--accent" };
const OTHERS = ["--c2", "--c3", "--c4"];
const DASH = [6, 4];
const style = getComputedStyle(document.documentElement);

/** Return the colour of a CSS variable in the current theme, as a canvas needs it. */
function colour(token) {
  const probe = document.createElement("i");
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** Fetch the points of a series. Return null if that fails. */
async function read(source) {
  const response = await fetch(source).catch(() => null);
  if (!response?.ok) return null;
  const [series] = (await response.json()).series;
  return series?.points ?? [];
}

/** Return the curves of a box: one series, or one per run that is compared. */
function curvesOf(box) {
  if (!box.dataset.curves) return [{ source: box.dataset.series, letter: box.dataset.name }];
  return JSON.parse(box.dataset.curves);
}

/** Give each curve a colour. When all colours are used, further curves are dashed. */
function paint(curves) {
  let others = 0;
  return curves.map((curve) => {
    if (curve.style !== "d") return { ...curve, token: TOKENS[curve.style] ?? "--accent" };
    const at = others++;
    return {
      ...curve,
      token: OTHERS[at % OTHERS.length],
      dash: at < OTHERS.length ? undefined : DASH,
    };
  });
}

/** Lay the points of a curve out by step, by time, or by time since the start. */
function place(box, curve, points) {
  if (box.dataset.by !== "time") return byStep(points);
  if (curve.style === undefined) return byTime(points);
  return byElapsed(points, curve.start_ns ?? points[0].time_ns);
}

/** Move labels apart that would overlap, and keep all of them above the lowest place. */
function spread(ends, gap, lowest) {
  ends.sort((one, other) => one.y - other.y);
  for (const [at, end] of ends.entries()) {
    if (at) end.y = Math.max(end.y, ends[at - 1].y + gap);
  }
  let below = lowest + gap;
  for (const end of ends.toReversed()) {
    end.y = Math.min(end.y, below - gap);
    below = end.y;
  }
}

/** Write the letter of each run at the end of its curve, without overlaps. */
function writeLetters(plot, curves) {
  const gap = 11 * uPlot.pxRatio;
  const ends = curves.flatMap((curve, at) => {
    const values = plot.data[at + 1];
    const last = values.findLastIndex((value) => typeof value === "number");
    if (last < 0) return [];
    const x = plot.valToPos(plot.data[0][last], "x", true);
    return [{ curve, x, y: plot.valToPos(values[last], "y", true) }];
  });
  ends.sort((one, other) => one.x - other.x);
  const groups = [];
  for (const [at, end] of ends.entries()) {
    if (at && end.x - ends[at - 1].x < 2 * gap) groups.at(-1).push(end);
    else groups.push([end]);
  }
  for (const group of groups) spread(group, gap, plot.bbox.top + plot.bbox.height);
  const { ctx } = plot;
  ctx.save();
  ctx.font = `${gap}px ${style.getPropertyValue("--sans")}`;
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  for (const { curve, x, y } of ends) {
    ctx.fillStyle = colour(curve.token);
    ctx.fillText(curve.letter, x + gap / 2, y);
  }
  ctx.restore();
}

/** Draw the curves of a box. */
async function draw(box) {
  const curves = paint(curvesOf(box));
  const isAlone = !box.dataset.curves;
  const series = await Promise.all(curves.map((curve) => read(curve.source)));
  if (series.some((points) => !points)) {
    box.textContent = "This curve could not be loaded. Reload the page to try again.";
    return;
  }
  const isLog = box.dataset.scale === "log";
  const weight = Number(box.dataset.smooth ?? 0);
  const drawn = curves.flatMap((curve, at) => {
    if (!series[at].length) return []; // the series was deleted in the meantime
    const one = place(box, curve, series[at]);
    const [x, y] = isAlone ? [one.x, one.y] : sorted(one.x, one.y);
    const values = weight ? smoothed(y, weight) : y;
    return [{ ...curve, ...one, x, y: isLog ? above0(values) : values }];
  });
  if (!drawn.some(({ y }) => y.some((value) => value !== null))) {
    const wanted = isLog ? "a number above 0" : "a finite number";
    box.textContent = `This curve has no point with ${wanted}.`;
    return;
  }
  const { label, scale, axis, value } = drawn[0];
  const data = isAlone ? [drawn[0].x, drawn[0].y] : uPlot.join(drawn.map(({ x, y }) => [x, y]));
  const common = {
    stroke: () => colour("--mute"),
    grid: { stroke: () => colour("--line"), width: 1 },
    ticks: { stroke: () => colour("--line"), width: 1 },
    font: `12px ${style.getPropertyValue("--sans")}`,
    labelFont: `12px ${style.getPropertyValue("--sans")}`,
  };
  box.replaceChildren();
  const plot = new uPlot(
    {
      width: box.clientWidth,
      height: HEIGHT,
      ...(isAlone ? {} : { padding: [null, 50, null, null] }),
      cursor: { y: false },
      legend: { live: true },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), ZONE),
      scales: { x: scale, y: isLog ? { distr: 3 } : {} },
      hooks: isAlone ? {} : { draw: [(plot) => writeLetters(plot, drawn)] },
      series: [
        { label: label.split(",")[0], value },
        ...drawn.map((curve) => {
          const { x, y } = curve;
          const alone = x.length < FEW ? null : isolated(y).map((at) => data[0].indexOf(x[at]));
          return {
            label: curve.letter,
            value: (_, point) => short(point),
            stroke: () => colour(curve.token),
            width: 1.5,
            dash: curve.dash,
            points: { show: true, size: isAlone ? 5 : 3, filter: () => alone },
          };
        }),
      ],
      axes: [
        { ...common, ...axis, label, labelSize: 18, size: 34 },
        { ...common, size: 64, values: labels },
      ],
    },
    data,
    box,
  );
  document.addEventListener("otel-ml:theme", () => plot.redraw());
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: HEIGHT })).observe(box);
}

/** Sort points by place. Of several points at one place, keep the last. */
function sorted(x, y) {
  const at = new Map(x.map((place, index) => [place, y[index]]));
  const places = [...at.keys()].sort((one, other) => one - other);
  return [places, places.map((place) => at.get(place))];
}

const coming = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    coming.unobserve(target);
    draw(target);
  }
});

for (const box of document.querySelectorAll(".plot")) coming.observe(box);
