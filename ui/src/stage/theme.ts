/** Colours and letters of the page around, for what is drawn on a canvas. */

export interface Theme {
  bg: string;
  fg: string;
  muted: string;
  line: string;
  accent: string;
  panel: string;
  font(pixels: number): string;
}

/** As style sheets have them now.  stage.css gives each of these properties a value where the page has none. */
export function themeOf(element: HTMLElement): Theme {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(`--kdb-stage-${name}`).trim() || "#888";
  return {
    bg: colour("bg"),
    fg: colour("fg"),
    muted: colour("muted"),
    line: colour("line"),
    accent: colour("accent"),
    panel: colour("panel"),
    font: (pixels) => `${pixels}px ${style.fontFamily || "sans-serif"}`,
  };
}
