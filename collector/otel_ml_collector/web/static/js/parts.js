// Links that change one section of a page. The server wrote them before other sections changed,
// so a click takes the state of the other sections from the current address.

/** Return whether a query parameter belongs to a section. */
function belongsTo(name, section) {
  return name === section || name === `${section}_at` || name === `${section}_from`;
}

/** Rewrite a link: its own section from the link, all other parameters from the address. */
function renew(event) {
  const link = event.target.closest?.('a[hx-push-url][hx-target^="#"]');
  if (!link) return;
  const section = link.getAttribute("hx-target").slice(1);
  const here = new URL(location.href);
  for (const name of [...here.searchParams.keys()]) {
    if (belongsTo(name, section)) here.searchParams.delete(name);
  }
  for (const [name, value] of new URL(link.href).searchParams) {
    if (belongsTo(name, section)) here.searchParams.append(name, value);
  }
  const address = here.pathname + here.search;
  link.setAttribute("href", address);
  link.setAttribute("hx-get", address);
}

for (const kind of ["click", "auxclick"]) document.addEventListener(kind, renew, true);
