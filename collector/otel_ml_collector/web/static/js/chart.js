// Metric curves: fetches each series from the API and draws it by step with uPlot.

// Steps are whole numbers, and so are their marks.
const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7];
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

/** Draw one series into its box. */
async function draw(box) {
  const response = await fetch(box.dataset.series);
  if (!response.ok) {
    box.textContent = "The series could not be read; reload to try again.";
    return;
  }
  const [series] = (await response.json()).series;
  if (!series) return;
  const hasSteps = series.points.every((point) => point.step !== null);
  const x = series.points.map((point, place) => (hasSteps ? point.step : place));
  const y = series.points.map((point) => point.value);
  const axis = {
    stroke: () => colour("--mute"),
    grid: { stroke: () => colour("--line"), width: 1 },
    ticks: { stroke: () => colour("--line"), width: 1 },
    font: `12px ${style.getPropertyValue("--sans")}`,
  };
  const single = x.length === 1;
  const plot = new uPlot(
    {
      width: box.clientWidth,
      height: 180,
      cursor: { y: false },
      legend: { live: true },
      scales: { x: { time: false, ...(single && { range: [x[0] - 1, x[0] + 1] }) } },
      series: [
        { label: hasSteps ? "step" : "point" },
        {
          label: box.dataset.name,
          stroke: () => colour("--accent"),
          width: 1.5,
          points: { show: x.length < 60, size: 5 },
        },
      ],
      axes: [{ ...axis, incrs: WHOLE }, { ...axis, size: 64 }],
    },
    [x, y],
    box,
  );
  document.addEventListener("otel-ml:theme", () => plot.redraw());
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 180 })).observe(box);
}

for (const box of document.querySelectorAll(".plot")) draw(box);
