/** Light, dark, or as the device. Remembered in this browser. */
export const themes = ["auto", "light", "dark"] as const;
export type Theme = (typeof themes)[number];

const stored = "usher.theme";

export function currentTheme(): Theme {
  const theme = localStorage.getItem(stored) as Theme | null;
  return theme && themes.includes(theme) ? theme : "auto";
}

export function applyTheme(theme: Theme): void {
  localStorage.setItem(stored, theme);
  if (theme === "auto") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.setAttribute("data-theme", theme);
}

/** The operator's colour takes the place of ours, with letters on it that can be read, and in it. server/web/style does the same. */
export function applyBrand(color: string): void {
  const parts = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(color);
  if (!parts) return;
  const luminance = parts
    .slice(1)
    .map((part) => Number.parseInt(part, 16) / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * ([0.2126, 0.7152, 0.0722][i] ?? 0), 0);
  const style = document.documentElement.style;
  style.setProperty("--accent", color);
  style.setProperty("--on-accent", luminance > 0.18 ? "#15131a" : "#ffffff");
  style.setProperty("--link", `color-mix(in oklab, ${color}, var(--ink) 55%)`);
  style.setProperty("--accent-soft", `color-mix(in oklab, ${color} 16%, var(--card))`);
}
