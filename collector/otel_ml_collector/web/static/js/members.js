// Search in values, and the choice of a pair. Parts of a page that load later get both too.

const show = () => {
  for (const label of document.querySelectorAll(".vsearch[hidden]")) label.hidden = false;
};

document.addEventListener("input", (event) => {
  if (!event.target.matches("[data-search-values]")) return;
  const words = event.target.value.trim().toLowerCase();
  for (const row of event.target.closest(".vals").querySelectorAll(".vlist>div")) {
    row.hidden = !row.textContent.toLowerCase().includes(words);
  }
});
document.addEventListener("click", (event) => {
  const chosen = event.target.closest("tr")?.querySelector("[data-pair]");
  if (!chosen) return;
  for (const button of chosen.closest("table").querySelectorAll("[data-pair]")) {
    const isChosen = button === chosen;
    button.closest("tr").classList.toggle("cur", isChosen);
    button.ariaCurrent = isChosen;
    document.getElementById(button.dataset.pair).hidden = !isChosen;
  }
});
document.addEventListener("htmx:after:swap", show);
show();
