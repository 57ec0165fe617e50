// The trace of a run's page: folding, moving between rows, selecting a span, search and zoom.
// Without this script, all links lead to pages that show the same.

const SEARCH_MS = 300;
const ZOOM_MS = 100; // browsers limit how often the address may change
let searching = 0;
let zooming = 0;

const find = (selector) => document.querySelector(selector);
const table = () => find("[data-wf]");

/** Return the parameters of the tree that the address has. */
function stateOf(address) {
  const state = new URL(address, location.href).searchParams;
  for (const name of [...state.keys()]) {
    if (!["view", "find", "errors", "order", "node", "zoom"].includes(name)) state.delete(name);
  }
  return state.toString();
}

function pathOf(run) {
  const { pathname } = new URL(find("#tree").dataset.tree, location.href);
  return pathname.replace(/[^/]+$/, run);
}

const turns = {};

/** Ask for a part of the page. Return null if it fails, or if a newer part is asked for meanwhile. */
async function ask(address, kind) {
  const turn = (turns[kind] = (turns[kind] ?? 0) + 1);
  const zone = document.documentElement.dataset.zone;
  const headers = { "hx-request": "true", "Otel-Ml-Tz": zone };
  const answer = await fetch(address, { headers }).catch(() => null);
  if (!answer?.ok) return null;
  const part = new DOMParser().parseFromString(await answer.text(), "text/html");
  return turn === turns[kind] ? part : null;
}

/** Load a part of the page, and put it in place of the element with its ID. */
async function load(address, id) {
  const part = await ask(address, id);
  const own = part?.getElementById(id);
  if (!own) return false;
  document.getElementById(id).replaceWith(document.adoptNode(own));
  for (const other of part.querySelectorAll("hx-partial")) {
    const target = find(other.getAttribute("hx-target"));
    if (target && other.getAttribute("hx-swap") === "innerHTML") target.replaceChildren(...other.childNodes);
    else target?.replaceWith(...other.childNodes);
  }
  htmx.process(document.getElementById(id));
  (find("#calls") ?? document).dispatchEvent(new Event("htmx:after:swap", { bubbles: true }));
  return true;
}

// rows

function levelOf(row) {
  return Number(row.dataset.level);
}

/** Yield the rows below a row. */
function* below(row) {
  for (let next = row.nextElementSibling; next; next = next.nextElementSibling) {
    if (levelOf(next) <= levelOf(row)) return;
    yield next;
  }
}

function isFolded(row) {
  return row.querySelector(".twist")?.getAttribute("aria-expanded") === "false";
}

/** Show or hide the rows below a row, and load them if needed. Rows folded inside stay folded. */
async function fold(row, isOpen) {
  const twist = row.querySelector(".twist");
  if (!twist) return;
  twist.setAttribute("aria-expanded", String(isOpen));
  if (isOpen && twist.dataset.load) {
    const address = twist.dataset.load;
    delete twist.dataset.load;
    await insert(address, (rows) => row.after(...rows));
    return;
  }
  let closed = Infinity; // rows deeper than this are below a folded row
  for (const other of below(row)) {
    if (levelOf(other) <= closed) closed = Infinity;
    other.hidden = !isOpen || levelOf(other) > closed;
    if (closed === Infinity && isFolded(other)) closed = levelOf(other);
  }
}

/** Load rows and put them into the table. Rows that are already there are left out. */
async function insert(address, place) {
  const part = await ask(address, address);
  if (!part) return [];
  const known = new Set([...table().querySelectorAll("tr[data-key]")].map((row) => row.dataset.key));
  const rows = [...part.querySelectorAll("tr")].filter((row) => !known.has(row.dataset.key));
  place(rows.map((row) => document.adoptNode(row)));
  return rows;
}

async function more(button) {
  const row = button.closest("tr");
  const rows = await insert(button.dataset.load, (loaded) => row.replaceWith(...loaded));
  focus(rows[0]);
}

