// The button that changes the theme: the system's, light, dark.

const button = document.querySelector("#theme");
const NEXT = { system: "light", light: "dark", dark: "system" };

function theme() {
  return document.documentElement.dataset.theme ?? "system";
}

function show() {
  button.textContent = `Theme: ${theme()}`;
}

button?.addEventListener("click", () => {
  const next = NEXT[theme()];
  if (next === "system") {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem("otel-ml-theme");
  } else {
    document.documentElement.dataset.theme = next;
    localStorage.setItem("otel-ml-theme", next);
  }
  show();
  // Canvases are drawn in the colours of the theme they were drawn under.
  document.dispatchEvent(new Event("otel-ml:theme"));
});

if (button) show();
