// The calls that return a page's data, with the address of this server.

/** Write a text for a shell. */
function quoted(text) {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** Write one parameter; one that needs no encoding stays short. */
function given([name, value]) {
  return /^[\w.:-]*$/.test(value)
    ? ` -d ${name}=${value}`
    : ` --data-urlencode ${quoted(`${name}=${value}`)}`;
}

/** Write both calls; a new filter changes them. */
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
    // The copy has what it needs to run. A JSON string is also a Python string.
    const { base, project } = python.dataset;
    const where = [`endpoint=${JSON.stringify(location.origin + base)}`];
    if (project) where.unshift(JSON.stringify(project));
    const reader = `reader = Reader(${where.join(", ")})`;
    python.dataset.text = `from otel_ml.reader import Reader\n\n${reader}\n${python.textContent}\n`;
  }
}

write();
document.addEventListener("htmx:after:swap", (event) => {
  if (event.target.id === "filter") write();
});
