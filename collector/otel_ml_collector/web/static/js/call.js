// The curl and Python calls that return the data of a page, with the address of this collector.

/** Quote a text for a shell. */
function quoted(text) {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** Return the curl option for a query parameter. Simple values need no --data-urlencode. */
function given([name, value]) {
  return /^[\w.:-]*$/.test(value)
    ? ` -d ${name}=${value}`
    : ` --data-urlencode ${quoted(`${name}=${value}`)}`;
}

/** Show both calls. This runs again whenever the filter changes. */
function write() {
  const api = document.querySelector("#api-call");
  const python = document.querySelector("#python-call");
  if (api) {
    const [path, query] = api.dataset.path.split("?");
    const key = "key" in api.dataset ? ' -H "x-api-key: $OTEL_ML_API_KEY"' : "";
    const parameters = [...new URLSearchParams(query)].map(given);
    const get = parameters.length ? " -G" : "";
    api.textContent = `curl${get}${key} ${quoted(location.origin + path)}${parameters.join("")}`;
  }
  if (python) {
    // The copied text is complete: import, reader, call. A JSON string is also a Python string.
    const { base, project } = python.dataset;
    const where = [`endpoint=${JSON.stringify(location.origin + base)}`];
    if (project) where.unshift(JSON.stringify(project));
    const reader = `reader = Reader(${where.join(", ")})`;
    python.dataset.text = `from otel_ml.reader import Reader\n\n${reader}\n${python.textContent}\n`;
  }
}

write();
document.addEventListener("htmx:after:swap", (event) => {
  if (["filter", "calls"].includes(event.target.id)) write();
});
