// Completion in the filter box. The collector suggests what can follow the cursor.

const form = document.querySelector("#filter[data-complete]");
const input = form?.elements.where;
const WAIT_MS = 120;
const SHOWN = 10;
let list = null;
let answer = null;
let typed = "";
let asked = 0;
let timer = null;

function close() {
  list?.remove();
  list = null;
  answer = null;
  input.setAttribute("aria-expanded", "false");
  input.removeAttribute("aria-activedescendant");
}

/** Close the list, and ignore a response that arrives later. */
function dismiss() {
  clearTimeout(timer);
  asked += 1;
  close();
}

function options() {
  return list ? [...list.children] : [];
}

/** Select one option of the list, or none. */
function mark(option) {
  for (const other of options()) other.setAttribute("aria-selected", String(other === option));
  if (option) input.setAttribute("aria-activedescendant", option.id);
  else input.removeAttribute("aria-activedescendant");
  option?.scrollIntoView({ block: "nearest" });
}

function marked() {
  return options().find((option) => option.getAttribute("aria-selected") === "true");
}

/** Insert a suggestion into the filter, and ask for the next ones. */
function take(place) {
  const item = answer.items[place];
  // The collector counts code points, JavaScript counts UTF-16 units.
  const before = [...typed].slice(0, answer.start).join("") + item.insert;
  const gap = item.kind === "value" || item.kind === "operator" ? " " : "";
  const after = input.value.slice(typed.length);
  input.value = before + (after.startsWith(" ") ? "" : gap) + after;
  const caret = before.length + gap.length;
  input.setSelectionRange(caret, caret);
  close(); // so that Enter runs the filter unless another suggestion is selected
  ask();
}

function show(found) {
  const chosen = marked()?.dataset.text; // the new list keeps the selection
  close();
  if (!found.items.length || document.activeElement !== input) return;
  answer = found;
  list = document.createElement("ul");
  list.className = "pop";
  list.id = "completions";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Completions");
  for (const [place, item] of found.items.slice(0, SHOWN).entries()) {
    const option = document.createElement("li");
    option.id = `completion-${place}`;
    option.setAttribute("role", "option");
    option.setAttribute("aria-selected", "false");
    option.dataset.text = item.text;
    const code = document.createElement("code");
    code.textContent = item.text;
    const about = document.createElement("small");
    about.textContent = item.count === null ? item.about : item.count.toLocaleString("en");
    option.append(code, about);
    // A click event would come too late: the input has lost the focus by then.
    option.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      take(place);
    });
    list.append(option);
  }
  form.append(list);
  mark(options().find((option) => option.dataset.text === chosen));
  input.setAttribute("aria-expanded", "true");
}

async function ask() {
  const number = ++asked;
  const address = new URL(form.dataset.complete, location.href);
  const text = input.value.slice(0, input.selectionStart);
  address.searchParams.set("where", text);
  address.searchParams.set("limit", SHOWN);
  const response = await fetch(address).catch(() => null);
  const found = response?.ok ? await response.json() : null;
  if (number !== asked) return; // a newer request was sent, or the list was dismissed
  typed = text;
  if (found) show(found);
  else close();
}

function askSoon() {
  clearTimeout(timer);
  timer = setTimeout(ask, WAIT_MS);
}

function onKey(event) {
  if (!list) {
    if (event.key === "ArrowDown") askSoon();
    return;
  }
  const all = options();
  const at = all.indexOf(marked());
  if (event.key === "ArrowDown") mark(all[Math.min(at + 1, all.length - 1)]);
  else if (event.key === "ArrowUp") mark(all[at - 1]);
  else if (event.key === "Escape") dismiss();
  else if (event.key === "Tab" && !event.shiftKey) take(Math.max(at, 0));
  else if (event.key === "Enter" && at >= 0) take(at);
  else return;
  event.preventDefault();
  event.stopPropagation();
}

if (input) {
  for (const [name, value] of Object.entries({
    role: "combobox",
    "aria-autocomplete": "list",
    "aria-controls": "completions",
    "aria-expanded": "false",
  })) {
    input.setAttribute(name, value);
  }
  input.addEventListener("input", askSoon);
  input.addEventListener("keydown", onKey);
  input.addEventListener("blur", dismiss);
  form.addEventListener("submit", dismiss);
  // A new filter replaces the list of runs, but not this box, so the box is marked here.
  form.addEventListener("htmx:after:swap", () => {
    input.setAttribute("aria-invalid", String(document.querySelector("#why .caret") !== null));
  });
}
