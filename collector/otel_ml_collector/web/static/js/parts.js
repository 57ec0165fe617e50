// Links to another part of a section keep what the address says of all other sections by now:
// they were written before those were changed.

/** Tell whether a parameter is about a section. */
function isAbout(name, section) {
  return name === section || name === `${section}_at` || name === `${section}_from`;
}

/** Write a link anew: its own section as it says, everything else as the address says. */
function renew(event) {
  const link = event.target.closest?.('a[hx-push-url][hx-target^="#"]');
  if (!link) return;
  const section = link.getAttribute("hx-target").slice(1);
  const here = new URL(location.href);
  for (const name of [...here.searchParams.keys()]) {
    if (isAbout(name, section)) here.searchParams.delete(name);
  }
  for (const [name, value] of new URL(link.href).searchParams) {
    if (isAbout(name, section)) here.searchParams.append(name, value);
  }
  const address = here.pathname + here.search;
  link.setAttribute("href", address);
  link.setAttribute("hx-get", address);
}

for (const kind of ["click", "auxclick"]) document.addEventListener(kind, renew, true);
