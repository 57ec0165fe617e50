// Sets the theme before the first paint: the one chosen in this browser, else the system's.

const chosen = localStorage.getItem("otel-ml-theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
