// Before the first paint: the theme that was chosen on this machine, else the system's.

const chosen = localStorage.getItem("otel-ml-theme");
if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
