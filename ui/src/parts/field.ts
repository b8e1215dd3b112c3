import { h, icon, unique, type Icon } from "../dom";
import type { Session } from "../session";

/** A panel or a control: shows a part of the state, and calls the session. */
export type Panel = (session: Session) => HTMLElement;

type Control = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

/** A control under its label. */
export function field(label: string, control: Control, ...more: (Node | string)[]): HTMLElement {
  control.id ||= unique("field");
  return h("div", { class: "kdb-field" }, h("label", { for: control.id, class: "kdb-label" }, label), control, ...more);
}

/** A check box or radio button before its label. */
export function choice(label: string, control: HTMLInputElement, title?: string): HTMLElement {
  return h("label", { class: "kdb-choice", title }, control, h("span", {}, label));
}

export function group(legend: string, testid: string, ...children: (Node | string | null)[]): HTMLFieldSetElement {
  return h("fieldset", { class: "kdb-group", "data-testid": testid }, h("legend", { class: "kdb-legend" }, legend), ...children);
}

/** A button; with an icon its text is what is read out, and what shows when the pointer rests on it. */
export function button(
  text: string,
  click: () => void,
  { testid, symbol, quiet = false, only = false }: { testid?: string; symbol?: Icon; quiet?: boolean; only?: boolean } = {},
): HTMLButtonElement {
  return h(
    "button",
    {
      type: "button",
      class: `kdb-button${quiet ? " kdb-quiet" : ""}${only ? " kdb-only-icon" : ""}`,
      "data-testid": testid,
      "aria-label": only ? text : null,
      title: only ? text : null,
      on: { click },
    },
    symbol && icon(symbol),
    only ? null : h("span", {}, text),
  );
}

/** A part of the page that can be folded away. */
export function disclosure(
  title: string,
  testid: string,
  body: HTMLElement,
  toggled?: (open: boolean) => void,
): { element: HTMLDetailsElement; aside: HTMLElement } {
  const aside = h("span", { class: "kdb-aside" });
  const element = h(
    "details",
    { class: "kdb-panel", "data-testid": testid },
    h("summary", { class: "kdb-summary" }, h("h3", { class: "kdb-heading" }, title), aside),
    body,
  );
  element.addEventListener("toggle", () => toggled?.(element.open));
  return { element, aside };
}

/** A table that scrolls sideways by itself, by keyboard too. */
export function scrolled(label: string, table: HTMLElement): HTMLElement {
  return h("div", { class: "kdb-scroll", role: "region", "aria-label": label, tabindex: 0 }, table);
}

export function table(columns: string[], rows: (string | Node)[][], numeric: ReadonlySet<number> = new Set()): HTMLTableElement {
  const align = (at: number): string | null => (numeric.has(at) ? "kdb-number" : null);
  return h(
    "table",
    { class: "kdb-table" },
    h("thead", {}, h("tr", {}, ...columns.map((column, at) => h("th", { scope: "col", class: align(at) }, column)))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((cell, at) => h("td", { class: align(at) }, cell))))),
  );
}
