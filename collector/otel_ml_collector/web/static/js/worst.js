// All projects: once all are checked, the worst come first.

const rank = (row) => row.querySelector("[data-rank]")?.dataset.rank ?? "9";

document.addEventListener("htmx:after:swap", () => {
  const body = document.querySelector("main:has([data-all]) #projects tbody");
  body?.append(...[...body.rows].sort((a, b) => rank(a).localeCompare(rank(b))));
});
