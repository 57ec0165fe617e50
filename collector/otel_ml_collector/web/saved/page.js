// The only script of a saved page: it selects spans and tabs, and folds rows. It loads nothing.
(() => {
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const panes = all(".rpane");
  const rows = all(".wf tbody tr");
  const levelOf = (row) => Number(row.dataset.level);

  /** Show the pane of a span, and mark its row. */
  function select(run) {
    if (!panes.some((pane) => pane.id === run)) return false;
    for (const pane of panes) pane.hidden = pane.id !== run;
    for (const row of rows) row.classList.toggle("cur", row.dataset.run === run);
    const own = rows.find((row) => row.dataset.run === run);
    const tree = own?.closest(".tree");
    if (tree && own.offsetTop > tree.scrollTop + tree.clientHeight) tree.scrollTop = own.offsetTop;
    return true;
  }

  /** Show one of the tabs of a pane. */
  function showTab(pane, name) {
    for (const panel of all("[data-panel]", pane)) panel.hidden = panel.dataset.panel !== name;
    for (const tab of all("[data-tab]", pane)) {
      if (tab.dataset.tab === name) tab.setAttribute("aria-current", "true");
      else tab.removeAttribute("aria-current");
    }
  }

  /** Fold or unfold the rows below a row. */
  function fold(row) {
    const twist = row.querySelector(".twist");
    const isOpen = twist.getAttribute("aria-expanded") !== "true";
    twist.setAttribute("aria-expanded", String(isOpen));
    let closed = isOpen ? Infinity : levelOf(row);
    for (let next = row.nextElementSibling; next; next = next.nextElementSibling) {
      if (levelOf(next) <= levelOf(row)) break;
      if (levelOf(next) <= closed) closed = Infinity;
      next.hidden = levelOf(next) > closed;
      const inner = next.querySelector(".twist");
      if (!next.hidden && inner?.getAttribute("aria-expanded") === "false") closed = levelOf(next);
    }
  }

  function act(event) {
    const { target } = event;
    const tab = target.closest("[data-tab]");
    const link = target.closest('a[href^="#"]');
    const row = target.closest(".wf tbody tr");
    if (tab) showTab(tab.closest(".rpane"), tab.dataset.tab);
    else if (row && (target.closest(".twist") || !row.dataset.run)) {
      if (row.querySelector(".twist")) fold(row);
    } else if (row) select(row.dataset.run);
    else if (!link || !select(link.hash.slice(1))) return;
    event.preventDefault();
    if (!row && !tab) document.getElementById(link.hash.slice(1)).scrollIntoView({ block: "nearest" });
  }

  document.addEventListener("click", act);
  document.addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === " ") && event.target.matches(".twist")) act(event);
  });

  // Everything is printed, also what is hidden or folded.
  let hidden = [];
  let folded = [];
  addEventListener("beforeprint", () => {
    hidden = all(".rpane[hidden], .rpane [hidden], .wf tr[hidden]");
    folded = all("details:not([open])");
    for (const element of hidden) element.hidden = false;
    for (const element of folded) element.open = true;
  });
  addEventListener("afterprint", () => {
    for (const element of hidden) element.hidden = true;
    for (const element of folded) element.open = false;
  });

  for (const pane of panes) {
    const first = pane.querySelector("[data-tab][aria-current]") ?? pane.querySelector("[data-tab]");
    if (first) showTab(pane, first.dataset.tab);
  }
  if (panes.length && !select(location.hash.slice(1))) select(panes[0].id);
})();
