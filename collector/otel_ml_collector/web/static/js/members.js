// Search in the values of an object. Parts of a page that load later get it too.

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
document.addEventListener("htmx:after:swap", show);
show();
