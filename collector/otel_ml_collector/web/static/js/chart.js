// Metric curves: fetches each series that comes into view and draws it by step or by time.

import { byStep, byTime, height, isolated, short } from "./axes.js";

const HEIGHT = 180;
const FEW = 60;
const style = getComputedStyle(document.documentElement);

/** Read a design token as a colour that a canvas understands, in the current theme. */
function colour(token) {
  const probe = document.createElement("i");
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** Read the points of a box's series; null when they cannot be read. */
async function read(box) {
  const response = await fetch(box.dataset.series).catch(() => null);
  if (!response?.ok) return null;
  const [series] = (await response.json()).series;
  return series?.points ?? [];
}

/** Draw one series into its box. */
async function draw(box) {
  const points = await read(box);
  if (!points) {
    box.textContent = "The series could not be read; reload to try again.";
    return;
  }
  if (!points.some((point) => height(point) !== null)) {
    box.textContent = "None of its points is a finite number.";
    return;
  }
  const { x, y, label, scale, axis, value } = (box.dataset.by === "time" ? byTime : byStep)(points);
  const common = {
    stroke: () => colour("--mute"),
    grid: { stroke: () => colour("--line"), width: 1 },
    ticks: { stroke: () => colour("--line"), width: 1 },
    font: `12px ${style.getPropertyValue("--sans")}`,
    labelFont: `12px ${style.getPropertyValue("--sans")}`,
  };
  const alone = x.length < FEW ? null : isolated(y);
  box.replaceChildren();
  const plot = new uPlot(
    {
      width: box.clientWidth,
      height: HEIGHT,
      cursor: { y: false },
      legend: { live: true },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"),
      scales: { x: scale },
      series: [
        { label: label.split(",")[0], value },
        {
          label: box.dataset.name,
          stroke: () => colour("--accent"),
          width: 1.5,
          points: { show: true, size: 5, filter: () => alone },
        },
      ],
      axes: [
        { ...common, ...axis, label, labelSize: 18, size: 34 },
        { ...common, size: 64, values: (_, ticks) => ticks.map(short) },
      ],
    },
    [x, y],
    box,
  );
  document.addEventListener("otel-ml:theme", () => plot.redraw());
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: HEIGHT })).observe(box);
}

const coming = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    coming.unobserve(target);
    draw(target);
  }
});

for (const box of document.querySelectorAll(".plot")) coming.observe(box);
