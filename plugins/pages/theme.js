// Follows Airflow's theme where the page is framed by it, else the system's.

export function followTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let outer = null;
  try {
    if (parent !== window) outer = parent.document.documentElement;
  } catch {
    outer = null; // framed by somebody else's page: follow the system
  }
  const apply = () => {
    const classes = outer?.classList;
    const dark = classes?.contains("dark") || (!classes?.contains("light") && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
  };
  if (outer) new MutationObserver(apply).observe(outer, { attributes: true, attributeFilter: ["class"] });
  system.addEventListener("change", apply);
  apply();
}
