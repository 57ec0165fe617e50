// Before the first paint: sets the theme that was chosen in this browser, and hides the facets of
// lists if they were hidden here.

const chosen = localStorage.getItem("otel-ml-theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
if (localStorage.getItem("otel-ml-rail") === "0") document.documentElement.dataset.rail = "off";
