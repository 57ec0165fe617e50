// Selects a time range on the histogram. Without a pointer, type the range in the time control.

/** Return the index of the bar at the pointer. */
function barAt(chart, event) {
  const box = chart.getBoundingClientRect();
  const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 0.999999);
  return Math.floor(share * chart.dataset.bars);
}

/** Draw the selection over two bars and all bars between them. */
function draw(chart, one, other) {
  const [first, last] = [Math.min(one, other), Math.max(one, other)];
  const selection = chart.querySelector(".sel");
  selection.setAttribute("x", first * 10);
  selection.setAttribute("width", (last - first + 1) * 10);
  return [first, last];
}

/** Open the list with the selected time range. */
function choose(chart, [first, last]) {
  const form = document.querySelector(".filter");
  const address = new URL(location.href);
  const edges = chart.dataset.edges.split(" ");
  address.searchParams.set("start", edges[first]);
  address.searchParams.set("end", edges[last + 1]);
  for (const name of ["last", "cursor"]) address.searchParams.delete(name);
  address.searchParams.set("where", form.elements.where.value);
  location.assign(address);
}

// The chart is loaded after the page, so the listeners are on the document.
let chart = null;
let from = 0;
let range = null;

document.addEventListener("pointerdown", (event) => {
  chart = event.target.closest(".hist svg");
  if (!chart) return;
  from = barAt(chart, event);
  range = draw(chart, from, from);
  chart.setPointerCapture(event.pointerId);
});
document.addEventListener("pointermove", (event) => {
  if (chart) range = draw(chart, from, barAt(chart, event));
});
document.addEventListener("pointerup", () => {
  if (chart) choose(chart, range);
  chart = null;
});
document.addEventListener("pointercancel", () => {
  chart?.querySelector(".sel").setAttribute("width", 0);
  chart = null;
});
