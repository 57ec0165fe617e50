// Sets the theme before the first paint: the one chosen in this browser, else the system's. Also
// whether lists have their rail of facets.

const chosen = localStorage.getItem("otel-ml-theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
if (localStorage.getItem("otel-ml-rail") === "0") document.documentElement.dataset.rail = "off";
