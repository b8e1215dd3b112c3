/** Light or dark: as chosen by hand, else as the notebook has it, else as the system has it. */

export type Theme = "light" | "dark";
export type Wish = Theme | "auto";

/** What a notebook says of itself, where the page is in one. */
export function ofNotebook(root: HTMLElement, body: HTMLElement): Theme | null {
  const jupyter = body.dataset.jpThemeLight;
  if (jupyter !== undefined) return jupyter === "false" ? "dark" : "light";
  const kind = body.dataset.vscodeThemeKind ?? body.className;
  if (/vscode-(dark|high-contrast(?!-light))/.test(kind)) return "dark";
  if (/vscode-(light|high-contrast-light)/.test(kind)) return "light";
  const marimo = root.closest(".dark, .light") ?? body.closest(".dark, .light");
  if (marimo !== null) return marimo.classList.contains("dark") ? "dark" : "light";
  return null;
}

/** Keeps an element's `data-theme` right; returns how to wish for another, and how to end. */
export function follow(element: HTMLElement): { wish(wish: Wish): void; end(): void } {
  let wished: Wish = "auto";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = (): void => {
    const own = ofNotebook(element, document.body) ?? (system.matches ? "dark" : "light");
    element.dataset.theme = wished === "auto" ? own : wished;
  };
  const observer = new MutationObserver(apply);
  for (const each of [document.documentElement, document.body]) {
    observer.observe(each, { attributeFilter: ["class", "data-jp-theme-light", "data-vscode-theme-kind"] });
  }
  system.addEventListener("change", apply);
  apply();
  return {
    wish(wish) {
      wished = wish;
      apply();
    },
    end() {
      observer.disconnect();
      system.removeEventListener("change", apply);
    },
  };
}
