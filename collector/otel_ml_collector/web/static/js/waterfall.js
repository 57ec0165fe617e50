// The tree of a trace: folding, and moving between rows with the arrow keys.

const table = document.querySelector(".wf");

/** Scroll the tree to the run of this page. */
function showOwn() {
  const [tree, own] = [table.closest(".tree"), table.querySelector("tr.cur")];
  if (tree && own) tree.scrollTop = own.offsetTop - tree.clientHeight / 2;
}

function levelOf(row) {
  return Number(row.dataset.level);
}

/** Yield the rows of the spans below a span. */
function* below(row) {
  for (let next = row.nextElementSibling; next; next = next.nextElementSibling) {
    if (levelOf(next) <= levelOf(row)) return;
    yield next;
  }
}

/** Show or hide the rows below a row. Rows that are folded inside it stay folded. */
function fold(row, isOpen) {
  const twist = row.querySelector(".twist");
  if (!twist) return;
  twist.setAttribute("aria-expanded", String(isOpen));
  let closed = Infinity; // rows deeper than this are below a folded row
  for (const other of below(row)) {
    if (levelOf(other) <= closed) closed = Infinity;
    other.hidden = !isOpen || levelOf(other) > closed;
    if (closed === Infinity && isFolded(other)) closed = levelOf(other);
  }
}

function isFolded(row) {
  return row.querySelector(".twist")?.getAttribute("aria-expanded") === "false";
}

/** Focus the link or button of a row. */
function focus(row) {
  row?.querySelector("a, .btn")?.focus();
}

function beside(row, name) {
  let next = row[name];
  while (next?.hidden) next = next[name];
  return next;
}

function parentOf(row) {
  let above = row.previousElementSibling;
  while (above && levelOf(above) >= levelOf(row)) above = above.previousElementSibling;
  return above;
}

function goRight(row) {
  if (row.classList.contains("rest")) row.querySelector(".btn").click();
  else if (isFolded(row)) fold(row, true);
  else if (row.querySelector(".twist")) focus(beside(row, "nextElementSibling"));
}

function goLeft(row) {
  if (row.querySelector(".twist") && !isFolded(row)) fold(row, false);
  else focus(parentOf(row));
}

function foldAll(isOpen) {
  for (const twist of table.querySelectorAll(".twist")) twist.setAttribute("aria-expanded", isOpen);
  for (const row of table.tBodies[0].rows) row.hidden = !isOpen && levelOf(row) > 1;
}

const KEYS = {
  ArrowDown: (row) => focus(beside(row, "nextElementSibling")),
  ArrowUp: (row) => focus(beside(row, "previousElementSibling")),
  ArrowRight: goRight,
  ArrowLeft: goLeft,
  "]": () => foldAll(true),
  "[": (row) => {
    foldAll(false);
    while (row.hidden) row = parentOf(row);
    focus(row);
  },
};

/** Move the focus to the first loaded row, because the button that had it disappears. */
function keepFocus(row) {
  const before = row.previousElementSibling;
  const rows = row.parentElement;
  const observer = new MutationObserver(() => {
    if (row.isConnected) return;
    observer.disconnect();
    if (document.activeElement !== document.body) return;
    const first = before ? before.nextElementSibling : rows.firstElementChild;
    focus(first ?? before);
  });
  observer.observe(rows, { childList: true });
}

/** Mark slow spans in the tree. In a long trace they are known only after the page is loaded. */
function markSlow() {
  for (const note of document.querySelectorAll("[data-slow]")) {
    const address = CSS.escape(note.getAttribute("href"));
    const row = table.querySelector(`.who > a[href="${address}"]`)?.closest(".name");
    if (!row || row.querySelector(".slow")) continue;
    const mark = document.createElement("span");
    mark.className = "flag slow";
    mark.textContent = note.dataset.slow;
    row.append(mark);
  }
}

if (table) {
  document.addEventListener("htmx:after:swap", markSlow);
  showOwn();
}
table?.addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (event.target.closest(".twist")) fold(row, isFolded(row));
  else if (event.target.closest(".rest .btn")) keepFocus(row);
});
table?.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const row = event.target.closest("tbody tr");
  const action = row && KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action(row);
});
