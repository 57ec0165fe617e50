// The button that switches the theme: system, light, dark.

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
  // A canvas keeps its colours until it is drawn again.
  document.dispatchEvent(new Event("otel-ml:theme"));
});

if (button) show();
