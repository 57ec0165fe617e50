// A time range drawn over the histogram; without a pointer it is typed under Range.

const chart = document.querySelector(".hist svg[data-start]");
const [bars, start, step] = ["bars", "start", "step"].map((name) => Number(chart?.dataset[name]));
const selection = chart?.querySelector(".sel");

/** Turn a place on the chart into the bar below it. */
function barAt(event) {
  const box = chart.getBoundingClientRect();
  const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 0.999999);
  return Math.floor(share * bars);
}

/** Draw what is chosen between two bars, both included. */
function draw(one, other) {
  const [first, last] = [Math.min(one, other), Math.max(one, other)];
  selection.setAttribute("x", first * 10);
  selection.setAttribute("width", (last - first + 1) * 10);
  return [first, last];
}

/** Go to the list of the chosen time. */
function choose([first, last]) {
  const form = document.querySelector(".filter");
  const address = new URL(location.href);
  const at = (bar) => new Date(start + bar * step).toISOString();
  address.searchParams.set("start", at(first));
  address.searchParams.set("end", at(last + 1));
  for (const name of ["last", "cursor"]) address.searchParams.delete(name);
  address.searchParams.set("where", form.elements.where.value);
  location.assign(address);
}

if (chart) {
  let from = null;
  let range = null;
  chart.addEventListener("pointerdown", (event) => {
    from = barAt(event);
    range = draw(from, from);
    chart.setPointerCapture(event.pointerId);
  });
  chart.addEventListener("pointermove", (event) => {
    if (from !== null) range = draw(from, barAt(event));
  });
  chart.addEventListener("pointerup", () => {
    if (range) choose(range);
    from = null;
  });
  chart.addEventListener("pointercancel", () => {
    from = null;
    selection.setAttribute("width", 0);
  });
}