/** Focus the link or button of a row. */
function focus(row) {
  (row?.querySelector("a.of") ?? row?.querySelector(".btn, .twist"))?.focus();
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

async function goRight(row) {
  if (row.classList.contains("rest")) await more(row.querySelector(".btn"));
  else if (isFolded(row)) await fold(row, true);
  else if (row.querySelector(".twist")) focus(beside(row, "nextElementSibling"));
}

async function goLeft(row) {
  if (row.querySelector(".twist") && !isFolded(row)) await fold(row, false);
  else focus(parentOf(row));
}

async function foldAll(isOpen) {
  const rows = [...table().tBodies[0].rows].filter((row) => row.querySelector(".twist"));
  if (!isOpen) rows.reverse();
  for (const row of rows) if (isFolded(row) === isOpen) await fold(row, isOpen);
}

const KEYS = {
  ArrowDown: (row) => focus(beside(row, "nextElementSibling")),
  ArrowUp: (row) => focus(beside(row, "previousElementSibling")),
  ArrowRight: goRight,
  ArrowLeft: goLeft,
  "]": () => foldAll(true),
  "[": async (row) => {
    await foldAll(false);
    while (row.hidden) row = parentOf(row);
    focus(row);
  },
};

// selection

function mark(run) {
  for (const row of table().querySelectorAll("tr.cur")) {
    row.classList.remove("cur");
    row.removeAttribute("aria-current");
  }
  const row = table().querySelector(`tr[data-run="${CSS.escape(run)}"]`);
  row?.classList.add("cur");
  row?.setAttribute("aria-current", "true");
  return row;
}

function reveal(row) {
  for (let above = parentOf(row); above; above = parentOf(above)) {
    if (isFolded(above)) fold(above, true);
  }
  row.scrollIntoView({ block: "nearest" });
}

/** Show a span in the right pane, and in the tree. */
async function select(run, isNew = true) {
  const state = stateOf(location.href);
  const tab = find("[data-tab][aria-current]")?.dataset.tab;
  const query = state ? `?${state}` : "";
  const path = pathOf(run);
  if (isNew) history.pushState({}, "", path + query);
  if (!(await load(`${path}/span${query}`, "span"))) return;
  document.title = find("#span").dataset.title;
  if (tab && find(`[data-tab="${tab}"]`)) showTab(tab);
  const row = table() && mark(run);
  if (row) reveal(row);
  else if (!find(".gr")) await reloadTree(`${path}/tree${query}`);
}

async function reloadTree(address) {
  if (!(await load(address, "tree"))) return;
  showOwn();
  restoreZoom();
}

/** Scroll the tree to the selected span. */
function showOwn() {
  const own = table()?.querySelector("tr.cur");
  const tree = own?.closest(".tree");
  if (tree) tree.scrollTop = own.offsetTop - tree.clientHeight / 2;
}

function showTab(name) {
  for (const panel of document.querySelectorAll("[data-panel]")) {
    panel.hidden = panel.dataset.panel !== name;
  }
  for (const link of document.querySelectorAll("[data-tab]")) {
    if (link.dataset.tab === name) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

/** Show the tree in another state, and keep the state in the address. */
function change(address) {
  const own = find("#span").dataset.run;
  const state = new URLSearchParams(stateOf(address));
  const zoomed = new URL(location.href).searchParams.get("zoom");
  if (zoomed) state.set("zoom", zoomed);
  const query = state.size ? `?${state}` : "";
  history.replaceState({}, "", pathOf(own) + query);
  return reloadTree(`${pathOf(own)}/tree${query}`);
}

async function search(form) {
  const at = form.elements.find.selectionStart;
  const values = new URLSearchParams(new FormData(form));
  if (!values.get("find")) values.delete("find");
  await change(`?${values}`);
  const field = find(".find1 input[name=find]");
  field.focus();
  field.setSelectionRange(at, at);
}

// zoom: the axis shows the part of the trace from `from` to `to`, both from 0 to 1

function zoom(from, to) {
  const [start, end] = [Math.max(from, 0), Math.min(to, 1)];
  const length = Math.max(end - start, 1e-4);
  const tree = find("#tree");
  tree.style.setProperty("--zoom", 1 / length);
  tree.style.setProperty("--from", start);
  const own = tree.querySelector(".win");
  own?.setAttribute("x", 1000 * start);
  own?.setAttribute("width", 1000 * length);
  const axis = tree.querySelector("[data-axis]");
  const whole = Number(axis.dataset.axis);
  const isWhole = length >= 0.999;
  const [first, middle, last] = axis.children;
  first.textContent = isWhole ? "0" : write(start * whole);
  middle.textContent = isWhole ? "" : write((start + length / 2) * whole);
  last.textContent = write((start + length) * whole);
  const caption = tree.querySelector("[data-window]");
  if (caption) caption.textContent = isWhole ? "" : `${write(length * whole)} of ${write(whole)} `;
  const back = tree.querySelector('[data-zoom=""]');
  if (back) back.hidden = isWhole;
  const address = new URL(location.href);
  if (isWhole) address.searchParams.delete("zoom");
  else address.searchParams.set("zoom", `${start.toFixed(4)}-${(start + length).toFixed(4)}`);
  clearTimeout(zooming);
  zooming = setTimeout(() => history.replaceState(history.state, "", address), ZOOM_MS);
}

/** Zoom to the part of the trace that the address has. */
function restoreZoom() {
  const part = /^(0(?:\.\d+)?|1)-(0\.\d+|1(?:\.0+)?)$/.exec(new URL(location.href).searchParams.get("zoom") ?? "");
  if (part && find("[data-axis]")) zoom(Number(part[1]), Number(part[2]));
}

/** Write a time with its unit, as the pages do. */
function write(ms) {
  const units = [[36e5, "h"], [6e4, "min"], [1e3, "s"]];
  const [least, unit] = units.find(([from]) => ms >= from) ?? [1, "ms"];
  return `${Number((ms / least).toPrecision(3))}\u202f${unit}`;
}

function zoomToSpan() {
  const bar = table().querySelector("tr.cur .axis rect");
  if (!bar) return;
  const [x, width] = ["x", "width"].map((name) => parseFloat(bar.getAttribute(name)) / 100);
  const room = Math.max(width, 0.001) / 4;
  zoom(x - room, x + width + room);
}

let dragged = null;

function shareAt(svg, event) {
  const box = svg.getBoundingClientRect();
  return Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
}

document.addEventListener("pointerdown", (event) => {
  const svg = event.target.closest(".mini svg");
  if (!svg) return;
  dragged = { svg, from: shareAt(svg, event) };
  svg.setPointerCapture(event.pointerId);
});
document.addEventListener("pointermove", (event) => {
  if (!dragged) return;
  const at = shareAt(dragged.svg, event);
  if (Math.abs(at - dragged.from) > 0.005) zoom(Math.min(at, dragged.from), Math.max(at, dragged.from));
});
document.addEventListener("pointerup", () => {
  dragged = null;
});

// events

document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const { target } = event;
  const tab = target.closest("[data-tab]");
  if (tab) {
    event.preventDefault();
    showTab(tab.dataset.tab);
    history.replaceState({}, "", tab.href);
    return;
  }
  const link = target.closest("#next-error,#trace-sentence a,#steps a:not([hx-get])");
  if (link?.pathname.slice(0, -16) === location.pathname.slice(0, -16)) {
    event.preventDefault();
    select(link.pathname.split("/").pop());
    return;
  }
  if (!target.closest("#tree")) return;
  const zoomed = target.closest("[data-zoom]");
  const twist = target.closest(".twist");
  const row = target.closest("tbody tr");
  const state = target.closest("a[data-state]");
  const node = target.closest("[data-node]");
  if (zoomed) return zoomed.dataset.zoom ? zoomToSpan() : zoom(0, 1);
  if (node) {
    change(node.dataset.node);
  } else if (state) {
    event.preventDefault();
    change(state.href);
  } else if (row && (twist || row.classList.contains("group"))) {
    event.preventDefault();
    fold(row, isFolded(row));
  } else if (row?.classList.contains("rest")) {
    more(row.querySelector(".btn"));
  } else if (row) {
    event.preventDefault();
    select(row.dataset.run);
  }
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const row = event.target.closest?.("[data-wf] tbody tr");
  if (row && event.key === " " && event.target.matches(".twist")) {
    event.preventDefault();
    fold(row, isFolded(row));
  }
  const action = row && KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action(row);
});
document.addEventListener("submit", (event) => {
  if (!event.target.matches(".find1")) return;
  event.preventDefault();
  search(event.target);
});
document.addEventListener("input", (event) => {
  if (!event.target.matches(".find1 input")) return;
  clearTimeout(searching);
  searching = setTimeout(() => search(event.target.form), SEARCH_MS);
});
window.addEventListener("popstate", () => {
  if (find("#tree")) select(location.pathname.split("/").pop(), false);
});

if (table()) {
  showOwn();
  restoreZoom();
}
