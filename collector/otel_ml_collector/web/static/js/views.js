// Saved views: the filter, time range and columns of a list under a name.

import { segment, send } from "./api.js";

const KEPT = ["where", "last", "start", "end", "order", "group", "live"];

function addressOf(name) {
  return `${document.querySelector("#views").dataset.views}/${segment(name)}`;
}

/** Return the query parameters that a view keeps. */
function parameters() {
  const given = new URL(location.href).searchParams;
  const kept = {};
  for (const name of KEPT) if (given.get(name)) kept[name] = given.get(name);
  const columns = given.getAll("columns");
  if (columns.length) kept.columns = columns.join("\n");
  return kept;
}

document.addEventListener("submit", async (event) => {
  if (event.target.id !== "save-view") return;
  event.preventDefault();
  const name = event.target.elements.name.value.trim();
  const view = { page: "runs", parameters: parameters() };
  if (name && (await send("PUT", addressOf(name), view))) location.reload();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("#views [data-delete]");
  if (button && (await send("DELETE", addressOf(button.dataset.delete)))) {
    for (const tab of document.querySelectorAll("#views nav a + a")) {
      if (tab.textContent === button.dataset.delete) tab.remove();
    }
    button.closest(".row").remove();
  }
});
